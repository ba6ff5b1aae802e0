"""Candles: start, low, high, open, close, volume, as Coinbase's interface gives them."""

from __future__ import annotations

from riskwatch.feeds.base import BarReader


class Candles(BarReader):
    """Candles whose opening time is called `start`: epoch seconds, often as text.

    A minute without a trade has no row.
    """

    name = "candles"
    about = "start, low, high, open, close, volume (start in epoch seconds), CSV or Parquet"
    times = ("start",)
    score = 3
