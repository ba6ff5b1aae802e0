"""Labels computed from the readings, independently of the models' own labels.

The label of a sample at `t` is true if the measure reaches the level within ``(t, t + horizon]``.
It is false if the measure does not reach it and the horizon was observed. A horizon is observed if
it lies within the series and no gap without a trusted reading is longer than a quarter of it.
Otherwise the sample has no label.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.bench.static import DeviationReading
    from riskwatch.bench.target import DepegTarget

MAX_GAP_SHARE: Final = 0.25
"""Longest gap in the horizon of a false label, as a share of the horizon."""


def label(target: DepegTarget, us: int, series: Sequence[DeviationReading]) -> bool | None:
    """Return the label of a sample at `us`; ``None`` if there is none.

    Parameters
    ----------
    asked : DepegTarget
        The target.
    us : int
        Time of the sample, microseconds.
    series : sequence of DeviationReading
        The trusted readings of the coin, in order of time.
    """
    end = us + target.horizon
    last, longest = us, 0
    for i in range(bisect_right(series, us, key=lambda reading: reading.us), len(series)):
        reading = series[i]
        longest = max(longest, min(reading.us, end) - last)
        if reading.us > end:
            break
        if target.measure(reading.deviation_bp) >= target.level_bp:
            return True
        last = reading.us
    complete = bool(series) and series[-1].us >= end
    return False if complete and longest <= MAX_GAP_SHARE * target.horizon else None


def independent(times: Sequence[int], horizon: int) -> int:
    """Return the number of independent events among the positive samples at `times`.

    Positives that are further apart than twice the horizon do not concern the same move.

    Examples
    --------
    >>> independent([0, 1, 2, 50, 51], horizon=10)
    2
    """
    return sum(1 for i, us in enumerate(times) if i == 0 or us - times[i - 1] > 2 * horizon)
