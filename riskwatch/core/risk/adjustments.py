"""Adjustments of accounts: each kind has a bound, and what is beyond it is a break that pages.

A venue changes balances by funding, fees, interest and the like. The ledger applies what the venue
says. Here it is compared with what its kind can explain: by account, kind and day (UTC), the sum of
the amounts in USD may reach the largest of the bounds of the kind. Of conversions the gains and
losses count, because their two sides may be two entries. The kind ``other`` explains nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import DAY, moment
from riskwatch.core.enums import Cause, QualityIssue, State
from riskwatch.core.instruments import value_position
from riskwatch.core.money import MAX_USD, quantise, saturated
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, Origin
from riskwatch.core.risk.decision import alert_raised, alert_resolved
from riskwatch.core.risk.explanation import ExposureAtStake
from riskwatch.core.risk.exposure import basis_of, price_of, value_of
from riskwatch.core.risk.legs import AdjustmentBound, AdjustmentDay, AdjustmentsConfig
from riskwatch.core.scopes import COUNTERPARTY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import Output
    from riskwatch.core.readings import AccountAdjustment, CounterpartyReading
    from riskwatch.core.risk.state import PartyRow, RiskState

NETTED: Final = ("redenomination", "rename", "auto_conversion", "conversion", "dust")
"""Kinds of which the gains and losses of a day count, and not the sum of the amounts."""
FREE: Final = ("airdrop",)
"""Kinds that give what may have no price."""
NO_BOUND: Final = AdjustmentBound()
_BP: Final = 1e-4


def queue_adjustments(state: RiskState, row: PartyRow, reading: CounterpartyReading) -> None:
    """Queue adjustments until the next tick, and add the value of fills to the turnover."""
    if reading.adjustments:
        row.adjustments = [*row.adjustments, *reading.adjustments]
    for group in reading.fills:
        price = price_of(group.quote, state)
        if price is None:
            continue
        day, value = group.last_us // DAY, value_of(group.notional, price)
        known = row.turnover.get(group.account, (day, 0.0, 0.0))
        row.turnover[group.account] = _turned(known, day, value)


def _turned(known: tuple[int, float, float], day: int, value: float) -> tuple[int, float, float]:
    """Add a value to the turnover (day, of that day, of the day before)."""
    last, today, before = known
    if day > last:
        before = today if day == last + 1 else 0.0
        last, today = day, 0.0
    return last, saturated(today + value), before


def judge_adjustments(state: RiskState, us: int, config: AdjustmentsConfig) -> Iterator[Output]:
    """Compare the adjustments since the last tick with their bounds; end breaks that are over.

    Parameters
    ----------
    state : RiskState
        Changed in place.
    us : int
        Event time, microseconds.
    config : AdjustmentsConfig
        The bounds.
    """
    for name in sorted(state.parties):
        row = state.parties[name]
        if not row.adjustments:
            continue
        groups: dict[tuple[str, str, int], list[AccountAdjustment]] = {}
        for each in row.adjustments:
            groups.setdefault((each.account, each.kind, each.us // DAY), []).append(each)
        row.adjustments = []
        state.mark(f"party/{name}")
        for account, kind, day in sorted(groups):
            key = f"{name}/{account}/{kind}"
            entries = groups[account, kind, day]
            yield from _judge(state, row, key, day, entries, us, config)
    for key in sorted(state.adjustment_days):
        found = state.adjustment_days[key]
        if found.broken_us and us - found.broken_us >= config.open_s * 1e6:
            yield from _resolved(key, found, us)
            found.broken_us, found.alert_id = 0, ""
            state.mark(f"adjusted/{key}")
        if not found.broken_us and us // DAY > found.day + 1:
            del state.adjustment_days[key]
            state.mark(f"adjusted/{key}")


def _judge(
    state: RiskState,
    row: PartyRow,
    key: str,
    day: int,
    entries: list[AccountAdjustment],
    us: int,
    config: AdjustmentsConfig,
) -> Iterator[Output]:
    """Add the entries of one account, kind and day, and report a sum beyond the bound."""
    kind, account = entries[0].kind, entries[0].account
    found = state.adjustment_days.get(key)
    if found is None:
        found = state.adjustment_days[key] = AdjustmentDay(day)
    if day > found.day:
        found.day, found.total = day, 0.0
    ordered = sorted(entries, key=lambda e: (e.us, e.adjustment_id))
    values = [_value(state, each) for each in ordered]
    unknown = any(value is None for value in values)
    found.total = saturated(found.total + sum(value or 0.0 for value in values))
    state.mark(f"adjusted/{key}")
    bound: AdjustmentBound = getattr(config, kind, NO_BOUND)
    allowed = _allowed(state, row, account, ordered, bound, day)
    if kind != "other" and not unknown and abs(found.total) <= allowed:
        return
    found.broken_us = max(us, 1)
    yield from _broken(key, found, ordered, us, None if unknown else allowed)


def _value(state: RiskState, each: AccountAdjustment) -> float | None:
    """Return what an adjustment explains, USD; ``None`` if a price is missing that it needs."""
    price = price_of(each.asset, state)
    if each.kind == "rename" and each.amount == each.to_amount.copy_negate():
        return 0.0
    if price is None:
        return 0.0 if each.kind in FREE and each.amount > 0 else None
    value = value_of(each.amount, price)
    if each.to_asset:
        other = price_of(each.to_asset, state)
        return None if other is None else value + value_of(each.to_amount, other)
    return value if each.kind in NETTED else abs(value)


def _allowed(
    state: RiskState,
    row: PartyRow,
    account: str,
    entries: list[AccountAdjustment],
    bound: AdjustmentBound,
    day: int,
) -> float:
    """Return the largest of the bounds of a kind, USD."""
    instruments = {each.instrument: None for each in entries}
    notional = 0.0
    for position in row.positions:
        named = "" in instruments or position.instrument in instruments
        if position.account == account and named:
            worth = value_position(position, lambda a: price_of(a, state), basis_of(row, position))
            notional += abs(worth.notional_usd or 0.0)
    held = 0.0
    for holding in row.holdings:
        price = price_of(holding.asset, state)
        if holding.account == account and price is not None:
            held += abs(value_of(holding.amount, price))
    moved = 0.0
    if bound.net_share:
        for each in entries:
            price = price_of(each.asset, state)
            moved += 0.0 if price is None else abs(value_of(each.amount, price))
    last, today, before = row.turnover.get(account, (day, 0.0, 0.0))
    turnover = today + before if last == day else today
    return max(
        bound.usd,
        bound.notional_share * notional,
        bound.turnover_bp * _BP * turnover,
        bound.value_share * held,
        bound.net_share * moved,
    )


def _broken(
    key: str,
    found: AdjustmentDay,
    entries: list[AccountAdjustment],
    us: int,
    allowed: float | None,
) -> Iterator[Output]:
    issue, name = QualityIssue.ADJUSTMENT_UNEXPLAINED, key.partition("/")[0]
    kind, total = entries[0].kind, quantise(min(abs(found.total), MAX_USD))
    last = max(entries, key=lambda e: (abs(e.amount), e.adjustment_id))
    why = (
        "an entry has no price in USD"
        if allowed is None
        else "the kind `other` explains nothing"
        if kind == "other"
        else f"the bound is {allowed:,.2f} USD"
    )
    text = (
        f"{total:,.2f} USD of `{kind}` on {moment(found.day * DAY).date()}, and {why}; the largest "
        f"entry is {last.adjustment_id}: {last.amount} {last.asset}"
    )
    yield DataQualityRaised(
        **Origin.tick(us).stamp(DataQualityRaised, f"{issue}|{key}"),
        issue=issue,
        subject=key,
        detail=text,
        cause=Cause.COUNTERPARTY,
    )
    scope = f"{COUNTERPARTY}:{name}"
    raised = alert_raised(
        Origin.tick(us),
        f"{scope}|adjustment/{key.partition('/')[2]}",
        scope,
        f"{issue}: {key}: a balance changed by more than its kind explains",
        severity=State.REDUCE,
        cause=Cause.COUNTERPARTY,
        reasons=[text],
        stakes=ExposureAtStake(saturated(abs(found.total)), 0.0, 0.0),
    )
    found.alert_id = found.alert_id or raised.id
    yield raised


def _resolved(key: str, found: AdjustmentDay, us: int) -> Iterator[Output]:
    issue, (name, _, rest) = QualityIssue.ADJUSTMENT_UNEXPLAINED, key.partition("/")
    yield DataQualityResolved(
        **Origin.tick(us).stamp(DataQualityResolved, f"{issue}|{key}"), issue=issue, subject=key
    )
    scope = f"{COUNTERPARTY}:{name}"
    yield alert_resolved(Origin.tick(us), f"{scope}|adjustment/{rest}", scope, found.alert_id)
