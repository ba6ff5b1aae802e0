"""What was said and when: changes of state, first passages, false alarms, the way back."""

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
    """A scope's new state at `us` (microseconds), its cause, and our dollars on it then."""

    us: int
    scope: str
    previous: State
    state: State
    cause: Cause
    exposure_usd: float | None = None


def first_change(
    changes: Sequence[StateChange], scopes: Sequence[str], state: State, since: int
) -> StateChange | None:
    """Change by which one of `scopes` first stood at `state` or stricter at or after `since`.

    One that came there before and stands there at `since` counts as of its own time.
    """
    found = [
        _first_of_scope([c for c in changes if c.scope == scope], state, since) for scope in scopes
    ]
    return min((c for c in found if c is not None), key=lambda c: c.us, default=None)


def _first_of_scope(mine: Sequence[StateChange], state: State, since: int) -> StateChange | None:
    standing: StateChange | None = None
    for change in mine:
        if change.us > since and standing is not None:
            break
        if change.state.rank < state.rank:
            standing = None
        elif standing is None:
            standing = change
    return standing


def delay_s(
    changes: Sequence[StateChange], fact: Fact, state: State, scopes: Sequence[str] = ()
) -> float | None:
    """Seconds from the onset to `state`; negative if it came before, None if it never did.

    What was reached more than :data:`~riskwatch.bench.case.EARLY` before the onset counts as
    reached that much before: it was not about this.
    """
    change = first_change(changes, scopes or (fact.scope,), state, fact.onset - EARLY)
    return None if change is None else max(-EARLY, change.us - fact.onset) / 1e6


def false_alarms(changes: Iterable[StateChange], case: Case) -> dict[State, int]:
    """Entries into each state that the case does not allow, by state.

    Coming from NORMAL to HALT at once is an entry into all three.
    """
    found = dict.fromkeys(RAISED, 0)
    for change in changes:
        allowed = case.allowed(change.scope, change.us).rank
        for state in RAISED:
            entered = change.previous.rank < state.rank <= change.state.rank
            found[state] += entered and state.rank > allowed
    return found


def recovery_s(changes: Sequence[StateChange], fact: Fact) -> float | None:
    """Seconds from the end of the event until its scope is NORMAL for good.

    None if it has no end within the window, nothing was raised, or the scope never came back: a
    latched HALT waits for people. 0 if it was NORMAL again before the end.
    """
    mine = [change for change in changes if change.scope == fact.scope]
    if fact.over is None or not mine or mine[-1].state is not State.NORMAL:
        return None
    return max(0, mine[-1].us - fact.over) / 1e6


def stated_cause(changes: Iterable[StateChange], fact: Fact, feeds: Iterable[str] = ()) -> Cause:
    """Cause that was given for the scope of a fact when it was taken most seriously.

    Of several decisions that raised it equally far, the last one counts. Without any, it is
    ``feed`` if a data-quality alert named a feed of its coin, else ``none``.

    Parameters
    ----------
    changes : iterable of Change
        All that was decided.
    fact : Fact
        What happened.
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
    """Strictest state that any scope of `kinds` came to."""
    return strictest(c.state for c in changes if parse(c.scope).kind in kinds)
