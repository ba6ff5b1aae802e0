"""Choices that leave the scored event out: the best static rule, and the dial of the ladder."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import inf
from statistics import median
from typing import TYPE_CHECKING, Final

from riskwatch.bench import static
from riskwatch.bench.timeline import delay_s, false_alarms
from riskwatch.bench.trial import ENSEMBLE, aggregate_generation, onset, warnings
from riskwatch.core.enums import State
from riskwatch.core.scopes import ASSET, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from riskwatch.bench.case import Fact
    from riskwatch.bench.timeline import StateChange
    from riskwatch.bench.trial import Prediction, Trial

SHIPPED: Final = "as shipped"
DIAL: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Thresholds on the served probability, beside the policy as it is shipped."""
STEPS: Final = (1, 2)
"""Scores in a row, five minutes apart, that must say so."""


@dataclass(frozen=True, slots=True)
class OptionScore:
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


OptionScores = dict[str, list[OptionScore]]
"""By option, one mark per trial, in the order of the trials."""


def score_option(
    trial: Trial, changes: Sequence[StateChange], state: State, *, generous: bool
) -> OptionScore:
    """Score one option on one trial; `generous` credits an alarm on the coin of the scope."""
    delays = []
    for fact in required_facts(trial, state):
        scopes = (fact.scope, fact.asset) if generous and fact.asset else (fact.scope,)
        delay = delay_s(changes, fact, state, scopes)
        delays.append(inf if delay is None else delay)
    return OptionScore(trial.case.kin, tuple(delays), false_alarms(changes, trial.case)[state])


def required_facts(trial: Trial, state: State) -> list[Fact]:
    """Facts of a trial for which `state` is right to come to."""
    return [f for f in trial.case.facts if not f.control and f.answer.rank >= state.rank]


def static_alarms(trials: Sequence[Trial]) -> dict[str, list[list[StateChange]]]:
    """What every static rule of the grid says on every trial, taken for WATCH."""
    return {
        rule.name: [static.alarms(rule, trial.seen, State.WATCH) for trial in trials]
        for rule in static.GRID
    }


def static_scores(
    trials: Sequence[Trial], said: Mapping[str, Sequence[list[StateChange]]], state: State
) -> OptionScores:
    """Every static rule on every trial, its alarm taken for `state`."""
    return {
        name: [
            score_option(
                trial, [as_state(change, state) for change in changes], state, generous=True
            )
            for trial, changes in zip(trials, each, strict=True)
        ]
        for name, each in said.items()
    }


def as_state(change: StateChange, state: State) -> StateChange:
    """Return the change of an alarm that has one level, taken for `state`."""
    up = change.state is not State.NORMAL
    return change._replace(state=state) if up else change._replace(previous=state)


def ensemble_scores(trials: Sequence[Trial], state: State) -> list[OptionScore]:
    """The ladder as shipped on every trial."""
    return [score_option(t, t.changes[ENSEMBLE], state, generous=False) for t in trials]


def dial_scores(trials: Sequence[Trial]) -> OptionScores:
    """The ladder at every setting of its dial, on every trial, at WATCH.

    The dial is a threshold on the served probability of the lowest onset, for coins; for other
    scopes the ladder's own states stand.
    """
    out: OptionScores = {SHIPPED: ensemble_scores(trials, State.WATCH)}
    said = [dial_predictions(trial) for trial in trials]
    for threshold, held in product(DIAL, STEPS):
        out[f"p >= {threshold:g}, {held} in a row"] = [
            score_option(t, dial_changes(t, mine, threshold, held), State.WATCH, generous=True)
            for t, mine in zip(trials, said, strict=True)
        ]
    return out


def dial_predictions(trial: Trial) -> list[Prediction]:
    """Scores that the dial goes by: of the served probability, of the lowest onset."""
    name, low = aggregate_generation(trial.scores), onset(trial.scores)
    return [each for each in trial.scores if each.generation == name and each.target == low]


def dial_changes(
    trial: Trial, said: Sequence[Prediction], threshold: float, held: int
) -> list[StateChange]:
    """Changes of the ladder with its probability's threshold at `threshold`."""
    coins: list[StateChange] = []
    if said:
        coins = warnings(said, said[0].generation, said[0].target, threshold, State.WATCH, held)
    others = [c for c in trial.changes[ENSEMBLE] if parse(c.scope).kind != ASSET]
    return sorted([*coins, *others])


def median_delay(marks: Sequence[OptionScore]) -> float:
    """Median delay over facts, a miss counting as never; infinite if there is no fact."""
    delays = [delay for each in marks for delay in each.delays_s]
    return median(delays) if delays else inf


def count_false_alarms(marks: Sequence[OptionScore]) -> int:
    """False entries in all."""
    return sum(each.false for each in marks)


def exclude_event(marks: Sequence[OptionScore], kin: str) -> list[OptionScore]:
    """Marks on the other events."""
    return [each for each in marks if each.kin != kin]


def choose(
    options: Mapping[str, Sequence[OptionScore]],
    kin: str,
    allowed: Callable[[list[OptionScore]], bool],
    key: Callable[[list[OptionScore]], tuple[float, ...]],
) -> str | None:
    """Choose the option with the smallest `key` on the other events, among those `allowed` there.

    The first of equals wins; None if none is allowed.
    """
    others = {name: exclude_event(marks, kin) for name, marks in options.items()}
    fit = [name for name, marks in others.items() if allowed(marks)]
    return min(fit, key=lambda name: key(others[name]), default=None)


def best_static(options: OptionScores, ladder: Sequence[OptionScore], kin: str) -> str | None:
    """Choose the fastest static rule that raises no more false alarms than the ladder does.

    Both are looked at on the events other than `kin`; ties go to fewer false alarms.

    Examples
    --------
    >>> quiet = [OptionScore("a", (60.0,), 0), OptionScore("b", (90.0,), 0)]
    >>> noisy = [OptionScore("a", (0.0,), 0), OptionScore("b", (0.0,), 3)]
    >>> best_static({"quiet": quiet, "noisy": noisy}, quiet, "a")
    'quiet'
    >>> best_static({"quiet": quiet, "noisy": noisy}, quiet, "b")
    'noisy'
    """
    return fastest_within_alarms(options, kin, count_false_alarms(exclude_event(ladder, kin)))


def fastest_within_alarms(options: OptionScores, kin: str, most: int) -> str | None:
    """Choose the fastest option with at most `most` false alarms on the other events."""
    return choose(
        options,
        kin,
        lambda marks: count_false_alarms(marks) <= most,
        lambda marks: (median_delay(marks), float(count_false_alarms(marks))),
    )


def quietest_within_delay(options: OptionScores, kin: str, latest: float) -> str | None:
    """Choose the option with the fewest false alarms whose median is `latest` or earlier there."""
    return choose(
        options,
        kin,
        lambda marks: median_delay(marks) <= latest,
        lambda marks: (float(count_false_alarms(marks)), median_delay(marks)),
    )
