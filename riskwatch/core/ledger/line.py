"""What is reported of a counterparty: one amount each, that cells, orders and others add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.money import EXACT, ZERO

if TYPE_CHECKING:
    from decimal import Decimal

_add = EXACT.add


class Line:
    """One reported amount, of one (book, account, asset, component).

    Attributes
    ----------
    amount : Decimal
        Exact sum of what every cell, transfer, trade, order and loan contributes.
    shown : bool
        Whether the last reading said that it is not zero, so that its end must be told.
    pins : int
        How many cells write to it; a line without any goes when it is zero.
    """

    __slots__ = ("account", "amount", "asset", "book", "component", "key", "pins", "shown")

    def __init__(self, party: str, book: str, account: str, asset: str, component: str) -> None:
        self.book = book
        self.account = account
        self.asset = asset
        self.component = component
        self.key = f"shown/{party}/{book}/{account}/{component}/{asset}"
        self.amount = ZERO
        self.shown = False
        self.pins = 0

    def add(self, amount: Decimal) -> None:
        """Add `amount` to what is reported."""
        self.amount = _add(self.amount, amount)

    def row(self) -> object:
        """Return the row's value: its presence says that the line was shown."""
        return 1
