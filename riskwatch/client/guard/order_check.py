"""The check of an order that a restriction may bind, for real orders and for drills."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal
from math import inf
from numbers import Real
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.client.guard.restriction import (
    CUSTODY,
    DEPOSIT,
    Intent,
    Requirement,
    directions,
    leaves_coins,
    requirement,
)
from riskwatch.client.guard.view import ALLOWED, EXPIRED, NEVER, Answer, PreparedAnswers
from riskwatch.contracts.heartbeat import GuardPolicy
from riskwatch.core.enums import Restriction, State
from riskwatch.core.scopes import ASSET, VENUE_ASSET, Assets, is_scope
from riskwatch.core.text import name_fault

if TYPE_CHECKING:
    from riskwatch.client.guard.budget import Budgets
    from riskwatch.client.guard.restriction import Destination
    from riskwatch.client.guard.view import View
    from riskwatch.core.outputs import Unwind

HEDGE: Final = "hedge:"
"""Prefix of the name under which the hedges of a book are counted."""
_REDUCE: Final = State.REDUCE.rank

log = logging.getLogger("riskwatch.client")


class Order(msgspec.Struct, frozen=True, gc=False):
    """The order to check.

    Attributes
    ----------
    book, counterparty, asset : str or None
        What the order touches.
    intent : Intent
        What it does.
    usd, slip_bp : float or None
        Size, and the worst price that it accepts, in bp from the reference price.
    price : float or None
        Price, in units of the second asset, or in USD.
    unlisted : tuple of PreparedAnswers
        Rows about names of it that nothing lists.
    """

    book: str | None = None
    counterparty: str | None = None
    asset: Assets = None
    intent: Intent = Intent()
    usd: float | None = None
    slip_bp: float | None = None
    price: float | None = None
    unlisted: tuple[PreparedAnswers, ...] = ()

    @property
    def assets(self) -> tuple[str, ...]:
        """All assets that it touches."""
        if self.asset is None:
            return ()
        return (self.asset,) if isinstance(self.asset, str) else self.asset

    def binding(self, view: View) -> list[PreparedAnswers]:
        """Return every row of a view that binds it, in precedence."""
        of = self.intent
        found = view.index.find_all(
            self.book, self.counterparty, self.asset, of.account, of.trader, of.network,
            transfer=of.transfers,
        )  # fmt: skip
        return [*found, *self.unlisted]

    def strictest(self, view: View) -> PreparedAnswers | None:
        """Return the strictest row of a view that binds it."""
        of = self.intent
        found = view.index.find(
            self.book, self.counterparty, self.asset, of.account, of.trader, of.network,
            transfer=of.transfers,
        )  # fmt: skip
        if self.unlisted and (found is None or found.rank < self.unlisted[0].rank):
            return self.unlisted[0]
        return found


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
    account: object = None,
    trader: object = None,
    *,
    terms: Mapping[str, object] | None = None,
) -> Order:
    """Return the order of these values, as plain text, booleans and numbers.

    Members of a `StrEnum` become plain text. Nothing else is converted to text or to a boolean,
    because a wrong guess would let an order through.

    Raises
    ------
    ValueError
        If a value has another type, a name is no name, or values contradict each other; the message
        names the parameter.

    Examples
    --------
    >>> order = checked_order("arb", None, ["BTC", "USD"], "buy", False, False, 5, None)
    >>> order.book, order.assets, order.intent.sold, order.usd
    ('arb', ('BTC', 'USD'), ('USD',), 5.0)
    >>> checked_order(b"arb", None, None, None, False, False, None, None)
    Traceback (most recent call last):
    ValueError: book must be text, was bytes
    """
    more = {} if terms is None else terms
    touched, word = _assets(asset), None if side is None else _text("side", side)
    bought, sold = _directions(touched, word, more)
    intent = Intent(
        side=word,
        reduces=_reduces(reduces),
        hedge=check_flag("hedge", hedge),
        top_up=check_flag("top_up", more.get("top_up", False)),
        bought=bought,
        sold=sold,
        account=_name("account", account),
        trader=_name("trader", trader),
        network=_name("network", more.get("network")),
        address=_address(more.get("address")),
        position_usd=_number("position_usd", more.get("position_usd")),
    )
    if intent.top_up and word is not None and word.casefold() != DEPOSIT:
        raise ValueError(f"top_up is a deposit, side was {word!r}")
    return Order(
        _name("book", book),
        _name("counterparty", counterparty),
        _with_assets(touched, (*bought, *sold)),
        intent,
        _number("usd", usd),
        _number("slip_bp", slip_bp),
        _number("price", price),
    )


def _directions(
    asset: Assets, side: str | None, more: Mapping[str, object]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the assets bought and sold: those that are named, else those of the side."""
    buys, sells = _several("buys", more.get("buys")), _several("sells", more.get("sells"))
    assets = () if asset is None else (asset,) if isinstance(asset, str) else asset
    bought, sold = directions(side, assets, pair=isinstance(asset, tuple))
    for name in (*buys, *bought):
        if name in sells or name in sold:
            raise ValueError(f"{name} cannot be bought and sold by one order")
    return (buys, sells) if buys or sells else (bought, sold)


