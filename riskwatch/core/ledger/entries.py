"""Rows of adjustments: entries of a venue's ledger, known by the venue's ids."""

from __future__ import annotations

from decimal import Decimal

import msgspec

AdjustmentKey = tuple[str, str]
"""(account, adjustment_id)."""


class AdjustmentRow(msgspec.Struct, array_like=True):
    """One adjustment, known by the venue's id of the entry; time in microseconds."""

    us: int
    book: str
    wallet: str
    asset: str
    amount: Decimal
    kind: str
    instrument: str
    to_asset: str
    to_amount: Decimal
    told: bool = False

    def row(self) -> object:
        """Return the row's value."""
        return self


def adjustment_row_key(party: str, key: AdjustmentKey) -> str:
    """Return the key of the row of an adjustment."""
    return f"adjustment/{party}/{key[0]}/{key[1]}"
