"""Walk-forward folds and their metrics. Samples are never shuffled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import average_precision_score

from riskwatch.models.evidence import CLIP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


def blocks(
    us: Sequence[int], labels: Sequence[bool], horizon_us: int, count: int = 5
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield training and test indices, block after block of time.

    The blocks have equal shares of the true labels, so that each has some to evaluate. The model of
    a block was trained only on samples whose horizon ended before the block began.

    Parameters
    ----------
    us : sequence of int
        Time of each sample, microseconds, non-decreasing.
    labels : sequence of bool
        Label of each sample.
    horizon_us : int
        Horizon of the target, microseconds.
    count : int
        Number of blocks; the first is for training only.

    Raises
    ------
    ValueError
        If samples are not in order of time.

    Examples
    --------
    >>> labels = [False, True, False, True, False, True]
    >>> cuts = blocks(range(6), labels, horizon_us=1, count=3)
    >>> [(train.tolist(), test.tolist()) for train, test in cuts]
    [([0, 1, 2], [3, 4]), ([0, 1, 2, 3, 4], [5])]
    """
    times, truth = np.asarray(us, dtype=np.int64), np.asarray(labels, dtype=bool)
    if np.any(np.diff(times) < 0):
        raise ValueError("samples must be in order of time: folds walk forward")
    hits = times[truth]
    if len(hits) < count:
        return
    cuts = [int(hits[len(hits) * k // count]) for k in range(1, count)]
    ends = [*cuts[1:], int(times[-1]) + 1]
    for begin, end in zip(cuts, ends, strict=True):
        train = np.flatnonzero(times + horizon_us <= begin)
        test = np.flatnonzero((times >= begin) & (times < end))
        if 0 < int(truth[train].sum()) < len(train) and len(test):
            yield train, test


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of a column of log-odds, clipped at 700 in both directions."""
    odds: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(logits, -700.0, 700.0)))
    return odds


def logistic(
    inputs: NDArray[np.float64],
    labels: NDArray[Any],
    weights: NDArray[np.float64],
    *,
    start: NDArray[np.float64],
    pull: NDArray[np.float64],
    ridge: float,
) -> NDArray[np.float64]:
    """Return the coefficients of largest likelihood, by Newton's method in bounded steps.

    The loss is convex.

    Parameters
    ----------
    inputs : array, shape (samples, coefficients)
        A column of ones gives an intercept.
    labels : array, shape (samples,)
        Labels, or probabilities in their place.
    weights : array, shape (samples,)
        Weight of each sample, 1 in the mean.
    start, pull : array, shape (coefficients,)
        Start of the iteration, and the point from which the ridge measures the distance.
    ridge : float
        Weight of the squared distance.
    """
    found = start
    for _ in range(200):
        p = sigmoid(inputs @ found)
        gradient = inputs.T @ (weights * (p - labels)) + ridge * (found - pull)
        curvature = (inputs * (weights * p * (1.0 - p))[:, None]).T @ inputs
        step = np.linalg.solve(curvature + ridge * np.eye(len(found)), gradient)
        step = np.clip(step, -1.0, 1.0)
        found = found - step
        if float(np.abs(step).max()) < 1e-10:
            break
    return found


def platt(
    margins: NDArray[np.float64],
    labels: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float]:
    """Return slope and intercept that turn margins into log-odds, by maximum likelihood [1]_.

    Labels are softened as in the source, so that few of them do not give a step function. Optional
    `weights` have mean 1.

    Raises
    ------
    ValueError
        If a larger margin has a lower probability, so that no calibration is possible.

    References
    ----------
    .. [1] J. Platt, "Probabilistic outputs for support vector machines" (1999); Newton's method on
    the convex loss, with a small ridge on the distance from the identity.

    Examples
    --------
    >>> margins = np.array([-2.0, -1.0, 1.0, 2.0] * 50)
    >>> slope, _ = platt(margins, margins > 0.0)
    >>> slope > 1.0
    True
    """
    trues = int(labels.sum())
    low, high = 1.0 / (len(labels) - trues + 2.0), (trues + 1.0) / (trues + 2.0)
    softened = np.where(labels, high, low)
    inputs = np.column_stack([margins, np.ones_like(margins)])
    identity = np.array([1.0, 0.0])
    heavy = np.ones(len(labels)) if weights is None else weights
    found = logistic(inputs, softened, heavy, start=identity, pull=identity, ridge=1.0)
    slope, intercept = float(found[0]), float(found[1])
    if not (slope > 0.0 and math.isfinite(intercept)):
        raise ValueError(f"more margin must mean more danger out of fold, slope was {slope:.3g}")
    return slope, intercept


def log_loss(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
) -> float:
    """Return the mean log loss, nats."""
    p = np.clip(probabilities, CLIP, 1.0 - CLIP)
    return float(np.average(-np.where(labels, np.log(p), np.log1p(-p)), weights=weights))


def fit_metrics(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
    prefix: str = "",
) -> dict[str, float]:
    """Return log loss in nats, squared error and average precision, rounded to six digits."""
    p = np.clip(probabilities, CLIP, 1.0 - CLIP)
    figures = {
        "log_loss": log_loss(probabilities, labels, weights),
        "brier": float(np.average((p - labels) ** 2, weights=weights)),
        "average_precision": float(
            average_precision_score(labels, probabilities, sample_weight=weights)
        ),
    }
    return {prefix + name: round(value, 6) for name, value in figures.items()}
