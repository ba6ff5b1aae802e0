"""Limits before the trade: headroom, order value, price collar and message rate of one client.

The policy sets the terms, and the heartbeat carries them with the headroom and the mid prices. The
gate is asked about orders that no switch refuses. It never refuses an order that reduces for its
size, price or headroom, and never refuses a cancel or a withdrawal.

What this client used counts against its grant until a table has later facts of the counterparty.
What the process before this one used is not known. It therefore counts as the whole grant until the
facts of every counterparty of this client are later than the start of this process.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.client.guard.restriction import TRADES
from riskwatch.client.guard.view import ALLOWED, NEVER, Answer
from riskwatch.core.clock import SECOND, micros
from riskwatch.core.scopes import ASSET, BOOK, COUNTERPARTY, FIRM, kind_of_scope, scopes_of
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from riskwatch.client.guard.order_check import Order
    from riskwatch.client.guard.view import View
    from riskwatch.contracts.heartbeat import Heartbeat
    from riskwatch.contracts.pretrade import ClientLimits, PretradeTable
    from riskwatch.core.scopes import Assets

    RouteKey = (
        tuple[str | None, str | None, Assets]
        | tuple[str | None, str | None, Assets, tuple[str, ...]]
    )

MAX_ROUTES: Final = 10_000
"""Most combinations of book, counterparty and assets with a prepared check."""
MAX_USES: Final = 64
"""Most uses of one counterparty that are counted apart; older ones are merged."""
RESERVE: Final = 5
"""One of so many orders at once is left for orders that reduce."""
CHUNK: Final = 16.0
"""A route reserves one of so many parts of the headroom at a time."""


class OrderRefusal(StrEnum):
    """Reasons of a refusal before the trade; each begins the text of its answer."""

    ORDER_INCOMPLETE = "ORDER_INCOMPLETE"
    ORDER_TOO_LARGE = "ORDER_TOO_LARGE"
    PRICE_UNKNOWN = "PRICE_UNKNOWN"
    PRICE_OUTSIDE_COLLAR = "PRICE_OUTSIDE_COLLAR"
    HEADROOM_UNKNOWN = "HEADROOM_UNKNOWN"
    HEADROOM_EXCEEDED = "HEADROOM_EXCEEDED"
    RATE_EXCEEDED = "RATE_EXCEEDED"


class OrderLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Terms that a client sets for itself. Only those that are stricter than the policy's count.

    Attributes
    ----------
    share : float
        Largest share of the headroom, 0..1.
    max_order_usd : float
        Largest value of one order, USD.
    collar_bp : float
        Largest distance of a price from the mid, bp.
    rate : float
        Orders per second, over time.
    burst : int
        Orders at once.
    """

    share: float = 1.0
    max_order_usd: float = inf
    collar_bp: float = inf
    rate: float = inf
    burst: int = 1_000_000

    def __post_init__(self) -> None:
        """Refuse values that would limit nothing, such as NaN.

        Raises
        ------
        ConfigError
            If a value is out of range.
        """
        if not 0.0 <= self.share <= 1.0:
            raise ConfigError("kill switch", "limits.share", "a share from 0 to 1", self.share)
        for name in ("max_order_usd", "collar_bp", "rate", "burst"):
            value = getattr(self, name)
            if not value > 0.0:
                raise ConfigError("kill switch", f"limits.{name}", "a number above 0", value)


class _RefusedError(Exception):
    """An order is refused. Internal to this module.

    Parameters
    ----------
    code : OrderRefusal
        The kind of the reason.
    scope : str
        Scope whose term or limit refuses it.
    why : str
        The reason in words.
    """

    def __init__(self, code: OrderRefusal, scope: str, why: str) -> None:
        super().__init__(f"{code.value}: {why}")
        self.scope = scope


class _Use(msgspec.Struct, gc=False):
    """What was used at one counterparty until a time, seconds since 1970, in USD by scope."""

    counterparty: str
    until: float
    usd: dict[str, float]


class _Bucket:
    """One scope of one table: the grant, and what is used or reserved of it, USD."""

    __slots__ = ("grant", "scope", "used")

    def __init__(self, scope: str, grant: float, used: float) -> None:
        self.scope = scope
        self.grant = grant
        self.used = used


