"""Choice of the best static rule and of the ensemble's threshold, without the scored event."""

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
"""Thresholds on the ensemble probability, in addition to the shipped policy."""
STEPS: Final = (1, 2)
"""Consecutive scores, five minutes apart, that must reach the threshold."""


@dataclass(frozen=True, slots=True)
class OptionScore:
    """The score of one option on one trial at one state.

    Attributes
    ----------
    kin : str
        Name of the event; scores with the same name are left out together.
    delays_s : tuple of float
        Delay of each fact that requires that state; infinite if it was missed.
    false : int
        False entries into that state.
    """

    kin: str
    delays_s: tuple[float, ...]
    false: int


OptionScores = dict[str, list[OptionScore]]
"""By option, one score per trial, in the order of the trials."""


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
    """Return the facts of a trial for which `state` is correct."""
    return [f for f in trial.case.facts if not f.control and f.answer.rank >= state.rank]


def static_alarms(trials: Sequence[Trial]) -> dict[str, list[list[StateChange]]]:
    """Return the alarms of every static rule of the grid on every trial, as WATCH."""
    return {
        rule.name: [static.alarms(rule, trial.seen, State.WATCH) for trial in trials]
        for rule in static.GRID
    }


def static_scores(
    trials: Sequence[Trial], alarms: Mapping[str, Sequence[list[StateChange]]], state: State
) -> OptionScores:
    """Score every static rule on every trial, with its alarms taken as `state`."""
    return {
        name: [
            score_option(
                trial, [as_state(change, state) for change in changes], state, generous=True
            )
            for trial, changes in zip(trials, each, strict=True)
        ]
        for name, each in alarms.items()
    }


def as_state(change: StateChange, state: State) -> StateChange:
    """Return the change of an alarm, with its raised level replaced by `state`."""
    up = change.state is not State.NORMAL
    return change._replace(state=state) if up else change._replace(previous=state)


def ensemble_scores(trials: Sequence[Trial], state: State) -> list[OptionScore]:
    """Score the shipped ensemble on every trial."""
    return [score_option(t, t.changes[ENSEMBLE], state, generous=False) for t in trials]


def dial_scores(trials: Sequence[Trial]) -> OptionScores:
    """Score the ensemble at every setting of its dial, on every trial, at WATCH.

    The dial is a threshold on the ensemble probability of the lowest onset, for coins. Other scopes
    keep the ensemble's own states.
    """
    out: OptionScores = {SHIPPED: ensemble_scores(trials, State.WATCH)}
    predictions = [dial_predictions(trial) for trial in trials]
    for threshold, in_a_row in product(DIAL, STEPS):
        out[f"p >= {threshold:g}, {in_a_row} in a row"] = [
            score_option(t, dial_changes(t, mine, threshold, in_a_row), State.WATCH, generous=True)
            for t, mine in zip(trials, predictions, strict=True)
        ]
    return out


def dial_predictions(trial: Trial) -> list[Prediction]:
    """Return the scores that the dial uses: ensemble probabilities of the lowest onset."""
    name, low = aggregate_generation(trial.scores), onset(trial.scores)
    return [each for each in trial.scores if each.generation == name and each.target == low]


def dial_changes(
    trial: Trial, predictions: Sequence[Prediction], threshold: float, held: int
) -> list[StateChange]:
    """Return the changes of the ensemble with its probability threshold at `threshold`."""
    coins: list[StateChange] = []
    if predictions:
        first = predictions[0]
        coins = warnings(predictions, first.generation, first.target, threshold, State.WATCH, held)
    others = [c for c in trial.changes[ENSEMBLE] if parse(c.scope).kind != ASSET]
    return sorted([*coins, *others])


def median_delay(scores: Sequence[OptionScore]) -> float:
    """Return the median delay over facts; a miss counts as never, no fact as infinite."""
    delays = [delay for each in scores for delay in each.delays_s]
    return median(delays) if delays else inf


def count_false_alarms(scores: Sequence[OptionScore]) -> int:
    """Return the number of false entries."""
    return sum(each.false for each in scores)


def exclude_event(scores: Sequence[OptionScore], kin: str) -> list[OptionScore]:
    """Return the scores on the other events."""
    return [each for each in scores if each.kin != kin]


def choose(
    options: Mapping[str, Sequence[OptionScore]],
    kin: str,
    allowed: Callable[[list[OptionScore]], bool],
    key: Callable[[list[OptionScore]], tuple[float, ...]],
) -> str | None:
    """Choose the option with the smallest `key` on the other events, of those `allowed` there.

    The first of equal options is chosen; ``None`` if none is allowed.
    """
    others = {name: exclude_event(scores, kin) for name, scores in options.items()}
    fit = [name for name, scores in others.items() if allowed(scores)]
    return min(fit, key=lambda name: key(others[name]), default=None)


def best_static(options: OptionScores, ensemble: Sequence[OptionScore], kin: str) -> str | None:
    """Choose the fastest static rule that raises no more false alarms than the ensemble.

    Both are compared on the events other than `kin`; ties go to fewer false alarms.

    Examples
    --------
    >>> quiet = [OptionScore("a", (60.0,), 0), OptionScore("b", (90.0,), 0)]
    >>> noisy = [OptionScore("a", (0.0,), 0), OptionScore("b", (0.0,), 3)]
    >>> best_static({"quiet": quiet, "noisy": noisy}, quiet, "a")
    'quiet'
    >>> best_static({"quiet": quiet, "noisy": noisy}, quiet, "b")
    'noisy'
    """
    return fastest_within_alarms(options, kin, count_false_alarms(exclude_event(ensemble, kin)))


def fastest_within_alarms(options: OptionScores, kin: str, most: int) -> str | None:
    """Choose the fastest option with at most `most` false alarms on the other events."""
    return choose(
        options,
        kin,
        lambda scores: count_false_alarms(scores) <= most,
        lambda scores: (median_delay(scores), float(count_false_alarms(scores))),
    )


def quietest_within_delay(options: OptionScores, kin: str, latest: float) -> str | None:
    """Choose the option with the fewest false alarms and a median of at most `latest` there."""
    return choose(
        options,
        kin,
        lambda scores: median_delay(scores) <= latest,
        lambda scores: (float(count_false_alarms(scores)), median_delay(scores)),
    )
