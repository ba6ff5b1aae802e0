"""Conformance kit for feed readers: the requirements for every reader of recordings."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import DAY, micros
from riskwatch.core.events import Quote, WireEvent
from riskwatch.feeds.base import BarReader
from riskwatch.feeds.formats import READERS, recognise
from riskwatch.feeds.importer import Plan, plan, read_quotes
from riskwatch.feeds.record import Tally
from riskwatch.feeds.table import open_table

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.feeds.base import FeedReader
    from riskwatch.feeds.table import Table

_BLOCK_BYTES: Final = 4096
_BATCH_ROWS: Final = 64
_MIN_BATCHES: Final = 4


def check_feed(
    reader: FeedReader,
    sample: Path,
    *,
    venue: str = "sample",
    base: str = "AAA",
    quote: str = "USD",
    step_us: int | None = None,
) -> Tally:
    """Check that `reader` reads `sample` as riskwatch requires.

    The reader recognises the file, and with a higher score than any other reader. Two runs give the
    same bytes. Every event decodes as a quote of the wire contract with positive, uncrossed prices.
    Ids are unique. Times increase strictly and are closes of bars on their grid. Every row of the
    file is used, or skipped with a reason. Rows are streamed, so memory does not grow with the
    file.

    Parameters
    ----------
    reader : FeedReader
        The reader to check.
    sample : Path
        A file of its format with at least some hundred rows (16 KiB of CSV, 256 rows of Parquet):
        fewer cannot show that rows are streamed.
    venue, base, quote, step_us
        As for :func:`riskwatch.feeds.plan`.

    Returns
    -------
    Tally
        Counts of the rows read, used and skipped. Check them: the kit cannot know which rows
        *should* have been used, nor whether a time that the file calls an opening is one.

    Raises
    ------
    AssertionError
        Naming the first requirement that is not met.
    FeedError
        If the file cannot be read at all.
    """

    def made() -> Plan:
        return plan(
            sample,
            venue=venue,
            base=base,
            quote=quote,
            step_us=step_us,
            reader=reader,
            table=_open_in_small_batches(sample),
        )

    _check_recognised(reader, sample)
    first, tally = made(), Tally()
    lines = _encode(first, tally)
    _require(lines == _encode(made(), Tally()), "two runs over one file must give equal bytes")
    _require(bool(lines), f"the sample must give at least one quote, skipped: {tally.skips}")
    quotes = [_decode(line) for line in lines]
    _check_quotes(quotes, first)
    _check_closes(reader, quotes, first)
    _check_rows(tally, sample, len(lines))
    _check_streams(made())
    return tally


def _require(condition: bool, requirement: str) -> None:
    if not condition:
        raise AssertionError(requirement)


def _open_in_small_batches(sample: Path) -> Table:
    return open_table(sample, block_bytes=_BLOCK_BYTES, batch_rows=_BATCH_ROWS)


def _encode(made: Plan, tally: Tally) -> list[bytes]:
    return [msgspec.json.encode(quote) for quote in read_quotes(made, tally)]


def _decode(line: bytes) -> Quote:
    event = msgspec.json.decode(line, type=WireEvent)
    if not isinstance(event, Quote):
        raise AssertionError(  # noqa: TRY004 - every unmet requirement is an AssertionError
            f"every event must be a quote, was {line.decode()}"
        )
    return event


def _check_recognised(reader: FeedReader, sample: Path) -> None:
    head = open_table(sample).head
    _require(reader.sniff(head) > 0, f"sniff must recognise the sample, columns {head.columns}")
    others = [other for other in READERS if other.name != reader.name]
    best = recognise(head, [*others, reader])
    _require(best is reader, f"{best.name} is surer of the sample: raise the score")


def _check_quotes(quotes: list[Quote], made: Plan) -> None:
    feed = made.job.feed
    for event in quotes:
        _require(
            (event.venue, event.base, event.quote) == (feed.venue, feed.base, feed.quote),
            f"venue, base and quote must be those of the job, were those of {event.event_id}",
        )
        prices = [price for price in (event.bid, event.ask, event.last) if price is not None]
        _require(bool(prices) and min(prices) > 0, f"prices must be positive: {event.event_id}")
        _require(
            event.bid is None or event.ask is None or event.bid < event.ask,
            f"bid must be below ask: {event.event_id}",
        )
    ids = {event.event_id for event in quotes}
    _require(len(ids) == len(quotes), "event_id must be unique within a feed")
    times = [event.ts for event in quotes]
    _require(
        all(a < b for a, b in pairwise(times)),
        "ts must increase strictly: rows out of order are to be put in order, or skipped",
    )


def _check_closes(reader: FeedReader, quotes: list[Quote], made: Plan) -> None:
    step_us = made.job.step_us
    times = {micros(event.ts) for event in quotes}
    off = [us for us in times if us % min(step_us, DAY)]
    _require(not off, f"ts must lie on the grid of the step: {len(off)} of {len(times)} do not")
    if isinstance(reader, BarReader):
        bars = {(bar.open_us + step_us, bar.close) for bar in reader.bars(made.table, Tally())}
        wrong = [q.event_id for q in quotes if (micros(q.ts), q.last) not in bars]
        _require(
            not wrong,
            "ts must be the close of a bar (opening time plus step) and last its closing price: "
            f"{wrong[:3]}",
        )


def _check_rows(tally: Tally, sample: Path, written: int) -> None:
    bad: list[int] = []
    table = open_table(sample)
    column = table.head.columns[0]
    rows = sum(1 for _ in table.rows((column,), lambda n, _: bad.append(n))) + len(bad)
    _require(
        tally.read == rows == tally.used + tally.skipped,
        f"rows must be conserved: the file has {rows}, read {tally.read}, used {tally.used}, "
        f"skipped {tally.skipped}",
    )
    _require(tally.written == written, f"the tally counts {tally.written} of {written} quotes")


def _check_streams(made: Plan) -> None:
    before = made.table.pulled  # the survey reads all batches once
    _require(
        before >= _MIN_BATCHES,
        f"the sample is too small to show that rows stream: {before} batches, give {_MIN_BATCHES}",
    )
    unsorted = replace(made, job=replace(made.job, window=0))
    next(iter(unsorted.reader.quotes(unsorted.table, unsorted.job, Tally())))
    _require(
        made.table.pulled - before < before,
        "rows must stream: the whole file was read before the first quote",
    )
