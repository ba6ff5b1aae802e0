"""Bars: any table with a named time column and open, high, low, close, volume."""

from __future__ import annotations

from riskwatch.feeds.base import BarReader


class Bars(BarReader):
    """The general case, taken only where no other reader is surer.

    Times without a zone are UTC and mean the opening of the bar. With a `ticker` column, rows
    about another pair than the first row's are skipped.
    """

    name = "bars"
    about = "date or wall_clock_utc, open, high, low, close, volume; any bar length"
    times = ("wall_clock_utc", "date", "datetime", "timestamp", "time", "index")
    symbol = "ticker"
    score = 1
