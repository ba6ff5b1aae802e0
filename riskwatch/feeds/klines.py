"""Klines: the twelve columns that Binance and its relatives publish."""

from __future__ import annotations

from riskwatch.feeds.base import BarReader


class Klines(BarReader):
    """Exchange klines: open_time, open, high, low, close, volume, close_time and five more.

    With or without a header; times in milliseconds or (from 2025 on) microseconds; prices as
    text or floats. A minute without a trade is carried forward by the venue with volume 0, and
    stays so: zero volume is how a stale book shows.
    """

    name = "klines"
    about = "12-column exchange klines (open_time ... close_time), CSV or Parquet"
    times = ("open_time",)
    marks = frozenset({"close_time"})
    positions = (
        "open_time",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "close_time",
        "quote_volume",
        "trades",
        "taker_buy_base",
        "taker_buy_quote",
        "ignore",
    )
    score = 3
