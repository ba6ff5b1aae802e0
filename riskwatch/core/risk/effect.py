"""Whether a HALT took effect: fills after it that added risk, and orders that still rest.

It is judged by event time, from the readings of the ledger. A fill counts if its own time is
:data:`FILL_GRACE_S` and more after the HALT, whenever it is heard. It adds risk unless it brings
what we hold nearer to zero:

* For a counterparty, an asset, or an asset at a venue, what we hold within the scope.
* For the firm and for a book, what we hold within the scope *or* within the account of the fill:
  the close of one leg and a hedge of another are no new risk.

Fills within a granted unwind count only beyond its value. Reduce-only orders are never in the
readings, and an order that could only reduce what we hold is no breach either.
"""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003 - the types of named tuples are evaluated
from typing import TYPE_CHECKING, Final, NamedTuple

from riskwatch.core.clock import SECOND, moment, rfc3339
from riskwatch.core.enums import Cause, State
from riskwatch.core.money import EXACT, MAX_USD, ZERO, saturated, usd
from riskwatch.core.outputs import HALT_NOT_EFFECTIVE, HaltEffectMeasured, Origin
from riskwatch.core.risk.decision import NO_CONTROL, alert_raised, alert_resolved
from riskwatch.core.risk.explanation import ExposureAtStake
from riskwatch.core.risk.exposure import (
    BORROWED_COMPONENT,
    OPEN_ORDER_COMPONENT,
    price_of,
    value_of,
)
from riskwatch.core.risk.state import HaltEffectRow, begin_halt, grant_use
from riskwatch.core.scopes import ASSET, BOOK, COUNTERPARTY, FIRM, VENUE_ASSET, parse, scopes_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import Output
    from riskwatch.core.readings import CounterpartyReading, FillGroup, RestingOrders
    from riskwatch.core.reference import Reference
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.stakes import TickContext
    from riskwatch.core.risk.state import PartyRow, RiskState
    from riskwatch.core.scopes import Scope

MEASURED: Final = (FIRM, BOOK, COUNTERPARTY, ASSET, VENUE_ASSET)
"""Kinds of scopes whose effect is measured. Of the others nothing is known: fills and orders do not
say which trader or network they are of."""
FILL_GRACE_S: Final = 5
"""A fill counts from this long after the HALT on: an order may have been on its way, seconds."""
REST_GRACE_S: Final = 10
"""An order may rest for this long after the HALT, seconds."""
MAX_WAITING_GROUPS: Final = 4_096
"""Maximum number of groups of fills of one counterparty that wait for the next tick."""
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
    """Part of the firm: holdings of one party, book and account; ``None`` stands for all."""

    party: str | None
    book: str | None
    account: str | None

    def includes(self, party: str, book: str, account: str) -> bool:
        """Whether a holding is in it."""
        return (
            self.party in (None, party)
            and self.book in (None, book)
            and self.account in (None, account)
        )


def region_of(at: Scope) -> Region:
    """Return the part of the firm within which a scope judges what is held.

    Examples
    --------
    >>> region_of(parse("venue-asset:kraken/USDC"))
    Region(party='kraken', book=None, account=None)
    """
    if at.kind in (COUNTERPARTY, VENUE_ASSET):
        return Region(at.name, None, None)
    return Region(None, at.name if at.kind == BOOK else None, None)


def _amounts(row: PartyRow) -> Iterator[tuple[str, str, str, Decimal]]:
    """Yield asset, book, account and signed amount of each holding and position of a party."""
    for h in row.holdings:
        if h.component != OPEN_ORDER_COMPONENT:
            owed = h.component == BORROWED_COMPONENT
            yield h.asset, h.book, h.account, h.amount.copy_negate() if owed else h.amount
    for p in row.positions:
        yield p.base, p.book, p.account, p.qty


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
                for each, book, account, amount in _amounts(self._state.parties[name]):
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


