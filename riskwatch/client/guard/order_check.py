"""The check of an order that a restriction may bind, for real orders and for drills."""

from __future__ import annotations

import logging
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.client.guard.view import ALLOWED, EXPIRED, NEVER, Answer
from riskwatch.core.enums import State
from riskwatch.core.scopes import FIRM, Assets
from riskwatch.core.text import name_fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.client.guard.budget import Budgets
    from riskwatch.client.guard.view import PreparedAnswers, View

WITHDRAWAL: Final = "withdrawal"
HEDGE: Final = "hedge:"
"""Prefix of the name under which the hedges of a book are counted."""
_REDUCE: Final = State.REDUCE.rank
_HALT: Final = State.HALT.rank

log = logging.getLogger("riskwatch.client")


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
    price : float or None
        Price, in units of the second asset, or in USD.
    """

    book: str | None = None
    counterparty: str | None = None
    asset: Assets = None
    side: str | None = None
    reduces: bool = False
    hedge: bool = False
    usd: float | None = None
    slip_bp: float | None = None
    price: float | None = None


UNREADABLE: Final = "(order)"
"""Scope of the answer to an order that cannot be understood."""
_MAX_LOGGED: Final = 100
"""Most different faults of orders that are logged."""


def checked_order(
    book: object,
    counterparty: object,
    asset: object,
    side: object,
    reduces: object,
    hedge: object,
    usd: object,
    slip_bp: object,
    price: object = None,
) -> Order:
    """Return the order of these values, as plain text, booleans and numbers.

    Members of a `StrEnum` become plain text. Nothing else is converted to text or to a boolean,
    because a wrong guess would let an order through.

    Raises
    ------
    ValueError
        If a value has another type, or a name is no name; the message names the parameter.

    Examples
    --------
    >>> checked_order("arb", None, ["BTC", "USD"], None, False, False, 5, None)
    Order(book='arb', counterparty=None, asset=('BTC', 'USD'), side=None, reduces=False, \
hedge=False, usd=5.0, slip_bp=None, price=None)
    >>> checked_order(b"arb", None, None, None, False, False, None, None)
    Traceback (most recent call last):
    ValueError: book must be text, was bytes
    """
    return Order(
        _name("book", book),
        _name("counterparty", counterparty),
        _assets(asset),
        None if side is None else _text("side", side),
        check_flag("reduces", reduces),
        check_flag("hedge", hedge),
        _number("usd", usd),
        _number("slip_bp", slip_bp),
        _number("price", price),
    )


def check_flag(field: str, value: object) -> bool:
    """Return a boolean as it is.

    Raises
    ------
    ValueError
        If it is none.
    """
    if value is True or value is False:
        return value
    raise ValueError(f"{field} must be True or False, was {type(value).__name__}")


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{field} must be text, was {type(value).__name__}")  # noqa: TRY004
    return str.__str__(value)  # the text of a StrEnum, whatever its own `__str__` returns


def _name(field: str, value: object) -> str | None:
    if value is None:
        return None
    name = _text(field, value)
    fault = name_fault(name)
    if fault:
        raise ValueError(f"{field} {fault}")
    return name


def _assets(value: object) -> Assets:
    if isinstance(value, (list, tuple)):
        return tuple(name for item in value if (name := _required_asset(item)))
    return _name("asset", value)


def _required_asset(value: object) -> str:
    name = _name("asset", value)
    if name is None:
        raise ValueError("asset must be text, was NoneType")
    return name


def _number(field: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (Real, Decimal)):
        raise ValueError(f"{field} must be a number, was {type(value).__name__}")  # noqa: TRY004
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{field} must be a number: {error}") from error


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
        self._logged: set[str] = set()

    def refuse_unreadable(self, fault: str) -> Answer:
        """Refuse an order that cannot be understood; log each fault once.

        The state is HALT, because it is not known which scopes bind the order.
        """
        if fault not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add(fault)
            log.error("kill switch: an order is refused: %s", fault)
        return Answer(False, State.HALT, f"the order cannot be checked: {fault}", "", UNREADABLE)

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
