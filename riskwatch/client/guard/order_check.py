"""The check of an order that a restriction may bind, for real orders and for drills."""

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
"""Prefix of the name under which the hedges of a book are counted."""
_REDUCE: Final = State.REDUCE.rank
_HALT: Final = State.HALT.rank


class Order(msgspec.Struct, frozen=True, gc=False):
    """The order to check.

    Attributes
    ----------
    book, counterparty, asset : str or None
        What the order touches.
    side : str or None
        ``buy``, ``sell``, ``withdrawal`` or ``deposit``.
    reduces : bool
        Whether it can only reduce the firm's exposure in each scope that it touches.
    hedge : bool
        Whether it reduces the net delta of its book.
    usd, slip_bp : float or None
        Size, and the worst price that it accepts, in bp from the reference price.
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
    """Checks an order that the fast path of :meth:`KillSwitch.allows` did not answer.

    Parameters
    ----------
    budgets : Budgets
        Counts the orders that pass under caps.
    share : float
        This client's share of each authorised unwind, 0 to 1.
    hedges : mapping of str to float
        By book, USD of hedges that may pass while no heartbeat verifies the table.
    """

    def __init__(self, budgets: Budgets, share: float, hedges: Mapping[str, float]) -> None:
        self._budgets = budgets
        self._share = share
        self._hedges = dict(hedges)

    def check_verified(self, view: View, order: Order, wall: float) -> Answer:
        """Check an order against a verified table.

        Parameters
        ----------
        view : View
            The table.
        order : Order
            The order.
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
        """Check an order while no heartbeat verifies the table; the answer is at best `floor`.

        The last known rows still restrict orders. They do not authorise more than they did.
        """
        last = self.check_verified(view, order, wall) if floor is State.REDUCE else ALLOWED
        if not last:
            return last
        healthy = self._healthy(view, order)
        if floor is State.REDUCE and (order.reduces or order.side == WITHDRAWAL):
            return Answer(True, floor, why, "", EXPIRED)
        # Before the first verified table, no venue counts as healthy.
        known = view.until > NEVER
        if order.hedge and healthy and known and self._hedged(order):
            return Answer(True, floor, f"hedge of {order.book}, within its cap; {why}", "", EXPIRED)
        return Answer(False, floor, why, "", EXPIRED)

    def _may_leave(self, view: View, order: Order) -> bool:
        """Return whether money may leave a venue: only a HALT of the whole firm prevents that."""
        rows = view.index.find_all(order.book, order.counterparty, order.asset)
        return all(row.scope != FIRM or row.rank < _HALT for row in rows)

    def _healthy(self, view: View, order: Order) -> bool:
        row = view.index.find(order.book, order.counterparty, order.asset)
        return row is None or row.rank < _REDUCE

    def _hedged(self, order: Order) -> bool:
        cap = None if order.book is None else self._hedges.get(order.book)
        if cap is None or order.usd is None:
            return False
        return self._budgets.hedge({f"{HEDGE}{order.book}": cap}, order.usd)

    def _unwinds(self, view: View, order: Order, wall: float) -> bool:
        """Return whether every HALT that binds the order has an unwind that the order fits."""
        if not order.reduces or order.usd is None or order.slip_bp is None:
            return False
        caps: dict[str, float] = {}
        for answers in view.index.find_all(order.book, order.counterparty, order.asset):
            if answers.rank < _HALT:
                continue
            if not self._fits(answers, order.slip_bp, wall):
                return False
            unwind = answers.row.unwind
            assert unwind is not None
            caps[answers.row.decision_id] = float(unwind.max_usd) * self._share
        return self._budgets.unwind(caps, order.usd)

    def _fits(self, answers: PreparedAnswers, slip_bp: float, wall: float) -> bool:
        unwind = answers.row.unwind
        return (
            unwind is not None
            and wall < unwind.until.timestamp()
            and slip_bp <= unwind.max_slip_bp  # NaN fits nothing
        )
