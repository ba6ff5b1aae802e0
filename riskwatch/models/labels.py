"""Labels from the stream itself: a sample waits for its horizon, then its answer is known.

True and false alike mature at the end of the horizon. Were trues learnt as soon as they happen,
a model would see the trues of the last hour and none of its falses, and overrate danger exactly
when it matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND

if TYPE_CHECKING:
    from riskwatch.models.base import Target

HOLE_SHARE: Final = 0.25
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
    """

    us: int
    features: dict[str, float]
    said: dict[str, float]
    hit: bool = False
    holed: bool = False


class Pending(msgspec.Struct):
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

    Examples
    --------
    >>> from riskwatch.models.base import Target
    >>> target = Target(kind="depeg", threshold=50.0, horizon_s=60.0)
    >>> pending = Pending()
    >>> pending.take(Sample(0, {"severity": 0.2}, {"rules": 0.1}))
    >>> [len(pending.see(target, s * SECOND, bp)) for s, bp in ((10, 55.0), (20, 5.0), (59, 5.0))]
    [0, 0, 0]
    >>> [(sample.us, label) for sample, label in pending.see(target, 61 * SECOND, 5.0)]
    [(0, True)]
    """

    samples: list[Sample] = []
    observed: int = -1
    sampled: int = -1
    unlabelled: int = 0

    def take(self, sample: Sample) -> None:
        """Let a sample wait; it must be later than all others."""
        self.samples.append(sample)
        self.sampled = sample.us

    def see(self, target: Target, us: int, measure: float) -> list[tuple[Sample, bool]]:
        """Take in an observation of the measure.

        It counts for the samples in whose horizon ``(taken, taken + horizon]`` it falls. One
        that is older than the last observation counts for none.

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
        longest = HOLE_SHARE * horizon
        reached = measure >= target.threshold
        over = 0
        for sample in self.samples:
            end = sample.us + horizon
            if min(us, end) - max(sample.us, self.observed) > longest:
                sample.holed = True
            if reached and sample.us < us <= end:
                sample.hit = True
            over += us >= end
        self.observed = us
        done, self.samples = self.samples[:over], self.samples[over:]
        known = [(sample, sample.hit) for sample in done if sample.hit or not sample.holed]
        self.unlabelled += len(done) - len(known)
        return known
