"""The conformance kit passes the shipped readers, and finds each defect of a bad reader."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.checks import check_feed
from riskwatch.core.clock import MINUTE
from riskwatch.errors import FeedError
from riskwatch.feeds import Bar, Reason, Table, Tally
from riskwatch.feeds.formats import Bars, Candles, Klines, Ohlcvt
from riskwatch.feeds.orders import Orders
from tests.unit.feeds import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from riskwatch.core.events import Quote
    from riskwatch.feeds import FeedReader, Job, TableHead


@pytest.mark.parametrize(
    ("reader", "build", "name"),
    [
        (Klines(), samples.klines_csv, "k.csv"),
        (Klines(), samples.klines_parquet, "k.parquet"),
        (Candles(), samples.candles_parquet, "c.parquet"),
        (Ohlcvt(), samples.ohlcvt_parquet, "o.parquet"),
        (Ohlcvt(), samples.ohlcvt_csv, "o.csv.xz"),
        (Bars(), samples.bars_csv, "b.csv"),
        (Orders(), samples.orders_csv, "e.csv.xz"),
    ],
)
def test_our_readers_conform(
    tmp_path: Path, reader: FeedReader, build: Callable[[Path], Path], name: str
) -> None:
    """Every shipped reader meets all requirements, and uses every row of a clean file."""
    tally = check_feed(reader, build(tmp_path / name))
    assert tally.read == tally.used > 100


def test_bad_rows_are_no_breach(tmp_path: Path) -> None:
    """A file with unusable rows conforms if they are all counted."""
    lines = samples.bars_csv(tmp_path / "b.csv", 400).read_text().splitlines()
    lines[7] = lines[7].replace("1000", "nan").replace(".", "?")
    lines[10], lines[20] = lines[20], lines[10]
    lines.insert(30, "short")
    tally = check_feed(Bars(), samples.write(tmp_path / "c.csv", lines))
    assert tally.skips[Reason.WRONG_WIDTH] == 1
    assert tally.skipped == 2


def test_a_small_sample_is_refused(tmp_path: Path) -> None:
    """Too few rows cannot show that rows are streamed; the message states the minimum."""
    with pytest.raises(AssertionError, match="too small to show that rows stream"):
        check_feed(Candles(), samples.candles_parquet(tmp_path / "c.parquet", 100))


class Shy(Candles):
    """Does not recognise its own format."""

    def sniff(self, head: TableHead) -> int:
        """Match nothing."""
        return 0 * len(head.columns)


class Modest(Candles):
    """Has a lower score than the general reader."""

    name = "modest"
    score = 1


class Edited(Candles):
    """Applies `edit` to the quotes of the correct reader."""

    name = "edited"
    score = 9

    def __init__(self, edit: Callable[[list[Quote]], list[Quote]]) -> None:
        self.edit = edit

    def quotes(self, table: Table, job: Job, tally: Tally) -> Iterator[Quote]:
        """Yield the edited quotes, with a tally that matches them."""
        quotes = self.edit(list(super().quotes(table, job, tally)))
        tally.written = len(quotes)
        return iter(quotes)


def at(n: int, **changes: Any) -> Callable[[list[Quote]], list[Quote]]:
    """Return an edit that changes fields of quote `n`."""
    return lambda quotes: [
        msgspec.structs.replace(q, **changes) if i == n else q for i, q in enumerate(quotes)
    ]


class Opening(Candles):
    """Stamps bars with their opening time."""

    name = "opening"
    score = 9

    def quotes(self, table: Table, job: Job, tally: Tally) -> Iterator[Quote]:
        """Yield quotes one step early."""
        for quote in super().quotes(table, job, tally):
            yield msgspec.structs.replace(quote, ts=quote.ts - timedelta(minutes=1))


class Wandering(Candles):
    """Gives other quotes on every run."""

    name = "wandering"
    score = 9
    runs = 0

    def quotes(self, table: Table, job: Job, tally: Tally) -> Iterator[Quote]:
        """Yield quotes of a feed that depends on the number of calls."""
        self.runs += 1
        feed = replace(job.feed, venue=f"{job.feed.venue}{self.runs}")
        return super().quotes(table, replace(job, feed=feed), tally)


class Hoarding(Candles):
    """Reads the whole file before the first bar."""

    name = "hoarding"
    score = 9

    def bars(self, table: Table, tally: Tally) -> Iterator[Bar]:
        """Store every bar in memory first."""
        return iter(list(super().bars(table, tally)))


class Blind(Candles):
    """Ignores lines of a wrong width, in the survey and in the reading."""

    name = "blind"
    score = 9

    def survey(self, table: Table):  # type: ignore[no-untyped-def] # as in the base
        """Count only rows with the right width."""
        rows = sum(1 for _ in table.rows(("start",), lambda *_: None))
        return replace(super().survey(table), rows=rows)

    def bars(self, table: Table, tally: Tally) -> Iterator[Bar]:
        """Yield bars without counting the broken line."""
        for bar in super().bars(table, tally):
            tally.read -= tally.skips.pop(Reason.WRONG_WIDTH, 0)
            yield bar


@pytest.mark.parametrize(
    ("reader", "promise"),
    [
        (Shy(), "sniff must recognise"),
        (Modest(), "candles is surer of the sample"),
        (Wandering(), "two runs over one file must give equal bytes"),
        (Hoarding(), "rows must stream"),
        (Opening(), "ts must be the close of a bar"),
        (Edited(lambda _: []), "at least one quote"),
        (Edited(at(5, last=Decimal(0))), "prices must be positive"),
        (Edited(at(5, last=None)), "prices must be positive"),
        (Edited(at(5, bid=Decimal(2), ask=Decimal(1))), "bid must be below ask"),
        (Edited(at(5, last=Decimal(9))), "last its closing price"),
        (Edited(at(5, venue="elsewhere")), "must be those of the job"),
        (Edited(at(5, event_id="sample:AAAUSD:1m:1678406400")), "event_id must be unique"),
        (Edited(lambda quotes: quotes[::-1]), "ts must increase strictly"),
    ],
)
def test_a_broken_promise_is_named(tmp_path: Path, reader: FeedReader, promise: str) -> None:
    """For each requirement, a reader that fails only this one is reported with it."""
    with pytest.raises(AssertionError, match=promise):
        check_feed(reader, samples.candles_parquet(tmp_path / "c.parquet", 400))


def test_a_row_that_nobody_counts(tmp_path: Path) -> None:
    """The kit counts the rows of the file itself, independently of the reader."""
    lines = ["start,low,high,open,close,volume"]
    lines += [f"{samples.START + 60 * n},0.5,2,1,1,{n}" for n in range(800)]
    lines.insert(5, "broken")
    path = samples.write(tmp_path / "c.csv", lines)
    assert check_feed(Candles(), path, step_us=MINUTE).skipped == 1
    with pytest.raises(AssertionError, match="rows must be conserved: the file has 801, read 800"):
        check_feed(Blind(), path)


def test_a_missing_sample(tmp_path: Path) -> None:
    """A missing sample is an error of the caller, not of the reader."""
    with pytest.raises(FeedError, match="no such file"):
        check_feed(Candles(), tmp_path / "none.csv")
