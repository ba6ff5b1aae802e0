"""Measures of predicted probabilities against labels."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIP: Final = 1e-6
"""Probabilities are moved this far from 0 and 1 before their logarithm is taken."""
HIGH: Final = 0.2
"""Lowest prediction whose predicted rate is compared with the observed one."""


def average_precision(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Return the sum over the ranking of (recall gained) x (precision there).

    It is ``None`` without a positive. Samples of equal score are one step, because their order has
    no meaning.

    Examples
    --------
    >>> average_precision([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
    0.8333333333333333
    >>> average_precision([0.5, 0.5], [True, False])
    0.5
    """
    positives = sum(labels)
    if not positives:
        return None
    ranked = sorted(zip(scores, labels, strict=True), key=lambda pair: -pair[0])
    total, hits, i = 0.0, 0, 0
    while i < len(ranked):
        j, gained = i, 0
        while j < len(ranked) and ranked[j][0] == ranked[i][0]:
            gained += ranked[j][1]
            j += 1
        hits += gained
        total += gained / positives * (hits / j)
        i = j
    return total


def brier(predicted: Sequence[float], labels: Sequence[bool]) -> float:
    """Return the mean square of (probability - label).

    Examples
    --------
    >>> brier([0.8, 0.4], [True, False])
    0.1
    """
    return round(
        sum((p - y) ** 2 for p, y in zip(predicted, labels, strict=True)) / len(labels), 12
    )


def log_loss(predicted: Sequence[float], labels: Sequence[bool]) -> float:
    """Return the mean of ``-log`` of the probability of the observed label, in nats.

    Examples
    --------
    >>> round(log_loss([0.5, 0.5], [True, False]), 6)
    0.693147
    """
    clipped = (min(1.0 - CLIP, max(CLIP, p)) for p in predicted)
    losses = (-log(p if y else 1.0 - p) for p, y in zip(clipped, labels, strict=True))
    return sum(losses) / len(labels)


@dataclass(frozen=True, slots=True)
class ProbabilityMetrics:
    """Measures of probabilities on labelled samples.

    Attributes
    ----------
    samples, positives : int
        Labelled samples, and the number of true labels.
    ap : float or None
        Average precision; ``None`` without a positive.
    log_loss, brier : float
        Smaller is better.
    climatology : float
        Brier score of the constant that fits these labels best: the rate of positives. It is
        computed from the labels themselves, so it is harder to beat than any constant that is
        known in advance.
    high, high_said, high_rate : int, float, float
        Predictions of :data:`HIGH` and more: their number, their mean, and the observed rate.
    """

    samples: int
    positives: int
    ap: float | None
    log_loss: float
    brier: float
    climatology: float
    high: int
    high_said: float | None
    high_rate: float | None

    @property
    def skill(self) -> float | None:
        """Brier skill against climatology: 1 is perfect, 0 no better; ``None`` without both labels.

        Examples
        --------
        >>> measure_probabilities([0.9, 0.1], [True, False]).skill
        0.96
        """
        return None if self.climatology <= 0.0 else round(1.0 - self.brier / self.climatology, 12)


def measure_probabilities(predicted: Sequence[float], labels: Sequence[bool]) -> ProbabilityMetrics:
    """Compute the measures of probabilities; there must be at least one label."""
    n, positives = len(labels), sum(labels)
    rate = positives / n
    high = [(p, y) for p, y in zip(predicted, labels, strict=True) if p >= HIGH]
    return ProbabilityMetrics(
        samples=n,
        positives=positives,
        ap=average_precision(predicted, labels),
        log_loss=log_loss(predicted, labels),
        brier=brier(predicted, labels),
        climatology=rate * (1.0 - rate),
        high=len(high),
        high_said=sum(p for p, _ in high) / len(high) if high else None,
        high_rate=sum(y for _, y in high) / len(high) if high else None,
    )