Order = tuple[str, str, str, str, str, bool]


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
    known = reference.asset(trade.quote)
    is_money = known.fiat or known.peg is not None or not trade.quote
    return [base] if is_money or not trade.spot else [base, quote]


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
        halted = sorted(
            scope
            for scope, row in state.scopes.items()
            if row.state is State.HALT and parse(scope).kind in MEASURED
        )
        yield from self._close(state, tick.us, dict.fromkeys(halted))
        for scope in halted:
            if scope not in state.effects:
                begin_halt(state, scope, tick.us)
                _adopt_grant(state, scope, tick.us)
        if not halted:
            return
        fills = sorted(pending[0], key=lambda fill: fill.order)
        held = HeldAmounts(state)
        self._count_fills(state, fills, held)
        for party, missed, us in pending[1]:
            self._count_missed(state, party, missed, us)
        resting = self._resting(state, halted, held)
        for scope in halted:
            row = state.effects[scope]
            self._settle(state, scope, row, resting[scope], tick)
            yield from self._report(state, scope, row, tick.us)

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

    def _close(self, state: RiskState, us: int, halted: dict[str, None]) -> Iterator[Output]:
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

    def _count_fills(self, state: RiskState, fills: list[PendingFill], held: HeldAmounts) -> None:
        """Add the fills that a HALT binds and that added risk."""
        amounts = _Amounts(held, fills)
        for n, fill in enumerate(fills):
            g = fill.group
            bound = scopes_of(book=g.book, counterparty=fill.party, asset=(g.base, g.quote))
            for scope in dict.fromkeys(bound):
                row = state.effects.get(scope)
                if row is None or g.last_us < row.since + FILL_GRACE_S * SECOND:
                    continue
                added = self._added(state, parse(scope), fill, n, amounts)
                if added is None or added >= _CENT:
                    _count(row, g, added)
                    state.mark(f"effect/{scope}")

    def _added(
        self, state: RiskState, at: Scope, fill: PendingFill, n: int, amounts: _Amounts
    ) -> float | None:
        """Return the value by which a fill added risk on a scope; ``None`` if it is not known."""
        worst = 0.0
        regions = [region_of(at)]
        if at.kind in (FIRM, BOOK):
            regions.append(Region(fill.party, fill.group.book, fill.group.account))
        for leg in legs_of(at, fill.group, state, self.reference):
            added = min(
                added_amount(amounts.before(n, region, leg.asset), leg.change) for region in regions
            )
            if added and leg.usd is None:
                return None
            if added and leg.usd is not None:
                worst = max(worst, leg.usd * (float(added) / abs(float(leg.change))))
        return worst

    def _count_missed(self, state: RiskState, party: str, missed: int, us: int) -> None:
        """Count fills that are not known one by one on every scope that may bind them."""
        for scope in sorted(state.effects):
            row = state.effects[scope]
            if _concerns(scope, party) and us >= row.since + FILL_GRACE_S * SECOND:
                row.missed += missed
                state.mark(f"effect/{scope}")

    def _resting(
        self, state: RiskState, halted: list[str], held: HeldAmounts
    ) -> dict[str, tuple[float | None, int]]:
        """Return value and number of the orders that rest on each scope and would add risk.

        The value is ``None`` if no order was ever reported there, and the maximum if an order has
        no price.
        """
        books = {scope: _OrderBook() for scope in halted}
        for party in sorted(state.parties):
            for group in state.parties[party].orders or ():
                bound = scopes_of(
                    book=group.book, counterparty=party, asset=(group.base, group.quote)
                )
                for scope in dict.fromkeys(bound):
                    if scope in books:
                        books[scope].add(party, group, legs_of(
                            parse(scope), group, state, self.reference
                        )[0])  # fmt: skip
        return {
            scope: books[scope].worth(held, parse(scope)) if _reported(state, scope) else (None, 0)
            for scope in halted
        }

    def _settle(
        self,
        state: RiskState,
        scope: str,
        row: HaltEffectRow,
        resting: tuple[float | None, int],
        tick: TickContext,
    ) -> None:
        """Store what rests now, and since when nothing does."""
        before = (row.resting_usd, row.resting, row.flat_us)
        row.resting_usd, row.resting = resting
        rests = row.resting_usd is not None and row.resting_usd >= self.config.alert_from_usd
        if rests or row.resting_usd is None or not _complete(state, scope):
            row.flat_us = -1
        elif row.flat_us < 0:
            row.flat_us = tick.us
        if rests and tick.us < row.since + REST_GRACE_S * SECOND:
            tick.moving = True
        if before != (row.resting_usd, row.resting, row.flat_us):
            state.mark(f"effect/{scope}")

    def _report(
        self, state: RiskState, scope: str, row: HaltEffectRow, us: int
    ) -> Iterator[Output]:
        """Publish the effect if it changed, and raise or resolve its alert."""
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
        sent = row.sent
        if (
            sent is None
            or raised
            or abs(sent[0] - resting) > _MOVED * max(abs(resting), 1.0)
            or (sent[1], sent[2]) != (filled, row.flat_us)
        ):
            row.sent = (resting, filled, row.flat_us)
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


class _OrderBook:
    """Resting orders of one scope: what they would change, by region and asset."""

    def __init__(self) -> None:
        # By (party, book, account, asset): amounts and values of those that raise it and lower it.
        self._rows: dict[tuple[str, str, str, str], list[tuple[Decimal, float, int]]] = {}

    def add(self, party: str, group: RestingOrders, leg: Leg) -> None:
        """Add the orders of one market."""
        rows = self._rows.setdefault((party, group.book, group.account, leg.asset), [])
        rows.append((leg.change, MAX_USD if leg.usd is None else leg.usd, group.count))

    def worth(self, held: HeldAmounts, at: Scope) -> tuple[float, int]:
        """Return value and number of the orders beyond those that only reduce what is held."""
        wide: dict[str, list[tuple[Decimal, float, int]]] = {}
        narrow = (0.0, 0)
        for (party, book, account, asset), rows in sorted(self._rows.items()):
            wide.setdefault(asset, []).extend(rows)
            if at.kind in (FIRM, BOOK):
                here = held.net(Region(party, book, account), asset)
                narrow = _sum(narrow, _beyond(here, rows))
        total = (0.0, 0)
        for asset in sorted(wide):
            total = _sum(total, _beyond(held.net(region_of(at), asset), wide[asset]))
        return min(total, narrow) if at.kind in (FIRM, BOOK) else total


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


def _concerns(scope: str, party: str) -> bool:
    """Whether a scope may bind an order at a counterparty."""
    at = parse(scope)
    return at.kind not in (COUNTERPARTY, VENUE_ASSET) or at.name == party


def _reported(state: RiskState, scope: str) -> bool:
    """Whether any order was ever reported by a counterparty that a scope concerns."""
    return any(
        row.orders is not None for name, row in state.parties.items() if _concerns(scope, name)
    )


def _complete(state: RiskState, scope: str) -> bool:
    """Whether orders are known of every counterparty of a scope at which we have traded."""
    failed = {name: None for names in state.faults.values() for name in names}
    return all(
        (row.orders is not None or not row.traded) and name not in failed
        for name, row in state.parties.items()
        if _concerns(scope, name)
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
    )
