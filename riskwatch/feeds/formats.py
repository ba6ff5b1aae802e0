"""The one list of readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.errors import FeedError
from riskwatch.feeds.base import BarReader, FeedReader, describe_columns
from riskwatch.feeds.orders import Orders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.feeds.table import TableHead


# Bars: any table with a named time column and open, high, low, close, volume.


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


# Candles: start, low, high, open, close, volume, as Coinbase's interface gives them.


class Candles(BarReader):
    """Candles whose opening time is called `start`: epoch seconds, often as text.

    A minute without a trade has no row.
    """

    name = "candles"
    about = "start, low, high, open, close, volume (start in epoch seconds), CSV or Parquet"
    times = ("start",)
    score = 3


# Klines: the twelve columns that Binance and its relatives publish.


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


# OHLCVT: bars with a count of trades, as Kraken publishes them.


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


READERS: Final[tuple[FeedReader, ...]] = (Klines(), Candles(), Ohlcvt(), Bars(), Orders())
"""Every reader that ``riskwatch import`` knows. Register one by adding it here."""


def reader_named(name: str, readers: Sequence[FeedReader] = READERS) -> FeedReader:
    """Return the reader that ``--format`` names.

    Raises
    ------
    FeedError
        If there is none.

    Examples
    --------
    >>> reader_named("klines").name
    'klines'
    """
    for reader in readers:
        if reader.name == name:
            return reader
    known = ", ".join(reader.name for reader in readers)
    raise FeedError(f"--format must be auto or one of {known}, was {name!r}")


def recognise(head: TableHead, readers: Sequence[FeedReader] = READERS) -> FeedReader:
    """Return the reader that knows these columns best.

    Raises
    ------
    FeedError
        If none does, or two are equally sure.

    Examples
    --------
    >>> from pathlib import Path
    >>> from riskwatch.feeds import TableHead
    >>> recognise(TableHead(Path("x"), ("start", "low", "high", "open", "close", "volume"))).name
    'candles'
    """
    scores = [(reader.sniff(head), reader) for reader in readers]
    best = max(score for score, _ in scores)
    if best == 0:
        known = "; ".join(f"{reader.name}: {reader.about}" for reader in readers)
        raise FeedError(f"{head.path}: no reader knows {describe_columns(head)}. Readers: {known}")
    sure = [reader for score, reader in scores if score == best]
    if len(sure) > 1:
        names = " or ".join(reader.name for reader in sure)
        raise FeedError(f"{head.path}: could be {names}: say which by --format")
    return sure[0]
