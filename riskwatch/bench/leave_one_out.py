"""Choices that leave the scored event out: the best static rule, and the dial of the ladder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Final

from riskwatch.bench import static
from riskwatch.bench.timeline import delay_s, false_alarms
from riskwatch.bench.trial import LADDER, onset, spokesman, warnings
from riskwatch.core.enums import State
from riskwatch.core.scopes import ASSET, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from riskwatch.bench.case import Fact
    from riskwatch.bench.timeline import Change
    from riskwatch.bench.trial import Score, Trial

SHIPPED: Final = "as shipped"
DIAL: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Thresholds on the served probability, beside the policy as it is shipped."""
STEPS: Final = (1, 2)
"""Scores in a row, five minutes apart, that must say so."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What one option did on one trial at one state.

    Attributes
    ----------
    kin : str
        Whose event; what is left out together.
    delays_s : tuple of float
        By fact that asks for that state; infinite where it was missed.
    false : int
        False entries into that state.
    """

    kin: str
    delays_s: tuple[float, ...]
    false: int


Marks = dict[str, list[Mark]]
"""By option, one mark per trial, in the order of the trials."""


def mark(trial: Trial, changes: Sequence[Change], state: State, *, generous: bool) -> Mark:
    """Score one option on one trial; `generous` credits an alarm on the coin of the scope."""
    delays = []
    for fact in asking(trial, state):
        scopes = (fact.scope, fact.asset) if generous and fact.asset else (fact.scope,)
        delay = delay_s(changes, fact, state, scopes)
        delays.append(inf if delay is None else delay)
    return Mark(trial.case.kin, tuple(delays), false_alarms(changes, trial.case)[state])


def asking(trial: Trial, state: State) -> list[Fact]:
    """Facts of a trial for which `state` is right to come to."""
    return [f for f in trial.case.facts if not f.control and f.answer.rank >= state.rank]


def static_alarms(trials: Sequence[Trial]) -> dict[str, list[list[Change]]]:
    """What every static rule of the grid says on every trial, taken for WATCH."""
    return {
        rule.name: [static.alarms(rule, trial.seen, State.WATCH) for trial in trials]
        for rule in static.GRID
    }


def static_marks(
    trials: Sequence[Trial], said: Mapping[str, Sequence[list[Change]]], state: State
) -> Marks:
    """Every static rule on every trial, its alarm taken for `state`."""
    return {
        name: [
            mark(trial, [taken_for(change, state) for change in changes], state, generous=True)
            for trial, changes in zip(trials, each, strict=True)
        ]
        for name, each in said.items()
    }


def taken_for(change: Change, state: State) -> Change:
    """Return the change of an alarm that has one level, taken for `state`."""
    up = change.state is not State.NORMAL
    return change._replace(state=state) if up else change._replace(previous=state)


def ladder_marks(trials: Sequence[Trial], state: State) -> list[Mark]:
    """The ladder as shipped on every trial."""
    return [mark(t, t.changes[LADDER], state, generous=False) for t in trials]


def dial_marks(trials: Sequence[Trial]) -> Marks:
    """The ladder at every setting of its dial, on every trial, at WATCH.

    The dial is a threshold on the served probability of the lowest onset, for coins; for other
    scopes the ladder's own states stand.
    """
    out: Marks = {SHIPPED: ladder_marks(trials, State.WATCH)}
    said = [warned_by(trial) for trial in trials]
    for threshold, held in product(DIAL, STEPS):
        out[f"p >= {threshold:g}, {held} in a row"] = [
            mark(t, dialled(t, mine, threshold, held), State.WATCH, generous=True)
            for t, mine in zip(trials, said, strict=True)
        ]
    return out


def warned_by(trial: Trial) -> list[Score]:
    """Scores that the dial goes by: of the served probability, of the lowest onset."""
    name, low = spokesman(trial.scores), onset(trial.scores)
    return [each for each in trial.scores if each.generation == name and each.target == low]


def dialled(trial: Trial, said: Sequence[Score], threshold: float, held: int) -> list[Change]:
    """Changes of the ladder with its probability's threshold at `threshold`."""
    coins: list[Change] = []
    if said:
        coins = warnings(said, said[0].generation, said[0].target, threshold, State.WATCH, held)
    others = [c for c in trial.changes[LADDER] if parse(c.scope).kind != ASSET]
    return sorted([*coins, *others])


def typical(marks: Sequence[Mark]) -> float:
    """Median delay over facts, a miss counting as never; infinite if there is no fact."""
    delays = [delay for each in marks for delay in each.delays_s]
    return median(delays) if delays else inf


def alarms(marks: Sequence[Mark]) -> int:
    """False entries in all."""
    return sum(each.false for each in marks)


def without(marks: Sequence[Mark], kin: str) -> list[Mark]:
    """Marks on the other events."""
    return [each for each in marks if each.kin != kin]


def choose(
    options: Mapping[str, Sequence[Mark]],
    kin: str,
    allowed: Callable[[list[Mark]], bool],
    key: Callable[[list[Mark]], tuple[float, ...]],
) -> str | None:
    """Choose the option with the smallest `key` on the other events, among those `allowed` there.

    The first of equals wins; None if none is allowed.
    """
    others = {name: without(marks, kin) for name, marks in options.items()}
    fit = [name for name, marks in others.items() if allowed(marks)]
    return min(fit, key=lambda name: key(others[name]), default=None)


def best_static(options: Marks, ladder: Sequence[Mark], kin: str) -> str | None:
    """Choose the fastest static rule that raises no more false alarms than the ladder does.

    Both are looked at on the events other than `kin`; ties go to fewer false alarms.

    Examples
    --------
    >>> quiet = [Mark("a", (60.0,), 0), Mark("b", (90.0,), 0)]
    >>> noisy = [Mark("a", (0.0,), 0), Mark("b", (0.0,), 3)]
    >>> best_static({"quiet": quiet, "noisy": noisy}, quiet, "a")
    'quiet'
    >>> best_static({"quiet": quiet, "noisy": noisy}, quiet, "b")
    'noisy'
    """
    return quietly_fastest(options, kin, alarms(without(ladder, kin)))


def quietly_fastest(options: Marks, kin: str, most: int) -> str | None:
    """Choose the fastest option with at most `most` false alarms on the other events."""
    return choose(
        options,
        kin,
        lambda marks: alarms(marks) <= most,
        lambda marks: (typical(marks), float(alarms(marks))),
    )


def fast_and_quietest(options: Marks, kin: str, latest: float) -> str | None:
    """Choose the option with the fewest false alarms whose median is `latest` or earlier there."""
    return choose(
        options,
        kin,
        lambda marks: typical(marks) <= latest,
        lambda marks: (float(alarms(marks)), typical(marks)),
    )
