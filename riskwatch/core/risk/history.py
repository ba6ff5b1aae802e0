"""The history of one price as a bounded sketch.

A price is marked every five minutes while a feed of it is live. The marks go into 25 hours, 42
spans of four hours and 31 days, so a row has some hundred numbers, whatever the price does. The
*level* is the deviation from the peg in bp; of an asset without a peg it is ten thousand times the
log of its price, so that a change is in bp, too.
"""

from __future__ import annotations

from math import log, log2, sqrt
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import DAY, HOUR, MINUTE
from riskwatch.core.money import quantise

if TYPE_CHECKING:
    from riskwatch.core.readings import AssetReading

STEP: Final = 5 * MINUTE
"""Time between two marks, microseconds."""
HOURS: Final = 25
"""Number of hours with a mark that are kept."""
SPAN: Final = 4 * HOUR
"""Length of a span, of which the last level is kept for the median of a week, microseconds."""
SPANS: Final = 42
DAYS: Final = 31
"""Number of days with a mark that are kept."""
NEAR_BP: Final = 10.0
"""Discount that counts for the share of a month: half of the least threshold of a rule, bp."""
VOLUME_RATE: Final = 0.002
"""Weight of a mark in the usual volume: about two days count."""
BP: Final = 1e-4


class HourSketch(msgspec.Struct, array_like=True):
    """The marks of one hour: last level, deepest discount, and sum of squared changes; bp."""

    hour: int
    level: float
    deepest: float
    squares: float


class DaySketch(msgspec.Struct, array_like=True):
    """The marks of one day: deepest discount, squared changes, marks, and those far from par."""

    day: int
    deepest: float
    squares: float
    marks: int
    far: int


class PriceHistory(msgspec.Struct, array_like=True):
    """The marks of one price.

    Attributes
    ----------
    us : int
        Time of the last mark, microseconds.
    level : float
        Level at the last mark, bp.
    hours, days : list
        Hours and days with a mark, the oldest first.
    spans : list of [int, float]
        Number of a span since 1970, and the last level in it, bp.
    volume : float
        Usual traded value per minute, USD; 0 if unknown.
    """

    us: int
    level: float
    hours: list[HourSketch] = []
    days: list[DaySketch] = []
    spans: list[tuple[int, float]] = []
    volume: float = 0.0

    def mark(self, us: int, level: float, volume: float) -> None:
        """Add a mark.

        Parameters
        ----------
        us : int
            Event time, microseconds; not before the last mark.
        level : float
            The level now, bp.
        volume : float
            Traded value per minute now, USD; 0 if unknown.
        """
        square = (level - self.level) ** 2 if self.hours else 0.0
        discount = max(0.0, -level)
        hour, day, span = us // HOUR, us // DAY, us // SPAN
        if not self.hours or self.hours[-1].hour != hour:
            self.hours = [*self.hours[1 - HOURS :], HourSketch(hour, level, 0.0, 0.0)]
        last = self.hours[-1]
        last.level, last.deepest = level, max(last.deepest, discount)
        last.squares += square
        if not self.days or self.days[-1].day != day:
            self.days = [*self.days[1 - DAYS :], DaySketch(day, 0.0, 0.0, 0, 0)]
        today = self.days[-1]
        today.deepest = max(today.deepest, discount)
        today.squares += square
        today.marks += 1
        today.far += discount >= NEAR_BP
        if not self.spans or self.spans[-1][0] != span:
            self.spans = [*self.spans[1 - SPANS :], (span, level)]
        else:
            self.spans[-1] = (span, level)
        if volume > 0.0:
            self.volume += (volume - self.volume) * (VOLUME_RATE if self.volume else 1.0)
        self.us, self.level = us, level

    def level_before(self, hours: int) -> float:
        """Return the level at the end of the hour `hours` ago, or the oldest one of it on, bp."""
        at = self.us // HOUR - hours
        found = self.level
        for sketch in reversed(self.hours):
            found = sketch.level
            if sketch.hour <= at:
                break
        return found

    def volatility(self, days: int) -> float:
        """Return the root of the summed squared changes of the last 24 hours or some days, bp."""
        if days == 1:
            least = self.us // HOUR - 24
            return sqrt(sum(s.squares for s in self.hours if s.hour > least))
        first = self.us // DAY - days
        return sqrt(sum(s.squares for s in self.days if s.day > first) / days)

    def deepest(self, days: int) -> float:
        """Return the deepest discount of the last 24 hours or some days, bp."""
        if days == 1:
            least = self.us // HOUR - 24
            return max((s.deepest for s in self.hours if s.hour > least), default=0.0)
        first = self.us // DAY - days
        return max((s.deepest for s in self.days if s.day > first), default=0.0)

    def median(self) -> float:
        """Return the median level of the last week, bp."""
        first = self.us // SPAN - SPANS
        levels = sorted(level for span, level in self.spans if span > first)
        return levels[len(levels) // 2] if levels else self.level

    def far_share(self) -> float:
        """Return the share of the marks of a month with a discount of `NEAR_BP` or more."""
        first = self.us // DAY - 30
        marks = sum(s.marks for s in self.days if s.day > first)
        return sum(s.far for s in self.days if s.day > first) / max(1, marks)


def level_of(reading: AssetReading, *, pegged: bool) -> float | None:
    """Return the level of a reading in bp; ``None`` for a price that is not above zero."""
    if pegged:
        return reading.deviation_bp
    return log(reading.price_usd) / BP if reading.price_usd > 0.0 else None


def surge(volume: float, history: PriceHistory) -> float | None:
    """Return how often the traded value doubled against its usual one; ``None`` if unknown.

    Examples
    --------
    >>> surge(4_000.0, PriceHistory(0, 0.0, volume=1_000.0))
    2.0
    """
    if volume <= 0.0 or history.volume <= 0.0:
        return None
    return quantise(log2(volume / history.volume))
