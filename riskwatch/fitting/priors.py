"""Fitting of priors: the probability of a target by severity, from which every generation starts.

The rule orders states, but it gives no probability of the event that it warns of. The prior is
fitted per target on random paths of a coin (:mod:`riskwatch.scenarios.random_episodes`), weighted
by the frequency of such days. It is a logistic regression on the doublings of the severity, so that
its order of states equals the rule's exactly. It is evaluated on paths that it was not fitted on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from riskwatch.fitting.walk_forward import log_loss, logistic, sigmoid
from riskwatch.models.base import doublings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from riskwatch.models.base import PredictionTarget

    Column = NDArray[np.float64]

FLOORS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Floors that the fit tries."""
_RIDGE: Final = 1e-3


class PriorSamples(NamedTuple):
    """Severities at which a target was sampled, their labels, and their weights."""

    severity: Column
    label: NDArray[np.bool_]
    weight: Column


class PriorFit(NamedTuple):
    """A fitted prior with its figures.

    Attributes
    ----------
    probability, slope, floor : float
        Parameters of a :class:`~riskwatch.models.base.RuleLogit`.
    samples, positives : int
        Number of samples of the fit, and of positives among them.
    log_loss, base_log_loss : float
        Weighted log loss, nats, of the prior and of the base rate, on paths that it was not fitted
        on.
    said, came : float
        On those paths, for predictions of 0.2 and more: weighted predicted and observed rate; NaN
        without such predictions.
    """

    probability: float
    slope: float
    floor: float
    samples: int
    positives: int
    log_loss: float
    base_log_loss: float
    said: float
    came: float


def prior_samples(
    target: PredictionTarget,
    every_s: float,
    paths: Sequence[Sequence[float]],
    weights: Sequence[float],
) -> PriorSamples:
    """Sample a target along paths, as the ensemble does.

    Parameters
    ----------
    target : PredictionTarget
        The target; its measure is the path.
    every_s : float
        Seconds between two samples.
    paths : sequence of sequence of float
        The measure, minute by minute.
    weights : sequence of float
        Weight of each path.
    """
    horizon, every = max(1, int(target.horizon_s // 60)), max(1, int(every_s // 60))
    found: list[Column] = []
    for path, weight in zip(paths, weights, strict=True):
        values = np.asarray(path, dtype=np.float64)
        if len(values) <= horizon:
            continue
        worst = sliding_window_view(values[1:], horizon).max(axis=1)[::every]
        now = values[: len(values) - horizon][::every]
        is_open = now < target.threshold
        if target.start is not None:
            is_open &= now >= target.start
        severity = np.maximum(now[is_open], 0.0) / target.threshold
        hit = worst[is_open] >= target.threshold
        found.append(np.column_stack([severity, hit, np.full(len(severity), weight)]))
    rows = np.concatenate(found) if found else np.empty((0, 3))
    return PriorSamples(rows[:, 0], rows[:, 1].astype(bool), rows[:, 2])


def fit_prior(training: PriorSamples, evaluation: PriorSamples) -> PriorFit:
    """Fit a prior on some samples and evaluate it on others.

    Raises
    ------
    ValueError
        If either set does not have both labels, or the probability does not grow with the severity.
    """
    for each in (training, evaluation):
        if not 0 < int(each.label.sum()) < len(each.label):
            raise ValueError("samples of both labels are needed, to fit on and to judge by")
    best: tuple[float, float, float, float] | None = None
    for floor in FLOORS:
        bias, slope = _logistic(_steps(training.severity, floor), training)
        loss = _loss(_logit(training, bias, slope, floor), training)
        if best is None or loss < best[0]:
            best = (loss, bias, slope, floor)
    assert best is not None
    _, bias, slope, floor = best
    if not slope >= 0.01:
        raise ValueError(f"more severity must mean more danger, the slope was {slope:.3g}")
    probability = float(np.clip(round(sigmoid(np.array([bias]))[0], 4), 1e-4, 1.0 - 1e-4))
    predicted = sigmoid(_logit(evaluation, bias, slope, floor))
    high = predicted >= 0.2
    heavy = evaluation.weight[high]
    base = np.average(training.label, weights=training.weight)
    return PriorFit(
        probability=probability,
        slope=round(float(slope), 3),
        floor=floor,
        samples=len(training.label),
        positives=int(training.label.sum()),
        log_loss=_loss(_logit(evaluation, bias, slope, floor), evaluation),
        base_log_loss=_loss(
            np.full(len(evaluation.label), np.log(base / (1.0 - base))), evaluation
        ),
        said=float(np.average(predicted[high], weights=heavy)) if high.any() else float("nan"),
        came=float(np.average(evaluation.label[high], weights=heavy))
        if high.any()
        else float("nan"),
    )


def _steps(severity: Column, floor: float) -> Column:
    """Return the doublings from severity 1 of a whole column, like ``RuleLogit.steps``."""
    mantissa, exponent = np.frexp(severity + floor)
    return exponent + (2.0 * mantissa - 2.0) - doublings(1.0 + floor)


def _logit(samples: PriorSamples, bias: float, slope: float, floor: float) -> Column:
    return bias + slope * _steps(samples.severity, floor)


def _loss(logit: Column, samples: PriorSamples) -> float:
    return log_loss(sigmoid(logit), samples.label, samples.weight)


def _logistic(steps: Column, samples: PriorSamples) -> tuple[float, float]:
    """Return bias and slope of the largest likelihood, with a small ridge."""
    inputs, zeros = np.column_stack([np.ones_like(steps), steps]), np.zeros(2)
    heavy, rising = samples.weight / samples.weight.mean(), np.array([0.0, 1.0])
    found = logistic(inputs, samples.label, heavy, start=rising, pull=zeros, ridge=_RIDGE)
    return float(found[0]), float(found[1])
