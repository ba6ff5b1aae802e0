"""What a reading says of trading: recent fills in groups, and resting orders."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from riskwatch.core.clock import SECOND
from riskwatch.core.money import EXACT, ZERO
from riskwatch.core.readings import FillGroup, RestingOrders

_add = EXACT.add
MAX_FILL_GROUPS: Final = 1_024
"""Maximum number of groups of one second in one reading. Further fills of a market share one group,
whatever their second; twice this number is the maximum of all groups."""
_ANY_SECOND: Final = -1

Market = tuple[str, str, str, str, str, bool]
"""(book, account, base, quote, side, spot)."""


class _Sums:
    """Sums of one group."""

    __slots__ = ("count", "fees", "first_us", "last_us", "notional", "qty")

    def __init__(self, us: int, qty: Decimal, notional: Decimal) -> None:
        self.first_us = self.last_us = us
        self.qty = qty
        self.notional = notional
        self.count = 1
        self.fees: dict[str, Decimal] | None = None

    def charge(self, asset: str, fee: Decimal) -> None:
        """Add a fee."""
        if self.fees is None:
            self.fees = {}
        self.fees[asset] = _add(self.fees.get(asset, ZERO), fee)


class RecentFills:
    """Fills of one counterparty since its last reading, in groups of one market and second.

    Attributes
    ----------
    missed : int
        Number of fills for which there was no room.
    """

    __slots__ = ("_groups", "missed")

    def __init__(self) -> None:
        self._groups: dict[tuple[int, Market], _Sums] = {}
        self.missed = 0

    def add(
        self,
        us: int,
        market: Market,
        qty: Decimal,
        notional: Decimal,
        fee: Decimal | None = None,
        fee_asset: str = "",
    ) -> None:
        """Add one fill.

        Parameters
        ----------
        us : int
            Time of the fill, microseconds.
        market : tuple
            Its book, account, base, quote, side, and whether it is a spot fill.
        qty, notional : Decimal
            Its quantity and its quantity times price, above 0.
        fee, fee_asset : Decimal or None, str
            Its fee, positive if we paid it, and the asset of the fee.
        """
        groups = self._groups
        sums = groups.get((us // SECOND, market))
        if sums is None:
            full = len(groups) >= MAX_FILL_GROUPS
            key = (_ANY_SECOND if full else us // SECOND, market)
            sums = groups.get(key) if full else None
            if sums is None:
                if len(groups) >= 2 * MAX_FILL_GROUPS:
                    self.missed += 1
                else:
                    sums = groups[key] = _Sums(us, qty, notional)
                    if fee:
                        sums.charge(fee_asset, fee)
                return
        sums.first_us = min(sums.first_us, us)
        sums.last_us = max(sums.last_us, us)
        sums.qty = _add(sums.qty, qty)
        sums.notional = _add(sums.notional, notional)
        sums.count += 1
        if fee:
            sums.charge(fee_asset, fee)

    def rows(self) -> list[tuple[int, FillGroup]]:
        """Return each group with its second; -1 for one that covers several."""
        found = [
            (
                second,
                FillGroup(
                    s.first_us, s.last_us, *market, s.qty, s.notional, s.count, _sorted(s.fees)
                ),
            )
            for (second, market), s in self._groups.items()
        ]
        return sorted(found, key=_order)

    def restore(self, rows: list[tuple[int, FillGroup]], missed: int) -> None:
        """Load what :meth:`rows` returned."""
        self._groups.clear()
        self.missed = missed
        for second, g in rows:
            sums = self._groups[second, (g.book, g.account, g.base, g.quote, g.side, g.spot)] = (
                _Sums(g.first_us, g.qty, g.notional)
            )
            sums.last_us, sums.count = g.last_us, g.count
            sums.fees = dict(g.fees) or None

    def take(self) -> tuple[list[FillGroup], int]:
        """Return the groups, by time and market, and the number of missed fills; forget both."""
        groups, missed = [group for _, group in self.rows()], self.missed
        self._groups.clear()
        self.missed = 0
        return groups, missed


def _sorted(fees: dict[str, Decimal] | None) -> dict[str, Decimal]:
    """Return fees by asset, assets sorted."""
    return {} if fees is None else {asset: fees[asset] for asset in sorted(fees)}


def _order(row: tuple[int, FillGroup]) -> tuple[int, int, str, str, str, str, str, bool, int]:
    """Return the sort key of a group and its second."""
    second, g = row
    return (
        g.first_us, g.last_us, g.book, g.account, g.base, g.quote, g.side, g.spot, second,
    )  # fmt: skip


class OrderRow(msgspec.Struct, array_like=True):
    """Latest snapshot of one resting order.

    `spot` says that it names no instrument. A row of an older release has neither `quote` nor
    `price`.
    """

    snap: tuple[int, int, str]
    base: str
    side: str
    qty: Decimal
    quote: str = ""
    price: Decimal = ZERO
    spot: bool = True
    reduce_only: bool = False
    wallet: str = ""

    def row(self) -> object:
        """Return the row's value."""
        return self

    @property
    def fills(self) -> Decimal:
        """Base quantity that the order can still add: that of a buy; a sell adds none."""
        return self.qty if self.side == "buy" else ZERO


class RestingSums:
    """Open quantities of the resting orders of one counterparty, without reduce-only ones.

    They follow from the rows of the orders and are not stored.
    """

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[Market, tuple[Decimal, Decimal, int, int]] = {}

    def add(self, book: str, account: str, order: OrderRow, sign: int) -> None:
        """Add the open quantity of an order, or take it away with `sign` -1."""
        if not order.qty or order.reduce_only:
            return
        market = (book, account, order.base, order.quote, order.side, order.spot)
        qty, notional, count, unpriced = self._sums.get(market, (ZERO, ZERO, 0, 0))
        value = EXACT.multiply(order.qty, order.price)
        combine = _add if sign > 0 else EXACT.subtract
        count += sign
        if count:
            unpriced += 0 if value else sign
            sums = (combine(qty, order.qty), combine(notional, value), count, unpriced)
            self._sums[market] = sums
        else:
            del self._sums[market]

    def groups(self) -> list[RestingOrders]:
        """Return the sums by market and side."""
        return [
            RestingOrders(*market, qty, ZERO if unpriced else notional, count)
            for market, (qty, notional, count, unpriced) in sorted(self._sums.items())
        ]
