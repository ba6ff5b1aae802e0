"""The one list of readers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.errors import FeedError
from riskwatch.feeds.bars import Bars
from riskwatch.feeds.base import FeedReader, found
from riskwatch.feeds.candles import Candles
from riskwatch.feeds.klines import Klines
from riskwatch.feeds.ohlcvt import Ohlcvt
from riskwatch.feeds.orders import Orders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.feeds.table import Head

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


def recognise(head: Head, readers: Sequence[FeedReader] = READERS) -> FeedReader:
    """Return the reader that knows these columns best.

    Raises
    ------
    FeedError
        If none does, or two are equally sure.

    Examples
    --------
    >>> from pathlib import Path
    >>> from riskwatch.feeds import Head
    >>> recognise(Head(Path("x"), ("start", "low", "high", "open", "close", "volume"))).name
    'candles'
    """
    scores = [(reader.sniff(head), reader) for reader in readers]
    best = max(score for score, _ in scores)
    if best == 0:
        known = "; ".join(f"{reader.name}: {reader.about}" for reader in readers)
        raise FeedError(f"{head.path}: no reader knows {found(head)}. Readers: {known}")
    sure = [reader for score, reader in scores if score == best]
    if len(sure) > 1:
        names = " or ".join(reader.name for reader in sure)
        raise FeedError(f"{head.path}: could be {names}: say which by --format")
    return sure[0]