class OrderRoute:
    """The prepared check of orders of one book, counterparty and assets.

    ``taken`` is what the route has reserved of its buckets, and ``room`` what is left of that, USD.
    Prices from ``low`` to ``high`` are within the collar on both sides, until ``until``. Without a
    ``mid`` no price is.
    """

    __slots__ = (
        "buckets", "collar", "collar_scope", "counterparty", "fault", "high", "low", "mid", "room",
        "size", "size_scope", "taken", "until",
    )  # fmt: skip

    def __init__(self, counterparty: str | None) -> None:
        self.counterparty = counterparty
        self.buckets: list[tuple[_Bucket, float]] = []
        self.taken = self.room = 0.0
        self.size, self.size_scope = inf, FIRM
        self.collar, self.collar_scope = inf, FIRM
        self.mid: float | None = None
        self.low, self.high, self.until = 0.0, inf, NEVER
        self.fault: _RefusedError | None = None

    @property
    def spent(self) -> float:
        """What orders used, USD."""
        return self.taken - self.room


class MessageRate:
    """A token bucket of messages, by a steady clock. It is kept as the time when it is full again.

    Attributes
    ----------
    full_at : float
        When it is full, steady seconds.
    interval : float
        Time in which one token comes, seconds.
    window, adding : float
        How far ahead `full_at` may be for any order, and for one that adds risk, seconds.

    Examples
    --------
    >>> rate = MessageRate()
    >>> rate.set(2.0, 3)
    >>> [rate.take(0.0, adds=True) for _ in range(4)], rate.take(0.5, adds=True)
    ([True, True, True, False], True)
    """

    def __init__(self) -> None:
        self.full_at = NEVER
        self.set(inf, 1)

    def set(self, rate: float, burst: int) -> None:
        """Set the tokens per second, and the largest number of tokens."""
        self.interval = 0.0 if rate == inf else 1.0 / rate
        self.window = (burst - 1) * self.interval
        self.adding = (burst - burst // RESERVE - 1) * self.interval

    def take(self, now: float, *, adds: bool) -> bool:
        """Take a token; return whether there was one."""
        full_at = max(self.full_at, now)
        if full_at - now > (self.adding if adds else self.window):
            return False
        self.full_at = full_at + self.interval
        return True


class OrderGate:
    """Checks orders against the limits of the last verified heartbeat. Any thread may call it.

    Parameters
    ----------
    client : str
        Name of the client in the policy.
    own : OrderLimits or None
        Stricter terms of the client itself.
    started : float
        Start of this process, seconds since 1970.
    clock : callable
        Steady seconds.
    skew_s : float
        How far the clock of this machine may be behind, seconds.

    Attributes
    ----------
    on : bool
        Whether there are any terms.
    routes : dict
        The prepared checks, by book, counterparty and assets.
    """

    def __init__(
        self,
        client: str,
        own: OrderLimits | None,
        started: float,
        clock: Callable[[], float],
        skew_s: float,
    ) -> None:
        self._client = client
        self._own = own or OrderLimits()
        self._started = started
        self._clock = clock
        self._skew_s = skew_s
        self.inherit()
        self._rate = MessageRate()
        self._rate.set(self._own.rate, self._own.burst)
        self._table: PretradeTable | None = None
        self._terms: ClientLimits | None = None
        self._until = self._fresh_until = NEVER
        self._wall_offset = 0.0
        self._kinds: dict[str, None] = {}
        self.routes: dict[RouteKey, OrderRoute] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._uses: list[_Use] = []
        self._waits: str | None = ""
        self.on = own is not None

    # Tables.

    def adopt(self, beat: Heartbeat, now: float, wall: float) -> None:
        """Take the table of a heartbeat that confirms the switches.

        Parameters
        ----------
        beat : Heartbeat
            The heartbeat. Without a table, only the client's own terms apply.
        now, wall : float
            Steady seconds, and seconds since 1970.
        """
        with self._lock:
            self._record_uses(wall)
            self._wall_offset = wall - now
            self.routes, self._buckets = {}, {}
            table = beat.pretrade
            if table is msgspec.UNSET:
                self._table = self._terms = None
                self._rate.set(self._own.rate, self._own.burst)
                self.on = self._own != OrderLimits()
                return
            self._table, self._terms = table, table.clients.get(self._client)
            life = _seconds(table.until) - max(wall, _seconds(beat.ts))
            self._until = now + life
            self._fresh_until = now + _seconds(table.measured) + table.mid_age_s - wall
            self._kinds = dict.fromkeys(kind_of_scope(scope) for scope in table.left)
            self._uses = [use for use in self._uses if not self._is_known(use, table)]
            self._waits = self._waits_for(table)
            rate, burst = self._own.rate, self._own.burst
            if self._terms is not None:
                rate, burst = min(rate, self._terms.rate), min(burst, self._terms.burst)
            self._rate.set(rate, burst)
            self.on = True

    def _record_uses(self, wall: float) -> None:
        """Turn what the routes used of the last table into uses until now."""
        for route in self.routes.values():
            if route.spent > 0.0 and route.counterparty is not None:
                usd = {bucket.scope: weight * route.spent for bucket, weight in route.buckets}
                self._add_use(_Use(route.counterparty, wall, usd))
            route.taken = route.room = 0.0  # a thread may still have it at hand

    def _add_use(self, use: _Use) -> None:
        mine = [had for had in self._uses if had.counterparty == use.counterparty]
        same = next((had for had in mine if had.until == use.until), None)
        if same is None and len(mine) >= MAX_USES:
            same = mine[-1]  # counted as long as the newer one
            same.until = max(same.until, use.until)
        if same is None:
            self._uses.append(use)
            return
        for scope, usd in use.usd.items():
            same.usd[scope] = same.usd.get(scope, 0.0) + usd

    def _is_known(self, use: _Use, table: PretradeTable) -> bool:
        """Whether the measurement of a table includes a use."""
        known = table.known.get(use.counterparty, NEVER)
        return known >= use.until + table.settle_s + self._skew_s

    def _waits_for(self, table: PretradeTable) -> str | None:
        """Return the counterparty whose facts are not later than the start; ``None`` for none."""
        if self._waits is None:
            return None
        since = self._started + table.settle_s + self._skew_s
        wanted = [] if self._terms is None else self._terms.counterparties
        # Where no facts are known, no risk could be added before either.
        late = (name for name in wanted if table.known.get(name, inf) < since)
        return next(late, None if table.known else "any counterparty")

    def inherit(self) -> None:
        """Replace the lock in a forked child; a thread of the parent may have held it."""
        self._lock = Lock()
        self._acquire, self._release = self._lock.acquire, self._lock.release

    # Orders.

    def quick(
        self,
        view: View,
        book: str | None,
        counterparty: str | None,
        asset: Assets,
        side: str | None,
        usd: float | None,
        price: float | None,
        account: str | None = None,
        trader: str | None = None,
    ) -> Answer | None:
        """Pass an order that adds risk, by its prepared route; ``None`` if that does not suffice.

        The names were checked when the route was prepared, so equal names need no check.
        """
        try:
            route = self.routes.get((book, counterparty, asset))
        except TypeError:  # an asset without a hash, such as a list
            return None
        if (
            route is None
            or type(usd) is not float
            or type(price) is not float
            or not (side is None or (type(side) is str and side in TRADES))
            or not 0.0 < usd <= route.size
            or not route.low <= price <= route.high
        ):
            return None
        now = self._clock()
        if now >= view.until or now >= route.until:
            return None
        row = None if view.quiet else view.index.find(book, counterparty, asset, account, trader)
        if row is not None and row.rank > 1:
            return None
        rate = self._rate
        self._acquire()  # half the cost of a `with`
        try:
            full_at = rate.full_at
            if full_at < now:  # noqa: PLR1730 - a call of max takes three times as long
                full_at = now
            if usd > route.room or full_at - now > rate.adding:
                return None
            rate.full_at = full_at + rate.interval
            route.room -= usd
        finally:
            self._release()
        return ALLOWED if row is None else row.passed

    def check(self, order: Order, now: float, answer: Answer, left: tuple[str, ...] = ()) -> Answer:
        """Return `answer`, or a refusal if the order exceeds a limit.

        Parameters
        ----------
        order : Order
            An order that no switch refuses.
        now : float
            Steady seconds.
        answer : Answer
            The answer of the switches.
        left : tuple of str
            Scopes of coins that it leaves by its direction; it uses no headroom of them.
        """
        if not self.on or order.intent.withdraws:
            return answer
        adds = order.intent.reduces is not True and not order.intent.top_up
        with self._lock:
            try:
                if adds:
                    self._check_terms(order, now, left)
                if not self._rate.take(now, adds=adds and not order.intent.hedge):
                    raise self._too_fast()
            except _RefusedError as refused:
                return Answer(False, answer.state, str(refused), answer.decision_id, refused.scope)
            if adds and order.usd is not None:
                self._spend(order, now, left)
        return answer

    def _too_fast(self) -> _RefusedError:
        rate = self._rate
        per_s = 1.0 / rate.interval if rate.interval else inf
        why = f"more than {per_s:g} orders a second of {self._client}"
        return _RefusedError(OrderRefusal.RATE_EXCEEDED, FIRM, why)

    def _check_terms(self, order: Order, now: float, left: tuple[str, ...]) -> None:
        """Raise :class:`_RefusedError` if an order that adds risk exceeds a limit.

        A hedge is not refused for headroom, for a missing price or for a price that is not known.
        """
        route = self._route(order, now, left)
        if route.fault is not None and not order.intent.hedge:
            raise route.fault
        self._check_size(order, route)
        if not order.intent.transfers:
            self._check_price(order, route)
        if self._table is not None and not order.intent.hedge:
            self._check_headroom(order, route, now)

    def _check_size(self, order: Order, route: OrderRoute) -> None:
        usd = order.usd
        if usd is None:
            if order.intent.hedge or (self._table is None and route.size == inf):
                return
            why = "usd is required, because limits are checked before the trade"
            raise _RefusedError(OrderRefusal.ORDER_INCOMPLETE, FIRM, why)
        if not 0.0 < usd < inf:
            why = f"usd must be above 0 and finite, was {usd}"
            raise _RefusedError(OrderRefusal.ORDER_INCOMPLETE, FIRM, why)
        if usd > route.size:
            why = f"{usd:,.0f} USD, at most {route.size:,.0f} USD in {route.size_scope}"
            raise _RefusedError(OrderRefusal.ORDER_TOO_LARGE, route.size_scope, why)

    def _check_price(self, order: Order, route: OrderRoute) -> None:
        if route.collar == inf:
            return
        scope, price = route.collar_scope, order.price
        if price is None:
            if order.intent.hedge or (order.slip_bp is not None and order.slip_bp <= route.collar):
                return
            why = f"price, or slip_bp of at most {route.collar:g}, is required"
            raise _RefusedError(OrderRefusal.ORDER_INCOMPLETE, scope, why)
        if not 0.0 < price < inf:
            why = f"price must be above 0 and finite, was {price}"
            raise _RefusedError(OrderRefusal.ORDER_INCOMPLETE, scope, why)
        if route.mid is None:
            if order.intent.hedge:
                return
            why = f"riskwatch has no mid price of {order.asset}"
            raise _RefusedError(OrderRefusal.PRICE_UNKNOWN, scope, why)
        # A buyer loses by a high price, and a seller by a low one.
        high = price > route.high and order.intent.side != "sell"
        low = price < route.low and order.intent.side != "buy"
        if high or low:
            why = f"price {price:g} is beyond {route.collar:g} bp from the mid {route.mid:g}"
            raise _RefusedError(OrderRefusal.PRICE_OUTSIDE_COLLAR, scope, why)

    def _check_headroom(self, order: Order, route: OrderRoute, now: float) -> None:
        usd = order.usd
        assert usd is not None
        if now >= self._until:
            why = "the last grant has ended, and no newer table has come"
            raise _RefusedError(OrderRefusal.HEADROOM_UNKNOWN, FIRM, why)
        if self._reserve(route, usd):
            return
        for other in self.routes.values():  # take back what is reserved and not used
            _release(other)
        if self._reserve(route, usd):
            return
        left, scope = min((max(0.0, b.grant - b.used) / w, b.scope) for b, w in route.buckets)
        why = f"{left:,.0f} USD of {scope} are left for {self._client}, the order has {usd:,.0f}"
        raise _RefusedError(OrderRefusal.HEADROOM_EXCEEDED, scope, why)

    def _reserve(self, route: OrderRoute, usd: float) -> bool:
        """Reserve headroom for an order, and some more; return whether there is enough."""
        if usd <= route.room:
            return True
        free = min(((b.grant - b.used) / w for b, w in route.buckets), default=inf)
        missing = usd - route.room
        if missing > free:
            return False
        part = min((b.grant / w / CHUNK for b, w in route.buckets), default=usd)
        more = min(free, max(missing, part))
        route.taken += more
        route.room += more
        for bucket, weight in route.buckets:
            bucket.used += weight * more
        return True

    def _spend(self, order: Order, now: float, left: tuple[str, ...]) -> None:
        """Count an order that passed. A hedge may use more than is left."""
        usd = order.usd
        assert usd is not None
        if self._table is None or not 0.0 < usd < inf:
            return
        route = self._route(order, now, left)
        if route.fault is not None:  # a hedge whose buckets are not known
            if order.counterparty is not None:
                scopes = scopes_of(
                    book=order.book, counterparty=order.counterparty, asset=order.asset
                )
                counted = [scope for scope in scopes if scope not in _reduced(order, left)]
                used = {scope: w * usd for scope, w in _weights(counted, self._table).items()}
                self._add_use(_Use(order.counterparty, now + self._wall_offset, used))
            return
        missing = max(0.0, usd - route.room)
        route.taken += missing
        route.room += missing
        for bucket, weight in route.buckets:
            bucket.used += weight * missing
        route.room -= usd

    # OrderRoutes.

    def _route(self, order: Order, now: float, left: tuple[str, ...]) -> OrderRoute:
        """Return the prepared check of an order; prepare it if it is new, or its mid got stale."""
        key: RouteKey = (order.book, order.counterparty, order.asset)
        reduced = _reduced(order, left)
        if reduced:  # another key, so that :meth:`quick` does not find it
            key = (*key, reduced)
        route = self.routes.get(key)
        if route is None:
            route = OrderRoute(order.counterparty)
            self._prepare(route, order, reduced)
            if len(self.routes) >= MAX_ROUTES:
                why = f"more than {MAX_ROUTES} combinations of book, counterparty and assets"
                route.fault = _RefusedError(OrderRefusal.HEADROOM_UNKNOWN, FIRM, why)
                return route
            self.routes[key] = route
        if now >= route.until:
            self._set_collar(route, order, now)
        return route

    def _prepare(self, route: OrderRoute, order: Order, reduced: tuple[str, ...]) -> None:
        """Set the buckets, the largest order and the fault of a new route."""
        route.size, route.size_scope = self._own.max_order_usd, f"client:{self._client}"
        route.collar, route.collar_scope = self._own.collar_bp, f"client:{self._client}"
        table, terms = self._table, self._terms
        if table is None:
            return
        scopes = scopes_of(book=order.book, counterparty=order.counterparty, asset=order.asset)
        for scope in scopes:
            found = table.scopes.get(scope)
            if found is None:
                continue
            if found.max_order_usd is not None and found.max_order_usd < route.size:
                route.size, route.size_scope = found.max_order_usd, scope
            if found.collar_bp is not None and found.collar_bp < route.collar:
                route.collar, route.collar_scope = found.collar_bp, scope
        if terms is not None and terms.max_order_usd < route.size:
            route.size, route.size_scope = terms.max_order_usd, f"client:{self._client}"
        try:
            self._check_names(order, table, terms)
            counted = [scope for scope in scopes if scope not in reduced]
            weights = _weights(counted, table)
            route.buckets = [(self._bucket(scope), weight) for scope, weight in weights.items()]
        except _RefusedError as fault:
            route.fault = fault

    def _check_names(self, order: Order, table: PretradeTable, terms: ClientLimits | None) -> None:
        """Raise :class:`_RefusedError` if the headroom of an order cannot be known."""
        if table.fault or self._waits is not None or terms is None:
            why = table.fault or f"the policy names no client {self._client}"
            if not table.fault and terms is not None:
                why = (
                    "what this client used before it started may not be counted yet: no facts of "
                    f"{self._waits} are known that are later than the start"
                )
            raise _RefusedError(OrderRefusal.HEADROOM_UNKNOWN, FIRM, why)
        name = order.counterparty
        for field, value, kinds in (
            ("counterparty", name, ()),
            ("asset", order.asset, (ASSET, "issuer", "bank")),
            ("book", order.book, (BOOK,)),
        ):
            if not value and (not kinds or any(kind in self._kinds for kind in kinds)):
                why = f"{field} is required, because a limit may bind it"
                raise _RefusedError(OrderRefusal.ORDER_INCOMPLETE, FIRM, why)
        scope = f"{COUNTERPARTY}:{name}"
        if name not in terms.counterparties:
            why = f"the policy lets {self._client} add no risk at {name}"
            raise _RefusedError(OrderRefusal.HEADROOM_UNKNOWN, scope, why)
        if name not in table.known:
            why = f"no facts of {name} are known"
            raise _RefusedError(OrderRefusal.HEADROOM_UNKNOWN, scope, why)

    def _bucket(self, scope: str) -> _Bucket:
        """Return the bucket of a scope that a limit binds.

        Raises
        ------
        _RefusedError
            If it is unknown how much of the limit is used.
        """
        found = self._buckets.get(scope)
        if found is not None:
            return found
        table, terms = self._table, self._terms
        assert table is not None
        assert terms is not None
        if scope in table.unknown:
            why = f"the use of the limit of {scope} is unknown: {table.unknown[scope]}"
            raise _RefusedError(OrderRefusal.HEADROOM_UNKNOWN, scope, why)
        left = _left(scope, table)
        assert left is not None
        grant = min(terms.share, self._own.share) * left
        named = scope if scope in table.left or scope in terms.lower else _any_subject(scope)
        grant = min(grant, terms.lower.get(named, inf))
        used = sum(use.usd.get(scope, 0.0) for use in self._uses)
        self._buckets[scope] = made = _Bucket(scope, grant, used)
        return made

    def _set_collar(self, route: OrderRoute, order: Order, now: float) -> None:
        """Set the prices that the collar allows, and until when."""
        table = self._table
        route.until = inf if table is None else self._until
        found = None if table is None else _mid(order.asset, table)
        if found is None or table is None:
            route.mid = None
            route.low, route.high = (0.0, inf) if route.collar == inf else (inf, 0.0)
            return
        route.mid, fresh = found
        if fresh and now < self._fresh_until:
            route.until = min(route.until, self._fresh_until)
        else:
            route.collar = min(route.collar, table.stale_collar_bp)
        route.low = route.mid * (1.0 - route.collar / 1e4)
        route.high = route.mid * (1.0 + route.collar / 1e4)


def _mid(asset: Assets, table: PretradeTable) -> tuple[float, bool] | None:
    """Return the mid of an asset in USD, or of a pair, and whether it is fresh."""
    names = (asset,) if isinstance(asset, str) else asset or ()
    mids = [mid for name in names[:2] if (mid := table.mids.get(name)) is not None]
    if not mids or len(mids) < len(names[:2]) or not all(0.0 < mid.usd < inf for mid in mids):
        return None
    price = mids[0].usd / mids[1].usd if len(mids) > 1 else mids[0].usd
    return price, all(mid.fresh for mid in mids)


def _reduced(order: Order, left: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scopes that an order reduces although it adds risk in others, `left` included.

    It uses no headroom there, nor in what the limits of an issuer, a bank or a group count of them.
    """
    named = order.intent.reduced_scopes
    return tuple(sorted({*named, *left})) if left else named


def _release(route: OrderRoute) -> None:
    """Return what a route has reserved and not used to its buckets."""
    for bucket, weight in route.buckets:
        bucket.used -= weight * route.room
    route.taken -= route.room
    route.room = 0.0


def _left(scope: str, table: PretradeTable) -> float | None:
    """Return the headroom of a scope, USD; ``None`` if no limit binds it."""
    left = table.left.get(scope)
    return table.left.get(_any_subject(scope)) if left is None else left


def _any_subject(scope: str) -> str:
    """Return the scope that stands for each subject of the same kind that is not named."""
    return f"{kind_of_scope(scope)}:*"


def _weights(scopes: Iterable[str], table: PretradeTable) -> dict[str, float]:
    """Return the scopes whose headroom an order uses, with the share of its value that counts."""
    weights: dict[str, float] = {}
    for scope in scopes:
        for bound, weight in {scope: 1.0, **table.binds.get(scope, {})}.items():
            if weight > 0.0 and (bound in table.unknown or _left(bound, table) is not None):
                weights[bound] = weights.get(bound, 0.0) + weight
    return weights


def _seconds(time: datetime) -> float:
    return micros(time) / SECOND
