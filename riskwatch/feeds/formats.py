"""The recording formats: readers of bars, and the list of all readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.errors import FeedError
from riskwatch.feeds.base import BarReader, FeedReader, describe_columns
from riskwatch.feeds.orders import Orders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.feeds.table import TableHead


class Bars(BarReader):
    """Any table with a time column and the columns open, high, low, close and volume.

    This is the most general reader, so every more specific reader takes precedence. Times without a
    zone are UTC and mean the opening of the bar. With a `ticker` column, rows about another pair
    than that of the first row are skipped.
    """

    name = "bars"
    about = "date or wall_clock_utc, open, high, low, close, volume; any bar length"
    times = ("wall_clock_utc", "date", "datetime", "timestamp", "time", "index")
    symbol = "ticker"
    score = 1


class Candles(BarReader):
    """Candles of Coinbase's interface; the opening time is `start`, in epoch seconds, often text.

    A minute without a trade has no row.
    """

    name = "candles"
    about = "start, low, high, open, close, volume (start in epoch seconds), CSV or Parquet"
    times = ("start",)
    score = 3


class Klines(BarReader):
    """The 12-column klines of Binance and similar exchanges.

    The columns are open_time, open, high, low, close, volume, close_time and five more, with or
    without a header. Times are in milliseconds or (from 2025 on) microseconds. Prices are text or
    floats. For a minute without a trade, the venue repeats the last price with volume 0. The reader
    keeps such bars, because zero volume identifies a stale book.
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


class Ohlcvt(BarReader):
    """Kraken's bars: open, high, low, close, volume and a count of trades.

    The time is a column or the index of a data frame. The archives of the venue have no header:
    time (epoch seconds), then the six columns. A minute without a trade has no row.
    """

    name = "ohlcvt"
    about = "open, high, low, close, volume, trades; or headerless time,o,h,l,c,v,trades"
    times = ("timestamp", "time", "date", "datetime", "index")
    marks = frozenset({"trades"})
    positions = ("time", "open", "high", "low", "close", "volume", "trades")
    score = 2


READERS: Final[tuple[FeedReader, ...]] = (Klines(), Candles(), Ohlcvt(), Bars(), Orders())
"""Every reader that ``riskwatch import`` uses. Register a reader by adding it here."""


def reader_named(name: str, readers: Sequence[FeedReader] = READERS) -> FeedReader:
    """Return the reader of the format `name`, as given to ``--format``.

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
    """Return the reader with the most specific match of these columns.

    Raises
    ------
    FeedError
        If no reader matches, or two match equally well.

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
