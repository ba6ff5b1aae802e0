"""The score of one contender on one case: delays, false alarms, cause, exposure, probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from riskwatch.bench import labels, target
from riskwatch.bench.probability import ProbabilityMetrics, average_precision, measure_probabilities
from riskwatch.bench.static import last_at
from riskwatch.bench.timeline import (
    RAISED,
    delay_s,
    false_alarms,
    first_change,
    recovery_s,
    stated_cause,
)
from riskwatch.bench.trial import ALONE, ENSEMBLE, RULES, aggregate_generation
from riskwatch.core.clock import MINUTE
from riskwatch.core.enums import State
from riskwatch.core.scopes import ASSET, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.bench.static import DeviationReading
    from riskwatch.bench.target import DepegTarget
    from riskwatch.bench.trial import Prediction, Trial

FRESH: Final = 5 * MINUTE
"""Longest age of a reading that counts as current."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one contender on one fact.

    Attributes
    ----------
    case, seed, contender, scope, event, onset : str, int, str, str, int, int
        Identify the result; `event` counts the facts of the case from 0, and `onset` is its onset,
        microseconds.
    delays_s : dict of State to (float or None)
        Seconds from the onset to each state; negative before it, ``None`` if it was never reached.
    false : dict of State to int
        False entries of the whole case by state; reported only at its first fact.
    entity_months : float
        Denominator of the false alarms; 0 at further facts.
    cause : str
        The stated cause; empty for contenders that state none.
    cause_right : bool or None
        Whether that is correct.
    exposed_usd : float or None
        The firm's exposure to the scope in USD at its HALT.
    normal_s : float or None
        Seconds from the end of the event to the final return to NORMAL.
    latched : bool
        Whether the scope is at HALT at the end.
    """

    case: str
    seed: int
    contender: str
    scope: str
    event: int
    onset: int
    delays_s: dict[State, float | None]
    false: dict[State, int]
    entity_months: float
    cause: str
    cause_right: bool | None
    exposed_usd: float | None
    normal_s: float | None
    latched: bool


def outcome(trial: Trial, contender: str, event: int) -> Outcome:
    """Score one contender on one fact; the first fact carries the false alarms."""
    fact, head = trial.case.facts[event], event == 0
    changes = trial.changes[contender]
    deciding = contender in (RULES, ENSEMBLE)
    scopes = (fact.scope,) if deciding or not fact.asset else (fact.scope, fact.asset)
    halted = first_change(changes, scopes, State.HALT, fact.onset)
    cause = stated_cause(changes, fact, trial.feeds) if deciding else None
    mine = [change for change in changes if change.scope == fact.scope]
    return Outcome(
        case=trial.case.name,
        seed=trial.seed,
        contender=contender,
        scope=fact.scope,
        event=event,
        onset=fact.onset,
        delays_s={state: delay_s(changes, fact, state, scopes) for state in RAISED},
        false=false_alarms(changes, trial.case) if head else dict.fromkeys(RAISED, 0),
        entity_months=trial.entities * trial.case.months if head else 0.0,
        cause="" if cause is None else cause.value,
        cause_right=None if cause is None else cause in fact.causes,
        exposed_usd=None if halted is None else halted.exposure_usd,
        normal_s=recovery_s(changes, fact),
        latched=bool(mine) and mine[-1].state is State.HALT,
    )


def outcomes(trial: Trial) -> Iterator[Outcome]:
    """Yield the outcome of every contender on every fact of a trial."""
    for contender in trial.changes:
        for event in range(len(trial.case.facts)):
            yield outcome(trial, contender, event)


def generation_of(contender: str, scores: list[Prediction]) -> str:
    """Return the generation whose probability a contender uses; empty for a static rule."""
    if contender == RULES:
        return "rules"
    if contender == ENSEMBLE:
        return aggregate_generation(scores)
    return contender.removeprefix(ALONE) if contender.startswith(ALONE) else ""


@dataclass(frozen=True, slots=True)
class Probabilities:
    """One generation on one target of one scope in one trial; it only learns from the past.

    Attributes
    ----------
    case, seed, scope, target, generation
        Identify the series.
    judged : ProbabilityMetrics
        Its measures.
    ap_deviation : float or None
        Average precision of ranking the same samples by the size of the deviation.
    events : int
        Independent events among the positives.
    said, labels : tuple
        The predictions and labels, for pooling.
    """

    case: str
    seed: int
    scope: str
    target: str
    generation: str
    judged: ProbabilityMetrics
    ap_deviation: float | None
    events: int
    said: tuple[float, ...]
    labels: tuple[bool, ...]


def probabilities(trial: Trial) -> Iterator[Probabilities]:
    """Measure every generation on every target of every coin that has a label."""
    trusted = {a: [seen for seen in series if seen.trusted] for a, series in trial.seen.items()}
    groups: dict[tuple[str, str, str], list[Prediction]] = {}
    for score in trial.scores:
        groups.setdefault((score.scope, score.target, score.generation), []).append(score)
    # Label and deviation are the same for every generation, so they are computed once.
    known: dict[tuple[str, str, int], tuple[float, bool] | None] = {}
    for (scope, name, generation), scores in groups.items():
        spec = target.parse(name)
        at = parse(scope)
        series = trusted.get(at.name) if at.kind == ASSET else None
        if spec is None or not series:
            continue
        samples: list[tuple[int, float, float, bool]] = []
        for score in scores:
            key = (scope, name, score.us)
            if key not in known:
                known[key] = _sample(spec, series, score.us)
            sample = known[key]
            if sample is not None:
                samples.append((score.us, score.probability, *sample))
        if samples:
            yield _evaluate(trial, (scope, name, generation), spec, samples)


def _sample(
    spec: DepegTarget, series: list[DeviationReading], us: int
) -> tuple[float, bool] | None:
    """Return deviation and label of a sample; ``None`` if the target is not open or unlabelled."""
    now = last_at(series, us)
    if now is None or us - now.us > FRESH or not spec.open(now.deviation_bp):
        return None
    came = labels.label(spec, us, series)
    return None if came is None else (abs(now.deviation_bp), came)


def _evaluate(
    trial: Trial,
    which: tuple[str, str, str],
    spec: DepegTarget,
    samples: list[tuple[int, float, float, bool]],
) -> Probabilities:
    predicted = tuple(p for _, p, _, _ in samples)
    outcomes_seen = tuple(came for *_, came in samples)
    positive = [us for us, _, _, came in samples if came]
    return Probabilities(
        case=trial.case.name,
        seed=trial.seed,
        scope=which[0],
        target=which[1],
        generation=which[2],
        judged=measure_probabilities(predicted, outcomes_seen),
        ap_deviation=average_precision([size for _, _, size, _ in samples], outcomes_seen),
        events=labels.independent(positive, spec.horizon),
        said=predicted,
        labels=outcomes_seen,
    )
