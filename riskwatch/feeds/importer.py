"""From a file to quotes: open, recognise, survey, read; every row accounted for."""

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
"""Most rows that are held back to put a file in order; about 80 MB."""


@dataclass(frozen=True)
class Plan:
    """A recording that was looked over and can be read.

    Attributes
    ----------
    table, reader, job
        What is read, by whom, into what.
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
    """Look over a recording and decide how to read it.

    Parameters
    ----------
    path : Path
        The file.
    fmt : str
        Name of a reader, or ``auto`` for the one that recognises the columns.
    venue, base, quote : str, optional
        The feed, where the file name does not say it.
    step_us : int, optional
        Bar length in microseconds; otherwise the commonest distance between rows.
    since_us, until_us : int, optional
        Only quotes with ``since_us <= ts < until_us``.
    reader, table : optional
        Instead of one found by `fmt`, and instead of opening `path`.

    Raises
    ------
    FeedError
        If the file, its format, its step or its feed is in doubt; the message says which
        option decides.
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
        If the file is damaged, or the reader lost a row: then nothing can be trusted.
    """
    yield from made.reader.quotes(made.table, made.job, tally)
    if tally.read != tally.used + tally.skipped or tally.read != made.rows:
        raise FeedError(
            f"{made.table.head.path}: reader {made.reader.name} lost rows: the file has "
            f"{made.rows}, read {tally.read}, used {tally.used}, skipped {tally.skipped}"
        )
