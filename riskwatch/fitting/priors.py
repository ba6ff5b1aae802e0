"""Measures how likely a target is at a severity: the prior that every generation starts from.

The rule orders states; how likely what it warns of is, it does not say. That is measured here, per
target, on invented paths of a coin (:mod:`riskwatch.scenarios.random_episodes`), weighted
by how often days
like them come: a logistic regression on the doublings of the severity, so that the order of states
stays the rule's to the bit. It is judged on paths that it was not fitted on.
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
"""Floors that are tried."""
_RIDGE: Final = 1e-3


class PriorSamples(NamedTuple):
    """Severities at which a target was asked, what became of them, and how much each counts."""

    severity: Column
    label: NDArray[np.bool_]
    weight: Column


class PriorFit(NamedTuple):
    """What was measured.

    Attributes
    ----------
    probability, slope, floor : float
        Of an :class:`~riskwatch.models.base.RuleLogit`.
    samples, positives : int
        That it was fitted on.
    log_loss, base_log_loss : float
        Weighted, nats, on paths that it was not fitted on; of the base rate beside it.
    said, came : float
        There, of predictions of 0.2 and more: what was said and what came, weighted; NaN without.
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
    """Ask a target along paths, as the models are asked live.

    Parameters
    ----------
    target : Target
        What is asked; its measure is the path.
    every_s : float
        Seconds between two samples.
    paths : sequence of sequence of float
        The measure, minute by minute.
    weights : sequence of float
        How much each path counts.
    """
    horizon, every = max(1, int(target.horizon_s // 60)), max(1, int(every_s // 60))
    found: list[Column] = []
    for path, weight in zip(paths, weights, strict=True):
        values = np.asarray(path, dtype=np.float64)
        if len(values) <= horizon:
            continue
        worst = sliding_window_view(values[1:], horizon).max(axis=1)[::every]
        now = values[: len(values) - horizon][::every]
        asked = now < target.threshold
        if target.start is not None:
            asked &= now >= target.start
        severity = np.maximum(now[asked], 0.0) / target.threshold
        hit = worst[asked] >= target.threshold
        found.append(np.column_stack([severity, hit, np.full(len(severity), weight)]))
    rows = np.concatenate(found) if found else np.empty((0, 3))
    return PriorSamples(rows[:, 0], rows[:, 1].astype(bool), rows[:, 2])


def fit_prior(fitting: PriorSamples, judging: PriorSamples) -> PriorFit:
    """Fit a prior on some paths and judge it on others.

    Raises
    ------
    ValueError
        If either has not both labels, or danger does not grow with the severity.
    """
    for each in (fitting, judging):
        if not 0 < int(each.label.sum()) < len(each.label):
            raise ValueError("samples of both labels are needed, to fit on and to judge by")
    best: tuple[float, float, float, float] | None = None
    for floor in FLOORS:
        bias, slope = _logistic(_steps(fitting.severity, floor), fitting)
        loss = _loss(_logit(fitting, bias, slope, floor), fitting)
        if best is None or loss < best[0]:
            best = (loss, bias, slope, floor)
    assert best is not None
    _, bias, slope, floor = best
    if not slope >= 0.01:
        raise ValueError(f"more severity must mean more danger, the slope was {slope:.3g}")
    probability = float(np.clip(round(sigmoid(np.array([bias]))[0], 4), 1e-4, 1.0 - 1e-4))
    said = sigmoid(_logit(judging, bias, slope, floor))
    high = said >= 0.2
    heavy = judging.weight[high]
    base = np.average(fitting.label, weights=fitting.weight)
    return PriorFit(
        probability=probability,
        slope=round(float(slope), 3),
        floor=floor,
        samples=len(fitting.label),
        positives=int(fitting.label.sum()),
        log_loss=_loss(_logit(judging, bias, slope, floor), judging),
        base_log_loss=_loss(np.full(len(judging.label), np.log(base / (1.0 - base))), judging),
        said=float(np.average(said[high], weights=heavy)) if high.any() else float("nan"),
        came=float(np.average(judging.label[high], weights=heavy)) if high.any() else float("nan"),
    )


def _steps(severity: Column, floor: float) -> Column:
    """Doublings from severity 1, of a whole column: as ``RuleLogit.steps``."""
    mantissa, exponent = np.frexp(severity + floor)
    return exponent + (2.0 * mantissa - 2.0) - doublings(1.0 + floor)


def _logit(of: PriorSamples, bias: float, slope: float, floor: float) -> Column:
    return bias + slope * _steps(of.severity, floor)


def _loss(logit: Column, of: PriorSamples) -> float:
    return log_loss(sigmoid(logit), of.label, of.weight)


def _logistic(steps: Column, of: PriorSamples) -> tuple[float, float]:
    """Bias and slope of largest likelihood, with a small ridge."""
    inputs, nothing = np.column_stack([np.ones_like(steps), steps]), np.zeros(2)
    heavy, rising = of.weight / of.weight.mean(), np.array([0.0, 1.0])
    found = logistic(inputs, of.label, heavy, start=rising, pull=nothing, ridge=_RIDGE)
    return float(found[0]), float(found[1])
