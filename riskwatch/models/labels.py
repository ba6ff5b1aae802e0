"""Labels: samples wait until their horizon is over, then get their label from the stream.

True and false labels both mature at the end of the horizon. If true labels were learned as soon
as they happen, a model would see the trues of the last hour and none of its falses. It would
then overrate danger exactly when it matters.

A sample ends in one of four ways: true, false, *unlabelled* (too much of its horizon was not
observed) or *censored* (we left, so the measure could show nothing). Unlabelled and censored
samples are counted and not learned from, because neither shows calm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Container

    from riskwatch.models.base import PredictionTarget

MAX_GAP_SHARE: Final = 0.25
"""Longest unobserved gap of a false label, as a share of the horizon."""


class Sample(msgspec.Struct, array_like=True):
    """Features and predictions of one target at one moment; it waits for its label.

    Attributes
    ----------
    us : int
        Event time at which the sample was taken, microseconds.
    features : dict of str to float
        Features at that time, with ``severity``.
    said : dict of str to float
        Predicted probability by generation at that time.
    hit : bool
        Whether the threshold has been reached since.
    holed : bool
        Whether the horizon has an unobserved gap that is too long.
    parts : list of str
        Known features of the measure, if it has several features.
    seen : int
        Time of the last full observation, microseconds; -1 if there was none since.
    """

    us: int
    features: dict[str, float]
    said: dict[str, float]
    hit: bool = False
    holed: bool = False
    parts: list[str] = []
    seen: int = -1

    def over(self, target: PredictionTarget) -> int:
        """Return the end of its horizon, microseconds."""
        return self.us + int(target.horizon_s * SECOND)

    def observe(self, us: int, end: int, longest: float, *, reached: bool, full: bool) -> None:
        """Update the sample with one observation; see :meth:`PendingSamples.observe`."""
        reached = reached and self.us < us <= end
        if full or reached or us >= end:
            self.holed |= min(us, end) - max(self.us, self.seen) > longest
        if full or reached:
            self.seen = us
        self.hit |= reached


class PendingSamples(msgspec.Struct):
    """Samples of one scope and target that wait for their label, in order of time.

    Attributes
    ----------
    samples : list of Sample
        The waiting samples.
    observed : int
        Time of the last observation while a sample waited, microseconds; -1 for never.
    sampled : int
        Time at which the last sample was taken, microseconds; -1 for never.
    unlabelled : int
        Number of samples dropped because their horizon had too long a gap.
    censored : int
        Number of samples dropped because we left before their horizon was over.

    Examples
    --------
    >>> from riskwatch.models.base import PredictionTarget
    >>> target = PredictionTarget(kind="depeg", threshold=50.0, horizon_s=60.0)
    >>> pending = PendingSamples()
    >>> pending.add(Sample(0, {"severity": 0.2}, {"rules": 0.1}))
    >>> [len(pending.observe(target, s * SECOND, bp))
    ...  for s, bp in ((10, 55.0), (20, 5.0), (59, 5.0))]
    [0, 0, 0]
    >>> [(sample.us, label) for sample, label in pending.observe(target, 61 * SECOND, 5.0)]
    [(0, True)]
    """

    samples: list[Sample] = []
    observed: int = -1
    sampled: int = -1
    unlabelled: int = 0
    censored: int = 0

    def add(self, sample: Sample) -> None:
        """Add a sample. It must be later than all others."""
        self.samples.append(sample)
        self.sampled = sample.us

    def observe(
        self, target: PredictionTarget, us: int, measure: float, known: Container[str] = ()
    ) -> list[tuple[Sample, bool]]:
        """Update the samples with an observation of the measure, and return those that matured.

        The observation counts for the samples in whose horizon ``(taken, taken + horizon]`` it
        falls. An observation older than the last one is ignored. `known` holds the features that
        the measure is made of now. If it lacks a part that a sample had, the observation can
        show that sample a hit, but not that there was none.

        Returns
        -------
        list of (Sample, bool)
            Samples whose horizon is over, with their label, the oldest first. They are removed.
            A hit gives a true label whatever else was not observed. Without a hit, a gap of
            more than :data:`MAX_GAP_SHARE` of the horizon leaves no label: the sample is
            dropped and counted.
        """
        if not self.samples or us < self.observed:
            return []
        horizon = int(target.horizon_s * SECOND)
        longest = MAX_GAP_SHARE * horizon
        reached = measure >= target.threshold
        # The usual case: no hit and no gap since the last observation.
        calm = not reached and us - self.observed <= longest
        for sample in self.samples:
            if calm and not sample.hit and not sample.parts:
                sample.seen = us
                continue
            full = all(part in known for part in sample.parts)
            sample.observe(us, sample.us + horizon, longest, reached=reached, full=full)
        self.observed = us
        done = self._ended(target, us)
        known_now = [(sample, sample.hit) for sample in done if sample.hit or not sample.holed]
        self.unlabelled += len(done) - len(known_now)
        return known_now

    def censor(self, target: PredictionTarget, us: int) -> list[tuple[Sample, bool]]:
        """Censor the samples: we hold nothing there any more, so the measure shows nothing.

        A sample that was hit before we left stays true and matures at the end of its horizon.
        Every other sample is dropped and counted.

        Returns
        -------
        list of (Sample, bool)
            Samples that matured, as from :meth:`observe`; all of them true.
        """
        if not self.samples or us < self.observed:
            return []
        hits = [sample for sample in self.samples if sample.hit]
        self.censored += len(self.samples) - len(hits)
        self.samples = hits
        self.observed = us
        return [(sample, True) for sample in self._ended(target, us)]

    def due(self, target: PredictionTarget, us: int) -> bool:
        """Return whether the horizon of any sample is over."""
        return bool(self.samples) and us >= self.samples[0].over(target)

    def _ended(self, target: PredictionTarget, us: int) -> list[Sample]:
        """Remove and return the samples whose horizon is over, the oldest first."""
        if not self.due(target, us):
            return []
        over = sum(us >= sample.over(target) for sample in self.samples)
        done, self.samples = self.samples[:over], self.samples[over:]
        return done
