"""Whether what was called 20 % happened in a fifth of the cases: a table that fits in one row."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from riskwatch.models.evidence import clipped

BINS: Final = 10


class Decomposition(msgspec.Struct, frozen=True):
    """The Brier score in parts: ``brier = reliability - resolution + uncertainty + within``.

    Murphy, "A new vector partition of the probability score", Journal of Applied Meteorology 12,
    1973. `within` is what the bins hide: probabilities of one bin are not all alike
    (Stephenson, Coelho and Jolliffe, "Two extra components in the Brier score decomposition",
    Weather and Forecasting 23, 2008).
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


class Reliability(msgspec.Struct, gc=False):
    """What was said and what happened, over all scopes of one target and generation.

    Attributes
    ----------
    counts : list of int
        Labels by tenth of the probability that was said.
    said : list of float
        Sums of those probabilities.
    trues : list of int
        How many of them came true.
    log_loss_sum : float
        Nats.
    brier_sum : float
        Sum of squared errors.

    Examples
    --------
    >>> table = Reliability()
    >>> for n in range(10):
    ...     table.add(0.2, label=n < 2)
    >>> table.counts[2], round(table.said[2], 6), table.trues[2]
    (10, 2.0, 2)
    >>> parts = table.decomposition
    >>> round(parts.reliability, 6), round(parts.resolution, 6), round(parts.uncertainty, 6)
    (0.0, 0.0, 0.16)
    """

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * BINS)
    said: list[float] = msgspec.field(default_factory=lambda: [0.0] * BINS)
    trues: list[int] = msgspec.field(default_factory=lambda: [0] * BINS)
    log_loss_sum: float = 0.0
    brier_sum: float = 0.0

    def add(self, probability: float, *, label: bool) -> None:
        """Account for one matured label."""
        p = clipped(probability)
        at = min(int(p * BINS), BINS - 1)
        self.counts[at] += 1
        self.said[at] += p
        self.trues[at] += label
        self.log_loss_sum -= math.log(p) if label else math.log1p(-p)
        self.brier_sum += (p - label) ** 2

    @property
    def labels(self) -> int:
        """How many labels there were."""
        return sum(self.counts)

    @property
    def positives(self) -> int:
        """How many were true."""
        return sum(self.trues)

    @property
    def log_loss(self) -> float:
        """Mean log loss, nats; 0 before any label."""
        labels = self.labels
        return self.log_loss_sum / labels if labels else 0.0

    @property
    def decomposition(self) -> Decomposition:
        """Brier score in parts; zeros before any label."""
        labels = self.labels
        if not labels:
            return Decomposition(0.0, 0.0, 0.0, 0.0, 0.0)
        base = self.positives / labels
        reliability = resolution = 0.0
        for count, said, trues in zip(self.counts, self.said, self.trues, strict=True):
            if count:
                reliability += count * (said / count - trues / count) ** 2
                resolution += count * (trues / count - base) ** 2
        brier = self.brier_sum / labels
        reliability, resolution = reliability / labels, resolution / labels
        uncertainty = base * (1.0 - base)
        within = brier - (reliability - resolution + uncertainty)
        return Decomposition(brier, reliability, resolution, uncertainty, within)
