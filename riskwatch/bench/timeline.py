"""Changes of state over time: delays, false alarms, recovery, and stated causes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from riskwatch.bench.case import EARLY
from riskwatch.core.enums import Cause, State, strictest
from riskwatch.core.scopes import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from riskwatch.bench.case import Case, Fact

RAISED = (State.WATCH, State.REDUCE, State.HALT)


class StateChange(NamedTuple):
    """A scope's new state at `us` (microseconds), its cause, and the firm's exposure then."""

    us: int
    scope: str
    previous: State
    state: State
    cause: Cause
    exposure_usd: float | None = None


def first_change(
    changes: Sequence[StateChange], scopes: Sequence[str], state: State, since: int
) -> StateChange | None:
    """Return the change by which one of `scopes` first had `state` or stricter since `since`.

    A state that was reached before `since` and still holds then counts with its own time.
    """
    found = [
        _first_of_scope([c for c in changes if c.scope == scope], state, since) for scope in scopes
    ]
    return min((c for c in found if c is not None), key=lambda c: c.us, default=None)


def _first_of_scope(mine: Sequence[StateChange], state: State, since: int) -> StateChange | None:
    current: StateChange | None = None
    for change in mine:
        if change.us > since and current is not None:
            break
        if change.state.rank < state.rank:
            current = None
        elif current is None:
            current = change
    return current


def delay_s(
    changes: Sequence[StateChange], fact: Fact, state: State, scopes: Sequence[str] = ()
) -> float | None:
    """Return seconds from the onset to `state`; negative before it, ``None`` if never.

    A state reached more than :data:`~riskwatch.bench.case.EARLY` before the onset counts as reached
    exactly that much before, because it was not due to this fact.
    """
    change = first_change(changes, scopes or (fact.scope,), state, fact.onset - EARLY)
    return None if change is None else max(-EARLY, change.us - fact.onset) / 1e6


def false_alarms(changes: Iterable[StateChange], case: Case) -> dict[State, int]:
    """Count entries into each state that the case does not allow.

    A change from NORMAL directly to HALT is an entry into all three states.
    """
    found = dict.fromkeys(RAISED, 0)
    for change in changes:
        allowed = case.allowed(change.scope, change.us).rank
        for state in RAISED:
            entered = change.previous.rank < state.rank <= change.state.rank
            found[state] += entered and state.rank > allowed
    return found


def recovery_s(changes: Sequence[StateChange], fact: Fact) -> float | None:
    """Return seconds from the end of the event until its scope is NORMAL for good.

    The result is ``None`` if the event does not end within the window, nothing was raised, or the
    scope never returned to NORMAL, since a latched HALT waits for an operator. It is 0 if the scope
    was NORMAL again before the end.
    """
    mine = [change for change in changes if change.scope == fact.scope]
    if fact.over is None or not mine or mine[-1].state is not State.NORMAL:
        return None
    return max(0, mine[-1].us - fact.over) / 1e6


def stated_cause(changes: Iterable[StateChange], fact: Fact, feeds: Iterable[str] = ()) -> Cause:
    """Return the cause given for the scope of a fact at its strictest state.

    Of several decisions that raised it equally far, the last one counts. Without such a decision,
    the cause is ``feed`` if a data-quality alert named a feed of its coin, else ``none``.

    Parameters
    ----------
    changes : iterable of StateChange
        All decisions.
    fact : Fact
        The fact.
    feeds : iterable of str
        Subjects of data-quality alerts, ``venue:base/quote``.
    """
    up = [
        change
        for change in changes
        if change.scope == fact.scope
        and change.state.rank > change.previous.rank
        and fact.covers(change.us)
    ]
    if up:
        worst = strictest(change.state for change in up)
        return [change for change in up if change.state is worst][-1].cause
    name = parse(fact.asset).name if fact.asset else ""
    pairs = [feed.partition(":")[2].split("/") for feed in feeds]
    return Cause.FEED if any(name in pair for pair in pairs) else Cause.NONE


def strictest_of(changes: Iterable[StateChange], kinds: Sequence[str]) -> State:
    """Return the strictest state that any scope of `kinds` reached."""
    return strictest(c.state for c in changes if parse(c.scope).kind in kinds)
