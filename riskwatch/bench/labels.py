"""Labels from the readings, by code of its own: the models' book-keeping is not trusted here.

A sample taken at `t` is true if the measure reaches the level within ``(t, t + horizon]``. It is
false if it does not, and the horizon was observed: it lies within the series, and no stretch of
it longer than a quarter went without a trusted reading. Else it has no label.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.bench.static import DeviationReading
    from riskwatch.bench.target import DepegTarget

MAX_GAP_SHARE: Final = 0.25
"""Longest unobserved stretch of a false label's horizon, as a share of it."""


def label(asked: DepegTarget, us: int, series: Sequence[DeviationReading]) -> bool | None:
    """Label of a sample taken at `us`; None if there is none.

    Parameters
    ----------
    asked : Asked
        The target.
    us : int
        When it was asked, microseconds.
    series : sequence of Seen
        The trusted readings of the coin, in order of time.
    """
    end = us + asked.horizon
    last, longest = us, 0
    for i in range(bisect_right(series, us, key=lambda seen: seen.us), len(series)):
        seen = series[i]
        longest = max(longest, min(seen.us, end) - last)
        if seen.us > end:
            break
        if asked.measure(seen.deviation_bp) >= asked.level_bp:
            return True
        last = seen.us
    complete = bool(series) and series[-1].us >= end
    return False if complete and longest <= MAX_GAP_SHARE * asked.horizon else None


def independent(times: Sequence[int], horizon: int) -> int:
    """How many events the positive samples at `times` come from.

    Positives further apart than twice the horizon do not look at the same move.

    Examples
    --------
    >>> independent([0, 1, 2, 50, 51], horizon=10)
    2
    """
    return sum(1 for i, us in enumerate(times) if i == 0 or us - times[i - 1] > 2 * horizon)
