"""The import of a recording: open the file, choose a reader, survey the rows, read the quotes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from riskwatch.errors import FeedError
from riskwatch.feeds.formats import reader_named, recognise
from riskwatch.feeds.record import Job, Tally
from riskwatch.feeds.symbol import feed_of
from riskwatch.feeds.table import Table, open_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from riskwatch.core.events import Quote
    from riskwatch.feeds.base import FeedReader

MAX_WINDOW: Final = 100_000
"""Most rows that are buffered to sort a file; about 80 MB."""


@dataclass(frozen=True)
class Plan:
    """A recording after its survey, ready to be read.

    Attributes
    ----------
    table, reader, job
        The rows, the reader of their format, and the options of the import.
    rows : int
        Rows of data in the file.
    """

    table: Table
    reader: FeedReader
    job: Job
    rows: int


def plan(
    path: Path,
    *,
    fmt: str = "auto",
    venue: str | None = None,
    base: str | None = None,
    quote: str | None = None,
    step_us: int | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
    reader: FeedReader | None = None,
    table: Table | None = None,
) -> Plan:
    """Survey a recording and decide how to read it.

    Parameters
    ----------
    path : Path
        The file.
    fmt : str
        Name of a reader, or ``auto`` for the one that recognises the columns.
    venue, base, quote : str, optional
        The feed, if the file name does not contain it.
    step_us : int, optional
        Bar length in microseconds; by default the most common distance between rows.
    since_us, until_us : int, optional
        Only quotes with ``since_us <= ts < until_us`` are read.
    reader, table : optional
        Used instead of the reader that `fmt` selects, and instead of opening `path`.

    Raises
    ------
    FeedError
        If the file, its format, its step or its feed is ambiguous or unusable; the message names
        the option that decides.
    """
    table = open_table(path) if table is None else table
    if reader is None:
        reader = recognise(table.head) if fmt == "auto" else reader_named(fmt)
    survey = reader.survey(table)
    if survey.rows == 0:
        raise FeedError(f"{path}: has a header but no rows")
    feed = feed_of(path, venue, base, quote)
    given = reader.default_step_us if step_us is None else step_us
    job = Job(
        feed=feed,
        step_us=survey.steps.step(name=str(path), given=given),
        window=0 if survey.steps.ordered else MAX_WINDOW,
        since_us=since_us,
        until_us=until_us,
    )
    return Plan(table, reader, job, survey.rows)


def read_quotes(made: Plan, tally: Tally) -> Iterator[Quote]:
    """Yield the quotes of a recording by increasing time, and fill `tally`.

    Raises
    ------
    FeedError
        If the file is damaged, or the reader did not count every row.
    """
    yield from made.reader.quotes(made.table, made.job, tally)
    if tally.read != tally.used + tally.skipped or tally.read != made.rows:
        raise FeedError(
            f"{made.table.head.path}: reader {made.reader.name} lost rows: the file has "
            f"{made.rows}, read {tally.read}, used {tally.used}, skipped {tally.skipped}"
        )
