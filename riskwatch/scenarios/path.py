"""A price path: given points, joined by straight lines in log price."""

from __future__ import annotations

from bisect import bisect_right
from math import exp, log
from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND, micros

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

SETTLE_S = 300.0
"""Noise fades to zero over this many seconds before and after a way-point."""


class PricePath:
    """Way-points, interpolated in log price; constant before the first and after the last.

    Parameters
    ----------
    points : sequence of (datetime, float)
        Strictly increasing moments and positive values.

    Raises
    ------
    ValueError
        If there is no way-point, one is not positive, or the moments do not increase.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> path = PricePath([(datetime(2023, 3, 11, 0, tzinfo=UTC), 1.0),
    ...              (datetime(2023, 3, 11, 2, tzinfo=UTC), 0.81)])
    >>> round(path.at(micros(datetime(2023, 3, 11, 1, tzinfo=UTC))), 9)
    0.9
    """

    def __init__(self, points: Sequence[tuple[datetime, float]]) -> None:
        if not points:
            raise ValueError("a path needs at least one way-point")
        self._us = [micros(moment) for moment, _ in points]
        if any(b <= a for a, b in zip(self._us, self._us[1:], strict=False)):
            raise ValueError("way-points must be in order of time")
        bad = [value for _, value in points if not value > 0.0]
        if bad:
            raise ValueError(f"way-points must be positive, one was {bad[0]}")
        self._log = [log(value) for _, value in points]

    def at(self, us: int) -> float:
        """Return the value at event time `us` (microseconds)."""
        i = bisect_right(self._us, us)
        if i == 0:
            return exp(self._log[0])
        if i == len(self._us):
            return exp(self._log[-1])
        left, right = self._us[i - 1], self._us[i]
        share = (us - left) / (right - left)
        return exp(self._log[i - 1] + share * (self._log[i] - self._log[i - 1]))

    def noise_share(self, us: int) -> float:
        """Return the share of noise at `us`: 0 on a way-point, 1 from five minutes away."""
        i = bisect_right(self._us, us)
        near = [abs(us - self._us[j]) for j in (i - 1, i) if 0 <= j < len(self._us)]
        return min(1.0, min(near) / (SETTLE_S * SECOND))
