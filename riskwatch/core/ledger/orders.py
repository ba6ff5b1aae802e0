"""Resting orders and loans: what counts is the latest snapshot of each."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from riskwatch.core.money import ZERO


class OrderRow(msgspec.Struct, array_like=True):
    """Latest snapshot of one resting order."""

    snap: tuple[int, int, str]
    base: str
    side: str
    qty: Decimal

    def row(self) -> object:
        """Return the row's value."""
        return self

    @property
    def fills(self) -> Decimal:
        """Base quantity that could still come in: an open buy's; a sell brings none."""
        return self.qty if self.side == "buy" else ZERO


class LoanRow(msgspec.Struct, array_like=True):
    """Latest snapshot of one loan."""

    snap: tuple[int, int, str]
    book: str
    account: str
    asset: str
    direction: str
    amount: Decimal

    def row(self) -> object:
        """Return the row's value."""
        return self

    @property
    def component(self) -> str:
        """Component under which it is reported; both are stated positive."""
        return "loan" if self.direction == "lent" else "borrowed"
