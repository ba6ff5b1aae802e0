"""Labels from the stream itself: a sample waits for its horizon, then it is known.

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
        When the measure was last observed, microseconds; -1 for never.
    sampled : int
        When the last sample was taken; -1 for never.
    unlabelled : int
        Samples that were dropped because their horizon had a hole.
    """

    samples: list[Sample] = []
    observed: int = -1
    sampled: int = -1
    unlabelled: int = 0

    def see(self, target: Target, us: int, measure: float) -> None:
        """Take in an observation of the measure.

        It counts for the samples whose horizon it falls into; a stretch without one that is
        longer than :data:`HOLE_SHARE` of the horizon leaves them without a false label.
        """
        horizon = int(target.horizon_s * SECOND)
        reached = measure >= target.threshold
        for sample in self.samples:
            end = sample.us + horizon
            if us <= sample.us:
                continue
            since = max(sample.us, self.observed)
            if min(us, end) - since > HOLE_SHARE * horizon:
                sample.holed = True
            if reached and us <= end:
                sample.hit = True
        self.observed = us

    def mature(self, target: Target, us: int) -> list[tuple[Sample, bool]]:
        """Samples whose horizon is over, with their label, the oldest first; they are dropped.

        A hit is true whatever was not observed. Without one, a hole leaves no label.
        """
        horizon = int(target.horizon_s * SECOND)
        over = [s for s in self.samples if us >= s.us + horizon]
        if not over:
            return []
        self.samples = self.samples[len(over) :]
        known = []
        for sample in over:
            blind = sample.us + horizon - max(sample.us, self.observed) > HOLE_SHARE * horizon
            if sample.hit:
                known.append((sample, True))
            elif sample.holed or blind:
                self.unlabelled += 1
            else:
                known.append((sample, False))
        return known
