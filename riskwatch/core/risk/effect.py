"""Whether a HALT took effect: fills after it that added risk, and orders that still rest.

It is judged by event time, from the readings of the ledger. A fill counts if its own time is
:data:`FILL_GRACE_S` and more after the HALT, whenever it is heard. It adds risk unless it brings
what we hold nearer to zero:

* For a counterparty, an account, an asset, or an asset at a venue, what we hold within the scope.
* For a group, an issuer or a bank, what we hold of its coins anywhere, and of all else at its
  members. If it has no known members, it binds every order, and what we hold anywhere counts.
* For the firm and for a book, what we hold within the scope *or* within the account of the fill:
  the close of one leg and a hedge of another are no new risk.

Fills within a granted unwind count only beyond its value. Reduce-only orders are never in the
readings, and an order that could only reduce what we hold is no breach either.

Fills and orders name no trader and no network. Whether the HALT of one took effect is unknown.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from riskwatch.core.clock import SECOND, moment, rfc3339
from riskwatch.core.enums import Cause, HaltEffect, State
from riskwatch.core.money import EXACT, MAX_USD, ZERO, saturated, usd
from riskwatch.core.outputs import HALT_NOT_EFFECTIVE, HaltEffectMeasured, Origin
from riskwatch.core.restriction import members_of, restrictions_at
from riskwatch.core.risk.decision import NO_CONTROL, alert_raised, alert_resolved
from riskwatch.core.risk.explanation import ExposureAtStake
from riskwatch.core.risk.exposure import (
    BORROWED_COMPONENT,
    OPEN_ORDER_COMPONENT,
    base_delta,
    price_of,
    value_of,
)
from riskwatch.core.risk.state import HaltEffectRow, begin_halt, grant_use
from riskwatch.core.scopes import (
    ACCOUNT,
    ASSET,
    BOOK,
    COUNTERPARTY,
    FIRM,
    LINKED,
    NETWORK,
    TRADER,
    VENUE_ASSET,
    OrderParties,
    Scope,
    binds,
    parse,
    scopes_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import Output
    from riskwatch.core.readings import CounterpartyReading, FillGroup, RestingOrders
    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.stakes import TickContext
    from riskwatch.core.risk.state import PartyRow, RiskState

UNKNOWABLE: Final = (TRADER, NETWORK)
"""Kinds of scopes of whose effect nothing is known, because fills and orders do not name them."""
FILL_GRACE_S: Final = 5
"""A fill counts from this long after the HALT on: an order may have been on its way, seconds."""
REST_GRACE_S: Final = 10
"""An order may rest for this long after the HALT, seconds."""
MAX_WAITING_GROUPS: Final = 4_096
"""Maximum number of groups of fills of one counterparty that wait for the next tick."""
_UNNAMED: Final = (ACCOUNT, *LINKED)
"""Kinds of scopes that no name of a fill or of an order leads to."""
_CENT: Final = 0.005
_GROWN: Final = 1.25
"""Growth of the value of fills from which the alert is raised again."""
_MOVED: Final = 0.01
"""Share by which the value of resting orders must move to be published again."""


def queue_groups(row: PartyRow, reading: CounterpartyReading) -> None:
    """Queue the fills of a reading until the next tick."""
    room = MAX_WAITING_GROUPS - len(row.fills)
    late = sum(group.count for group in reading.fills[room:])
    row.fills = [*row.fills, *reading.fills[:room]]
    row.fills_missed += reading.fills_missed + late
    row.traded = row.traded or bool(reading.fills) or reading.fills_missed > 0


class Region(NamedTuple):
    """Holdings of some parties, of a book and of an account; ``None`` stands for all."""

    parties: tuple[str, ...] | None = None
    book: str | None = None
    account: str | None = None

    def includes(self, party: str, book: str, account: str) -> bool:
        """Whether a holding is in it."""
        return (
            (self.parties is None or party in self.parties)
            and self.book in (None, book)
            and self.account in (None, account)
        )


_EVERYWHERE: Final = Region()


def region_of(at: Scope) -> Region:
    """Return the part of the firm within which a scope without members judges what is held.

    Examples
    --------
    >>> region_of(parse("venue-asset:kraken/USDC"))
    Region(parties=('kraken',), book=None, account=None)
    >>> region_of(parse("account:kraken/main"))
    Region(parties=('kraken',), book=None, account='main')
    """
    if at.kind in (COUNTERPARTY, VENUE_ASSET, ACCOUNT):
        return Region((at.name,), None, at.account or None)
    return Region(None, at.name if at.kind == BOOK else None, None)


def _amounts(state: RiskState, row: PartyRow) -> Iterator[tuple[str, str, str, Decimal]]:
    """Yield asset, book, account and signed amount of each holding and position of a party."""
    for h in row.holdings:
        if h.component != OPEN_ORDER_COMPONENT:
            owed = h.component == BORROWED_COMPONENT
            yield h.asset, h.book, h.account, h.amount.copy_negate() if owed else h.amount
    for p in row.positions:
        yield p.base, p.book, p.account, base_delta(state, row, p)


class HeldAmounts:
    """What we hold now, looked up by asset; it is read at the first look-up.

    Parameters
    ----------
    state : RiskState
        Its parties.
    """

    def __init__(self, state: RiskState) -> None:
        self._state = state
        self._rows: dict[str, list[tuple[str, str, str, Decimal]]] | None = None

    def net(self, region: Region, asset: str) -> Decimal:
        """Return what we hold of an asset within a region, net, with the positions on it."""
        rows = self._rows
        if rows is None:
            rows = self._rows = {}
            for name in sorted(self._state.parties):
                for each, book, account, amount in _amounts(self._state, self._state.parties[name]):
                    rows.setdefault(each, []).append((name, book, account, amount))
        total = ZERO
        for party, book, account, amount in rows.get(asset, ()):
            if region.includes(party, book, account):
                total = EXACT.add(total, amount)
        return total


def added_amount(before: Decimal, change: Decimal) -> Decimal:
    """Return how much of a change adds to what is held; zero if it ends nearer to zero.

    Examples
    --------
    >>> [str(added_amount(Decimal(b), Decimal(c))) for b, c in ((0, 5), (5, -3), (5, -6), (5, -11))]
    ['5', '0', '0', '6']
    """
    after = EXACT.add(before, change)
    if after.copy_abs() < before.copy_abs():
        return ZERO
    size = change.copy_abs()
    opposite = bool(before) and (before < 0) != (change < 0)
    return EXACT.subtract(size, min(size, before.copy_abs())) if opposite else size


class Leg(NamedTuple):
    """One asset that a trade moves: its name, the signed change, and the value of the change."""

    asset: str
    change: Decimal
    usd: float | None


def legs_of(
    at: Scope, trade: FillGroup | RestingOrders, state: RiskState, reference: Reference
) -> list[Leg]:
    """Return the legs of a trade by which a scope judges it.

    An asset is judged by its own leg. A derivative that is quoted in the asset is judged by its
    position. Every other scope looks at the base, and at the quote unless that is money.
    """
    value = trade_value(trade, state)
    buys = trade.side == "buy"
    base = Leg(trade.base, trade.qty if buys else trade.qty.copy_negate(), value)
    paid = trade.notional.copy_negate() if buys else trade.notional
    quote = Leg(trade.quote, paid, value)
    if at.kind in (ASSET, VENUE_ASSET):
        asset = at.asset if at.kind == VENUE_ASSET else at.name
        return [base if asset == trade.base or not trade.spot or not trade.notional else quote]
    is_money = not trade.quote or reference.is_money(trade.quote)
    return [base] if is_money or not trade.spot else [base, quote]


class JudgedLeg(NamedTuple):
    """A leg, and the regions by which it is judged: it adds what it adds in the least of them."""

    leg: Leg
    regions: tuple[Region, ...]


class HaltedScope:
    """A scope at HALT whose effect is measured: what it binds, and by what it judges that.

    Parameters
    ----------
    scope : str
        The scope.
    reference : Reference
        Members of groups, issuers and banks, and which assets are money.
    """

    def __init__(self, scope: str, reference: Reference) -> None:
        self.scope = scope
        self.at = parse(scope)
        self.members = tuple(members_of(scope, reference))
        self._reference = reference
        self._parties = tuple(
            parse(each).name for each in self.members if parse(each).kind == COUNTERPARTY
        )

    def concerns(self, party: str) -> bool:
        """Whether it may bind an order at a counterparty."""
        if self.at.kind in UNKNOWABLE:
            return False
        if self.at.kind in (COUNTERPARTY, VENUE_ASSET, ACCOUNT):
            return self.at.name == party
        if self.at.kind in LINKED and len(self._parties) == len(self.members) > 0:
            return party in self._parties
        return True

    def judged(
        self, party: str, trade: FillGroup | RestingOrders, state: RiskState
    ) -> list[JudgedLeg]:
        """Return the legs of a trade by which the scope judges it; none if it does not bind it."""
        assets = (trade.base, trade.quote)
        if self.at.kind in (ACCOUNT, *LINKED, *UNKNOWABLE):
            more = OrderParties(account=trade.account)
            if self.at.kind in UNKNOWABLE or not binds(self.at, self.members, party, assets, more):
                return []
        elif self.scope not in scopes_of(book=trade.book, counterparty=party, asset=assets):
            return []
        if self.members:
            return self._by_members(party, trade, state)
        regions: tuple[Region, ...] = (region_of(self.at),)
        if self.at.kind in (FIRM, BOOK):
            regions += (Region((party,), trade.book, trade.account),)
        legs = legs_of(self.at, trade, state, self._reference)
        return [JudgedLeg(leg, regions) for leg in legs]

    def _by_members(
        self, party: str, trade: FillGroup | RestingOrders, state: RiskState
    ) -> list[JudgedLeg]:
        """Return legs in coins of the members, and at a member venue all others."""
        found: dict[str, JudgedLeg] = {}
        for coin in (trade.base, trade.quote):
            if f"{ASSET}:{coin}" in self.members:
                for leg in legs_of(Scope((ASSET, coin, "")), trade, state, self._reference):
                    found.setdefault(leg.asset, JudgedLeg(leg, (_EVERYWHERE,)))
        if party in self._parties:
            for leg in legs_of(self.at, trade, state, self._reference):
                found.setdefault(leg.asset, JudgedLeg(leg, (Region(self._parties),)))
        return list(found.values())


def trade_value(trade: FillGroup | RestingOrders, state: RiskState) -> float | None:
    """Return the value of a trade in USD: by its own price if possible; ``None`` if unknown."""
    quote = price_of(trade.quote, state)
    if quote is not None and trade.notional:
        return value_of(trade.notional, quote)
    base = price_of(trade.base, state)
    return None if base is None else value_of(trade.qty, base)


class PendingFill(NamedTuple):
    """A group of fills with its counterparty."""

    party: str
    group: FillGroup

    @property
    def order(self) -> tuple[int, int, str, str, str, str, str, str, bool]:
        """Sort key: time, then names."""
        g = self.group
        return (
            g.last_us, g.first_us, self.party, g.book, g.account, g.base, g.quote, g.side, g.spot,
        )  # fmt: skip

    def changes(self, asset: str) -> Decimal:
        """Return the signed change of an asset."""
        g, change = self.group, ZERO
        if asset == g.base:
            change = g.base_change
        return EXACT.add(change, g.quote_change) if asset == g.quote else change


class _Amounts:
    """What was held before each of some fills, by region and asset.

    The ledger says what is held now. What was held before a fill follows by taking back the fill
    and all later ones. Fills and holdings are looked up by asset, so that a crowd of fills costs
    little more than its number.
    """

    def __init__(self, held: HeldAmounts, fills: list[PendingFill]) -> None:
        self._held = held
        self._known: dict[tuple[Region, str], dict[int, Decimal]] = {}
        self._fills: dict[str, list[tuple[int, PendingFill]]] = {}
        for n, fill in enumerate(fills):
            for asset in dict.fromkeys((fill.group.base, fill.group.quote)):
                self._fills.setdefault(asset, []).append((n, fill))

    def before(self, n: int, region: Region, asset: str) -> Decimal:
        """Return what was held in a region before the fill number `n`, which moves the asset."""
        known = self._known.get((region, asset))
        if known is None:
            known = self._known[region, asset] = {}
            amount = self._held.net(region, asset)
            for number, fill in reversed(self._fills[asset]):
                if region.includes(fill.party, fill.group.book, fill.group.account):
                    amount = EXACT.subtract(amount, fill.changes(asset))
                    known[number] = amount
        return known[n]


class EffectMonitor:
    """Measures at each tick whether the HALTs in force took effect.

    Parameters
    ----------
    config : RiskConfig
        `alert_from_usd` is the value from which resting orders count.
    reference : Reference
        Says which assets are money.
    """

    def __init__(self, config: RiskConfig, reference: Reference) -> None:
        self.config = config
        self.reference = reference

    def measure(self, state: RiskState, tick: TickContext) -> Iterator[Output]:
        """Update the effect of every HALT, and return what changed, and alerts."""
        pending = self._take_fills(state)
        halted = {
            scope: HaltedScope(scope, self.reference)
            for scope in sorted(state.scopes)
            if state.scopes[scope].state is State.HALT
        }
        yield from self._close(state, tick.us, halted)
        for scope in halted:
            if scope not in state.effects:
                begin_halt(state, scope, tick.us)
                _adopt_grant(state, scope, tick.us)
        if not halted:
            return
        fills = sorted(pending[0], key=lambda fill: fill.order)
        held = HeldAmounts(state)
        self._count_fills(state, halted, fills, held)
        for party, missed, us in pending[1]:
            self._count_missed(state, halted, party, missed, us)
        for scope, halt in halted.items():
            row = state.effects[scope]
            self._settle(state, halt, row, _resting(state, halt, held), tick)
            yield from self._report(state, halt, row, tick.us)

    def _take_fills(self, state: RiskState) -> tuple[list[PendingFill], list[tuple[str, int, int]]]:
        """Take the fills since the last tick, and the numbers of those that had no room."""
        fills: list[PendingFill] = []
        missed: list[tuple[str, int, int]] = []
        for name in sorted(state.parties):
            row = state.parties[name]
            if row.fills or row.fills_missed:
                fills += [PendingFill(name, group) for group in row.fills]
                if row.fills_missed:
                    missed.append((name, row.fills_missed, row.us))
                row.fills, row.fills_missed = [], 0
                state.mark(f"party/{name}")
        return fills, missed

    def _close(self, state: RiskState, us: int, halted: dict[str, HaltedScope]) -> Iterator[Output]:
        """Close the rows of HALTs that ended."""
        for scope in sorted(state.effects):
            row = state.effects[scope]
            if scope in halted and not row.ended:
                continue
            origin = Origin.tick(us)
            if row.alert_id:
                yield alert_resolved(origin, _alert_key(scope), scope, row.alert_id)
            if row.sent is not None:
                yield _measured(scope, row, us, finding=None, ended=True)
            del state.effects[scope]
            state.mark(f"effect/{scope}")

    def _count_fills(
        self,
        state: RiskState,
        halted: dict[str, HaltedScope],
        fills: list[PendingFill],
        held: HeldAmounts,
    ) -> None:
        """Add the fills that a HALT binds and that added risk."""
        amounts = _Amounts(held, fills)
        wide = [halted[scope] for scope in halted if halted[scope].at.kind in _UNNAMED]
        for n, fill in enumerate(fills):
            g = fill.group
            named = scopes_of(book=g.book, counterparty=fill.party, asset=(g.base, g.quote))
            bound = [halted[scope] for scope in dict.fromkeys(named) if scope in halted]
            for halt in (*bound, *wide):
                row = state.effects[halt.scope]
                if g.last_us < row.since + FILL_GRACE_S * SECOND:
                    continue
                added = _added(halt.judged(fill.party, g, state), n, amounts)
                if added is None or added >= _CENT:
                    _count(row, g, added)
                    state.mark(f"effect/{halt.scope}")

    def _count_missed(
        self,
        state: RiskState,
        halted: dict[str, HaltedScope],
        party: str,
        missed: int,
        us: int,
    ) -> None:
        """Count fills that are not known one by one on every scope that may bind them."""
        for scope, halt in halted.items():
            row = state.effects[scope]
            if halt.concerns(party) and us >= row.since + FILL_GRACE_S * SECOND:
                row.missed += missed
                state.mark(f"effect/{scope}")

    def _settle(
        self,
        state: RiskState,
        halt: HaltedScope,
        row: HaltEffectRow,
        resting: tuple[float | None, int],
        tick: TickContext,
    ) -> None:
        """Store what rests now, and since when nothing does."""
        before = (row.resting_usd, row.resting, row.flat_us)
        row.resting_usd, row.resting = resting
        rests = row.resting_usd is not None and row.resting_usd >= self.config.alert_from_usd
        if rests or row.resting_usd is None or not _complete(state, halt):
            row.flat_us = -1
        elif row.flat_us < 0:
            row.flat_us = tick.us
        if rests and tick.us < row.since + REST_GRACE_S * SECOND:
            tick.moving = True
        if before != (row.resting_usd, row.resting, row.flat_us):
            state.mark(f"effect/{halt.scope}")

    def _report(
        self, state: RiskState, halt: HaltedScope, row: HaltEffectRow, us: int
    ) -> Iterator[Output]:
        """Publish the effect if it changed, and raise or resolve its alert."""
        scope = halt.scope
        retired = state.controls.get(scope, NO_CONTROL).retired is not None
        rests = (
            not retired
            and row.resting_usd is not None
            and row.resting_usd >= self.config.alert_from_usd
            and us >= row.since + REST_GRACE_S * SECOND
        )
        found = rests or row.fills > 0 or row.unpriced > 0 or row.missed > 0
        finding = HALT_NOT_EFFECTIVE if found else None
        raised = list(self._alert(scope, row, us, found=found, rests=rests))
        resting = -1.0 if row.resting_usd is None else row.resting_usd
        filled = row.filled_usd + row.fills + row.unpriced + row.missed
        sent, at = row.sent, state.scopes[scope]
        restricts = restrictions_at(at.state, at.restriction)
        if (
            sent is None
            or raised
            or row.restricts != restricts
            or abs(sent[0] - resting) > _MOVED * max(abs(resting), 1.0)
            or (sent[1], sent[2]) != (filled, row.flat_us)
        ):
            row.sent, row.restricts = (resting, filled, row.flat_us), restricts
            state.mark(f"effect/{scope}")
            yield _measured(scope, row, us, finding=finding)
        yield from raised

    def _alert(
        self, scope: str, row: HaltEffectRow, us: int, *, found: bool, rests: bool
    ) -> Iterator[Output]:
        """Raise the alert at first, when fills grew, and when orders rest again; resolve it."""
        origin, key = Origin.tick(us), _alert_key(scope)
        if not found:
            if row.alert_id:
                yield alert_resolved(origin, key, scope, row.alert_id)
            row.alert_id, row.alerted_usd, row.alerted_resting = "", 0.0, False
            return
        weight = row.filled_usd + row.fills + row.unpriced + row.missed
        grew = weight >= _GROWN * row.alerted_usd if row.alerted_usd else weight > 0.0
        if row.alert_id and not grew and not (rests and not row.alerted_resting):
            row.alerted_resting = rests
            return
        resting = row.resting_usd if rests and row.resting_usd is not None else 0.0
        raised = alert_raised(
            origin,
            key,
            scope,
            f"{HALT_NOT_EFFECTIVE}: {scope}: {row.filled_usd:,.2f} USD filled after it, "
            f"{resting:,.2f} USD rest",
            severity=State.HALT,
            cause=Cause.UNKNOWN,
            reasons=_reasons(row, resting),
            stakes=ExposureAtStake(saturated(row.filled_usd + resting), 0.0, 0.0),
        )
        row.alert_id = row.alert_id or raised.id
        row.alerted_usd, row.alerted_resting = weight, rests
        yield raised


def _added(judged: list[JudgedLeg], n: int, amounts: _Amounts) -> float | None:
    """Return the value by which the fill number `n` added risk; ``None`` if it is not known."""
    worst = 0.0
    for leg, regions in judged:
        added = min(
            added_amount(amounts.before(n, region, leg.asset), leg.change) for region in regions
        )
        if added and leg.usd is None:
            return None
        if added and leg.usd is not None:
            worst = max(worst, leg.usd * (float(added) / abs(float(leg.change))))
    return worst


def _resting(state: RiskState, halt: HaltedScope, held: HeldAmounts) -> tuple[float | None, int]:
    """Return value and number of the orders that rest on a scope and would add risk.

    The value is ``None`` if no order was ever reported there, and the maximum if an order has no
    price.
    """
    parties = [name for name in sorted(state.parties) if halt.concerns(name)]
    if all(state.parties[name].orders is None for name in parties):
        return None, 0
    orders = _OrderBook()
    for party in parties:
        for group in state.parties[party].orders or ():
            judged = halt.judged(party, group, state)
            # A trade of a group may add to its coins by one leg, and to its claims by the other.
            for rank, each in enumerate(judged if halt.members else judged[:1]):
                orders.add(rank, each, group.count)
    return orders.worth(held)


class _OrderBook:
    """Resting orders of one scope: what they would change, by region and asset."""

    def __init__(self) -> None:
        # By rank of the leg and of the region: amounts, values and numbers by region and asset.
        self._rows: dict[int, list[_OrdersByRegion]] = {}

    def add(self, rank: int, judged: JudgedLeg, count: int) -> None:
        """Add the orders of one market, by one leg."""
        leg, regions = judged
        tables = self._rows.setdefault(rank, [{} for _ in regions])
        for table, region in zip(tables, regions, strict=True):
            rows = table.setdefault((region, leg.asset), [])
            rows.append((leg.change, MAX_USD if leg.usd is None else leg.usd, count))

    def worth(self, held: HeldAmounts) -> tuple[float, int]:
        """Return value and number of the orders beyond those that only reduce what is held."""
        found = (min(_total(table, held) for table in tables) for tables in self._rows.values())
        return max(found, default=(0.0, 0))


def _total(table: _OrdersByRegion, held: HeldAmounts) -> tuple[float, int]:
    """Return value and number of the orders of all regions beyond those that only reduce."""
    total = (0.0, 0)
    for region, asset in sorted(table, key=_order_of_region):
        total = _sum(total, _beyond(held.net(region, asset), table[region, asset]))
    return total


def _order_of_region(key: tuple[Region, str]) -> tuple[tuple[str, ...], str, str, str]:
    region, asset = key
    return region.parties or (), region.book or "", region.account or "", asset


def _beyond(held: Decimal, rows: list[tuple[Decimal, float, int]]) -> tuple[float, int]:
    """Return value and number of orders on one asset beyond those that only reduce `held`."""
    value, number = 0.0, 0
    for closes, room in (
        (False, max(ZERO, held.copy_negate())),
        (True, max(ZERO, held)),
    ):
        side = [row for row in rows if (row[0] < 0) is closes]
        amount = ZERO
        for change, _, _ in side:
            amount = EXACT.add(amount, change.copy_abs())
        if amount > room:
            share = float(EXACT.subtract(amount, room)) / float(amount)
            value += share * sum(row[1] for row in side)
            number += sum(row[2] for row in side)
    return saturated(value), number


_OrdersByRegion = dict[tuple[Region, str], list[tuple[Decimal, float, int]]]


def _sum(one: tuple[float, int], other: tuple[float, int]) -> tuple[float, int]:
    return saturated(one[0] + other[0]), one[1] + other[1]


def _count(row: HaltEffectRow, group: FillGroup, added: float | None) -> None:
    """Add a fill that added risk to the row of a HALT, after what a grant covers of it."""
    if added is None:
        row.unpriced += group.count
        return
    end = FILL_GRACE_S * SECOND  # an order of the last moment of a grant may fill a little later
    if any(begin <= group.first_us and group.last_us <= until + end for begin, until in row.grants):
        covered = min(added, max(0.0, row.granted_usd - row.used_usd))
        row.used_usd += covered
        added -= covered
    if added >= _CENT:
        row.filled_usd = saturated(row.filled_usd + added)
        row.fills += group.count


def _adopt_grant(state: RiskState, scope: str, us: int) -> None:
    """Record the unwind in force of a HALT that is older than its record here."""
    grant = state.controls.get(scope, NO_CONTROL).unwind
    if grant is not None:
        allowed = grant.max_usd * (1.0 + grant.max_slip_bp / 1e4)
        grant_use(state, scope, us, grant.until, allowed)


def _complete(state: RiskState, halt: HaltedScope) -> bool:
    """Whether orders are known of every counterparty of a scope at which we have traded."""
    failed = {name: None for names in state.faults.values() for name in names}
    return all(
        (row.orders is not None or not row.traded) and name not in failed
        for name, row in state.parties.items()
        if halt.concerns(name)
    )


def _alert_key(scope: str) -> str:
    """Return the key of the alert that a HALT is not effective."""
    return f"{scope}|effect"


def _reasons(row: HaltEffectRow, resting: float) -> list[str]:
    """Return what is wrong, in sentences."""
    since = rfc3339(row.since)
    reasons = []
    if row.fills:
        reasons.append(
            f"{row.fills} fill(s) of {row.filled_usd:,.2f} USD added risk {FILL_GRACE_S} s and "
            f"more after the HALT of {since}"
        )
    if row.unpriced:
        reasons.append(f"{row.unpriced} fill(s) after it have no price in USD")
    if row.missed:
        reasons.append(f"{row.missed} fill(s) after it were too many to be looked at one by one")
    if resting:
        known = "" if resting < MAX_USD else ", of which some have no price in USD"
        reasons.append(
            f"{row.resting} order(s) of {resting:,.2f} USD still rest{known}: cancel them at the "
            "venue"
        )
    return reasons


def _effect(scope: str, row: HaltEffectRow, finding: str | None) -> HaltEffect:
    """Return what is known of the effect, in one word; without proof it is never effective."""
    if finding is not None:
        return HaltEffect.NOT_EFFECTIVE
    if parse(scope).kind in UNKNOWABLE or row.resting_usd is None:
        return HaltEffect.UNKNOWN
    if row.flat_us >= 0:
        return HaltEffect.EFFECTIVE
    return HaltEffect.RESTING if row.resting else HaltEffect.UNKNOWN


def _measured(
    scope: str, row: HaltEffectRow, us: int, *, finding: str | None, ended: bool = False
) -> HaltEffectMeasured:
    return HaltEffectMeasured(
        **Origin.tick(us).stamp(HaltEffectMeasured, f"{scope}|{'ended' if ended else 'now'}"),
        scope=scope,
        halted_at=moment(row.since),
        finding=finding,
        filled_after_usd=usd(row.filled_usd),
        fills=row.fills,
        fills_unknown=row.unpriced + row.missed,
        resting_usd=None if row.resting_usd is None else usd(row.resting_usd),
        resting=row.resting,
        flat_at=None if row.flat_us < 0 else moment(row.flat_us),
        ended=ended,
        effect=_effect(scope, row, finding),
        restriction=dict(row.restricts),
    )