def _several(field: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    found = _assets(value, field)
    return (found,) if isinstance(found, str) else found or ()


def _with_assets(asset: Assets, more: tuple[str, ...]) -> Assets:
    """Return the assets of an order with those of its directions, each once."""
    known = () if asset is None else (asset,) if isinstance(asset, str) else asset
    added = tuple(name for name in more if name not in known)
    return (*known, *added) if added else asset


def _reduces(value: object) -> bool | dict[str, bool]:
    """Return a flag, or flags by scope."""
    if not isinstance(value, Mapping):
        return check_flag("reduces", value)
    found: dict[str, bool] = {}
    for scope, flag in value.items():
        named = _text("reduces", scope)
        if not is_scope(named):
            raise ValueError(f"reduces must name scopes, was {named!r}")
        found[named] = check_flag(f"reduces[{named}]", flag)
    return found


def _address(value: object) -> str | None:
    return None if value is None else _text("address", value)


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


def _assets(value: object, field: str = "asset") -> Assets:
    if isinstance(value, (list, tuple)):
        return tuple(name for item in value if (name := _required_asset(item, field)))
    return _name(field, value)


def _required_asset(value: object, field: str) -> str:
    name = _name(field, value)
    if name is None:
        raise ValueError(f"{field} must be text, was NoneType")
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
        This client's share of each authorised unwind and of closing orders, 0 to 1.
    hedges : mapping of str to float
        By book, USD of hedges that may pass while no heartbeat verifies the table.
    destinations : mapping of str to Destination
        Listed addresses of withdrawals, each own or with a listed custodian.
    """

    def __init__(
        self,
        budgets: Budgets,
        share: float,
        hedges: Mapping[str, float],
        destinations: Mapping[str, Destination] | None = None,
    ) -> None:
        self._budgets = budgets
        self._share = share
        self._hedges = dict(hedges)
        self._destinations = dict(destinations or {})
        self._logged: set[str] = set()
        self.policy = GuardPolicy()
        """The policy of the last verified heartbeat."""

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

        Every switch at REDUCE or worse that binds the order must let it pass, on each of its
        grounds.

        Parameters
        ----------
        view : View
            The table.
        order : Order
            The order.
        wall : float
            Seconds since 1970.
        """
        row = order.strictest(view)
        if row is None:
            return ALLOWED
        if row.rank < _REDUCE:
            return row.passed
        closings: list[PreparedAnswers] = []
        unwinds: list[PreparedAnswers] = []
        refusing: PreparedAnswers | None = None
        to = self._destination(order)
        for each in order.binding(view):
            if each.rank < _REDUCE:
                continue
            needed = max(
                requirement(
                    each.binding, ground, order.intent, order.counterparty, order.assets, to
                )
                for ground in each.grounds
            )
            if needed is Requirement.REFUSED:
                stricter = refusing is None or each.rank > refusing.rank
                refusing = each if stricter else refusing
            elif needed is Requirement.CLOSING:
                closings.append(each)
            elif needed is not Requirement.PASS:
                unwinds.append(each)
        if refusing is not None:
            return refusing.refused
        return self._spend(order, row, closings, unwinds, wall)

    def check_unverified(
        self,
        view: View,
        order: Order,
        floor: State,
        why: str,
        wall: float,
        *,
        unlisted: bool = False,
    ) -> Answer:
        """Check an order while no heartbeat verifies the table; the answer is at best `floor`.

        The last known rows still restrict orders. They do not authorise more than they did.

        Parameters
        ----------
        view, order, wall
            As of :meth:`check_verified`.
        floor : State
            REDUCE or HALT.
        why : str
            The reason.
        unlisted : bool
            Whether withdrawals to unlisted addresses pass at REDUCE.
        """
        last = self.check_verified(view, order, wall) if floor is State.REDUCE else ALLOWED
        if not last:
            return last
        healthy = self._healthy(view, order)
        # Before the first verified table, no venue counts as healthy.
        known = view.until > NEVER
        if order.intent.withdraws:
            return self._leaves(order, floor, why, known=known, unlisted=unlisted)
        if (
            floor is State.REDUCE
            and not order.intent.deposits
            and order.intent.reduces_firm(order.assets)
        ):
            return Answer(True, floor, why, "", EXPIRED)
        if order.intent.hedge and healthy and known and self._hedged(order):
            return Answer(True, floor, f"hedge of {order.book}, within its cap; {why}", "", EXPIRED)
        return Answer(False, floor, why, "", EXPIRED)

    def _leaves(
        self, order: Order, floor: State, why: str, *, known: bool, unlisted: bool
    ) -> Answer:
        """Answer a withdrawal during an outage: it passes to a listed address.

        The HALT of everything passes withdrawals to listed custody alone.
        """
        to = self._destination(order)
        listed = to is not None or unlisted
        passes = listed if floor is State.REDUCE else known and to == CUSTODY
        if passes:
            return Answer(True, floor, why, "", EXPIRED)
        wanted = "an address in `destinations`" if floor is State.REDUCE else "listed custody"
        return Answer(False, floor, f"{why}; withdrawals pass to {wanted}", "", EXPIRED)

    def left_scopes(self, view: View, order: Order) -> tuple[str, ...]:
        """Return the coins that an order leaves by its direction alone, as scopes.

        Only coins whose claims a switch restricts are left. A sale of any other coin may open a
        short position. A mapping that says that the order adds to a coin is believed.

        Parameters
        ----------
        view : View
            The table.
        order : Order
            An order that passes.
        """
        if not order.intent.sold:
            return ()
        coins: dict[str, None] = {}
        for each in order.binding(view):
            at, grounds = each.binding, each.grounds
            claims = any(g is Restriction.CLAIM and rank >= _REDUCE for g, rank in grounds)
            found = at.coins(order.counterparty, order.assets) if claims else ()
            if each.rank >= _REDUCE and leaves_coins(order.intent, found):
                coins |= dict.fromkeys(found)
        scopes = [f"{ASSET}:{coin}" for coin in coins]
        if order.counterparty is not None:
            scopes += [f"{VENUE_ASSET}:{order.counterparty}/{coin}" for coin in coins]
        return tuple(sorted(scope for scope in scopes if not order.intent.denies(scope)))

    def _destination(self, order: Order) -> Destination | None:
        address = order.intent.address
        return None if address is None else self._destinations.get(address)

    def _healthy(self, view: View, order: Order) -> bool:
        row = order.strictest(view)
        return row is None or row.rank < _REDUCE

    def _hedged(self, order: Order) -> bool:
        cap = None if order.book is None else self._hedges.get(order.book)
        if cap is None or order.usd is None:
            return False
        return self._budgets.hedge({f"{HEDGE}{order.book}": cap}, order.usd)

    def _spend(
        self,
        order: Order,
        row: PreparedAnswers,
        closings: list[PreparedAnswers],
        unwinds: list[PreparedAnswers],
        wall: float,
    ) -> Answer:
        """Take what the order needs from the hour's closing orders and from unwinds, or nothing.

        A closing order beyond its share of the hour needs an unwind.
        """
        if not closings and not unwinds:
            return row.passed
        if order.usd is None:
            if closings:
                return closings[0].refused_because("it passes only with its size, usd=")
            return unwinds[0].refused
        refusing = self._take(order, order.usd, closings, unwinds, wall)
        if refusing is None:
            return row.passed
        if refusing in closings:
            share = f"{self._closing_cap(order):,.0f} USD"
            return refusing.refused_because(
                f"closing orders of this hour are at their share, {share}"
            )
        return refusing.refused

    def _take(
        self,
        order: Order,
        usd: float,
        closings: list[PreparedAnswers],
        unwinds: list[PreparedAnswers],
        wall: float,
    ) -> PreparedAnswers | None:
        """Take `usd` from all that the order needs; return the row that does not have it."""
        cap = self._closing_cap(order)
        shares: dict[str, tuple[str, float]] = {}
        caps: dict[str, float] = {}
        needing = [*closings, *unwinds]
        for n, each in enumerate(needing):
            decision, unwind = each.row.decision_id, each.row.unwind
            closes = n < len(closings)
            if closes and self._budgets.can_close(each.scope, decision, usd, cap, wall):
                shares[each.scope] = (decision, cap)
            elif unwind is not None and self._fits(unwind, order, wall):
                caps[decision] = float(unwind.max_usd) * self._share
            else:
                return each
        if caps and not self._budgets.unwind(caps, usd):
            return next(each for each in needing if each.row.decision_id in caps)
        if shares and not self._budgets.close_out(shares, usd, wall):
            return closings[0]
        return None

    def _closing_cap(self, order: Order) -> float:
        """Return the USD of closing orders that pass in an hour, of this client."""
        position = order.intent.position_usd
        held = position if position is not None and 0.0 <= position < inf else 0.0
        return self._share * max(self.policy.closing_usd, self.policy.closing_share * held)

    def _fits(self, unwind: Unwind, order: Order, wall: float) -> bool:
        """Whether an order fits an unwind; a top-up has no price."""
        if not wall < unwind.until.timestamp():
            return False
        if order.intent.top_up:
            return True
        slip_bp = order.slip_bp
        return slip_bp is not None and slip_bp <= unwind.max_slip_bp  # NaN fits nothing
