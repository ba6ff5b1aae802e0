"""Labels from the stream itself: a sample waits for its horizon, then its answer is known.

True and false alike mature at the end of the horizon. Were trues learnt as soon as they happen,
a model would see the trues of the last hour and none of its falses, and overrate danger exactly
when it matters.

A sample ends in one of four ways: true, false, *unlabelled* (too much of its horizon was not
observed) or *censored* (we left, so the measure could not have shown anything). The last two are
counted and teach nothing: neither is calm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Container

    from riskwatch.models.base import PredictionTarget

MAX_GAP_SHARE: Final = 0.25
"""A sample whose horizon has a hole longer than this share of it has no false label."""


class Sample(msgspec.Struct, array_like=True):
    """One moment at which a target was asked, until the answer is known.

    Attributes
    ----------
    us : int
        When, microseconds.
    features : dict of str to float
        What was known then, with ``severity``.
    said : dict of str to float
        Probability by generation, as served then.
    hit : bool
        Whether the threshold has been reached since.
    holed : bool
        Whether too long a stretch since was not observed.
    parts : list of str
        Features that the measure was made of, where several make it.
    seen : int
        When it was last observed in full, microseconds; -1 for not since it was taken.
    """

    us: int
    features: dict[str, float]
    said: dict[str, float]
    hit: bool = False
    holed: bool = False
    parts: list[str] = []
    seen: int = -1

    def over(self, target: PredictionTarget) -> int:
        """When its horizon ends, microseconds."""
        return self.us + int(target.horizon_s * SECOND)

    def observe(self, us: int, end: int, longest: float, *, reached: bool, full: bool) -> None:
        """Take in one observation; see :meth:`PendingSamples.see`."""
        reached = reached and self.us < us <= end
        if full or reached or us >= end:
            self.holed |= min(us, end) - max(self.us, self.seen) > longest
        if full or reached:
            self.seen = us
        self.hit |= reached


class PendingSamples(msgspec.Struct):
    """Samples of one scope and target that wait, in order of time.

    Attributes
    ----------
    samples : list of Sample
        Those that wait.
    observed : int
        When the measure was last observed while a sample waited, microseconds; -1 for never.
    sampled : int
        When the last sample was taken; -1 for never.
    unlabelled : int
        Samples that were dropped because their horizon had a hole.
    censored : int
        Samples that were dropped because we left before their horizon was over.

    Examples
    --------
    >>> from riskwatch.models.base import PredictionTarget
    >>> target = PredictionTarget(kind="depeg", threshold=50.0, horizon_s=60.0)
    >>> pending = PendingSamples()
    >>> pending.add(Sample(0, {"severity": 0.2}, {"rules": 0.1}))
    >>> [len(pending.observe(target, s * SECOND, bp)) for s, bp in ((10, 55.0), (20, 5.0), (59, 5.0))]
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
        """Let a sample wait; it must be later than all others."""
        self.samples.append(sample)
        self.sampled = sample.us

    def observe(
        self, target: PredictionTarget, us: int, measure: float, known: Container[str] = ()
    ) -> list[tuple[Sample, bool]]:
        """Take in an observation of the measure.

        It counts for the samples in whose horizon ``(taken, taken + horizon]`` it falls. One
        that is older than the last observation counts for none. `known` are the features that
        it is made of: one that lacks a part that a sample had tells that sample of a hit only.

        Returns
        -------
        list of (Sample, bool)
            Samples whose horizon is over, with their label, the oldest first; they no longer
            wait. A hit is true whatever was not observed beside it. Without one, a stretch
            unobserved for more than :data:`HOLE_SHARE` of the horizon leaves no label: such a
            sample is dropped and counted.
        """
        if not self.samples or us < self.observed:
            return []
        horizon = int(target.horizon_s * SECOND)
        longest = MAX_GAP_SHARE * horizon
        reached = measure >= target.threshold
        # Mostly nothing happens. Who was seen last time, or taken since, has no hole now.
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
        """Take note that we have nothing there any more, so the measure shows nothing.

        What was reached while we were there stays true, and matures at the end of its horizon;
        every other sample is dropped and counted.

        Returns
        -------
        list of (Sample, bool)
            As of :meth:`see`: true ones alone.
        """
        if not self.samples or us < self.observed:
            return []
        hits = [sample for sample in self.samples if sample.hit]
        self.censored += len(self.samples) - len(hits)
        self.samples = hits
        self.observed = us
        return [(sample, True) for sample in self._ended(target, us)]

    def due(self, target: PredictionTarget, us: int) -> bool:
        """Whether the horizon of some sample is over."""
        return bool(self.samples) and us >= self.samples[0].over(target)

    def _ended(self, target: PredictionTarget, us: int) -> list[Sample]:
        """Samples whose horizon is over, the oldest first; they no longer wait."""
        if not self.due(target, us):
            return []
        over = sum(us >= sample.over(target) for sample in self.samples)
        done, self.samples = self.samples[:over], self.samples[over:]
        return done
