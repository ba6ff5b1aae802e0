"""The answer where something is the matter: one place for real orders and for drills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.client.guard.view import ALLOWED, EXPIRED, NEVER, Answer
from riskwatch.core.enums import State
from riskwatch.core.scopes import FIRM, Assets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.client.guard.budget import Budgets
    from riskwatch.client.guard.view import PreparedAnswers, View

WITHDRAWAL: Final = "withdrawal"
HEDGE: Final = "hedge:"
"""Begins the name under which hedges of a book are counted."""
_REDUCE: Final = State.REDUCE.rank
_HALT: Final = State.HALT.rank


class Order(msgspec.Struct, frozen=True, gc=False):
    """What is asked about.

    Attributes
    ----------
    book, counterparty, asset : str or None
        What it touches.
    side : str or None
        ``buy``, ``sell``, ``withdrawal`` or ``deposit``.
    reduces : bool
        Whether it can only reduce what the firm has in each scope it touches.
    hedge : bool
        Whether it reduces the net delta of its book.
    usd, slip_bp : float or None
        Size, and worst price that it accepts from the reference price.
    """

    book: str | None = None
    counterparty: str | None = None
    asset: Assets = None
    side: str | None = None
    reduces: bool = False
    hedge: bool = False
    usd: float | None = None
    slip_bp: float | None = None


class OrderCheck:
    """Answers where the quick look did not say that all is well.

    Parameters
    ----------
    budgets : Budgets
        Counts what goes under caps.
    share : float
        Share of each authorised unwind that is this client's, 0 to 1.
    hedges : mapping of str to float
        By book, USD of hedges that may go while nothing vouches for the table.
    """

    def __init__(self, budgets: Budgets, share: float, hedges: Mapping[str, float]) -> None:
        self._budgets = budgets
        self._share = share
        self._hedges = dict(hedges)

    def check_verified(self, view: View, order: Order, wall: float) -> Answer:
        """Answer by a table that is believed.

        Parameters
        ----------
        view : View
            The table.
        order : Order
            What is asked.
        wall : float
            Seconds since 1970.
        """
        row = view.index.find(order.book, order.counterparty, order.asset)
        if row is None:
            return ALLOWED
        if row.rank < _REDUCE or (row.rank == _REDUCE and order.reduces):
            return row.passed
        if order.side == WITHDRAWAL and self._may_leave(view, order):
            return row.passed
        if row.rank == _HALT and self._unwinds(view, order, wall):
            return row.passed
        return row.refused

    def check_unverified(
        self, view: View, order: Order, floor: State, why: str, wall: float
    ) -> Answer:
        """Answer where nothing vouches for the table: no better than `floor`.

        What was known last still restricts, and still authorises nothing beyond itself.
        """
        last = self.check_verified(view, order, wall) if floor is State.REDUCE else ALLOWED
        if not last:
            return last
        healthy = self._healthy(view, order)
        if floor is State.REDUCE and (order.reduces or order.side == WITHDRAWAL):
            return Answer(True, floor, why, "", EXPIRED)
        # Where nothing was ever known, there is no venue that was healthy last.
        known = view.until > NEVER
        if order.hedge and healthy and known and self._hedged(order):
            return Answer(True, floor, f"hedge of {order.book}, within its cap; {why}", "", EXPIRED)
        return Answer(False, floor, why, "", EXPIRED)

    def _may_leave(self, view: View, order: Order) -> bool:
        """Whether money may leave: a HALT never traps it, but for one of the whole firm."""
        touching = view.index.find_all(order.book, order.counterparty, order.asset)
        return all(row.scope != FIRM or row.rank < _HALT for row in touching)

    def _healthy(self, view: View, order: Order) -> bool:
        row = view.index.find(order.book, order.counterparty, order.asset)
        return row is None or row.rank < _REDUCE

    def _hedged(self, order: Order) -> bool:
        cap = None if order.book is None else self._hedges.get(order.book)
        if cap is None or order.usd is None:
            return False
        return self._budgets.hedge({f"{HEDGE}{order.book}": cap}, order.usd)

    def _unwinds(self, view: View, order: Order, wall: float) -> bool:
        """Whether every HALT that binds the order was given a way out that it fits."""
        if not order.reduces or order.usd is None or order.slip_bp is None:
            return False
        caps: dict[str, float] = {}
        for ruling in view.index.find_all(order.book, order.counterparty, order.asset):
            if ruling.rank < _HALT:
                continue
            if not self._fits(ruling, order.slip_bp, wall):
                return False
            unwind = ruling.row.unwind
            assert unwind is not None
            caps[ruling.row.decision_id] = float(unwind.max_usd) * self._share
        return self._budgets.unwind(caps, order.usd)

    def _fits(self, ruling: PreparedAnswers, slip_bp: float, wall: float) -> bool:
        unwind = ruling.row.unwind
        return (
            unwind is not None
            and wall < unwind.until.timestamp()
            and slip_bp <= unwind.max_slip_bp  # NaN fits nothing
        )
