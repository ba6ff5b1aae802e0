"""Running accounts of how good a generation's probabilities were."""

from __future__ import annotations

import math
from typing import Final

import msgspec

CLIP: Final = 1e-4
"""Probabilities are judged within [CLIP, 1 - CLIP], so one label costs at most 9.2103 nats."""


_TOP: Final = 1.0 - CLIP


def clipped(probability: float) -> float:
    """`probability` as it is judged.

    Examples
    --------
    >>> clipped(0.0), clipped(0.3)
    (0.0001, 0.3)
    """
    if probability < CLIP:
        return CLIP
    return min(_TOP, probability)


class Evidence(msgspec.Struct, gc=False):
    """Losses of one generation on one target, over matured labels only.

    Attributes
    ----------
    count, positives : int
        Labels, and how many of them were true.
    log_loss_sum : float
        Sum of log losses, nats.
    brier_sum : float
        Sum of squared errors, of the clipped probability too.
    events : int
        Trues that were not merely more of the same: each a while after the one before.
    event_us : int
        When the sample of the last true was taken, microseconds; -1 before the first.

    Examples
    --------
    >>> evidence = Evidence()
    >>> evidence.add(0.5, label=True)
    >>> evidence.add(0.0, label=False)
    >>> round(evidence.log_loss, 4), round(evidence.brier, 4)
    (0.3466, 0.125)
    """

    count: int = 0
    positives: int = 0
    log_loss_sum: float = 0.0
    brier_sum: float = 0.0
    events: int = 0
    event_us: int = -1

    def add(self, probability: float, *, label: bool) -> None:
        """Account for one matured label.

        Raises
        ------
        ValueError
            If `probability` is not within [0, 1].
        """
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"probability must be in [0, 1], was {probability}")
        p = clipped(probability)
        self.count += 1
        self.positives += label
        self.log_loss_sum -= math.log(p) if label else math.log1p(-p)
        self.brier_sum += (p - label) ** 2

    def happened(self, us: int, gap: int) -> bool:
        """Note a true whose sample was taken at `us`; whether it is another event.

        It is if no sample within `gap` before it was true.
        """
        fresh = self.event_us < 0 or us - self.event_us > gap
        self.event_us = max(self.event_us, us)
        self.events += fresh
        return fresh

    @property
    def log_loss(self) -> float:
        """Mean log loss, nats; 0 before any label."""
        return self.log_loss_sum / self.count if self.count else 0.0

    @property
    def brier(self) -> float:
        """Mean squared error; 0 before any label."""
        return self.brier_sum / self.count if self.count else 0.0
