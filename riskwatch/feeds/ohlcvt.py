"""OHLCVT: bars with a count of trades, as Kraken publishes them."""

from __future__ import annotations

from riskwatch.feeds.base import BarReader


class Ohlcvt(BarReader):
    """Open, high, low, close, volume, trades; the time is a column or a data frame's index.

    The archives of the venue have no header: time (epoch seconds), then the six. A minute
    without a trade has no row.
    """

    name = "ohlcvt"
    about = "open, high, low, close, volume, trades; or headerless time,o,h,l,c,v,trades"
    times = ("timestamp", "time", "date", "datetime", "index")
    marks = frozenset({"trades"})
    positions = ("time", "open", "high", "low", "close", "volume", "trades")
    score = 2
