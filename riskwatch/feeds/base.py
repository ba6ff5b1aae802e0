"""The protocol of a feed reader, and the base class of readers of bars."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.events import Quote
from riskwatch.errors import FeedError
from riskwatch.feeds.record import Bar, Job, Reason, Tally
from riskwatch.feeds.values import BadCellError, Cell, StepEstimator, number, step_text, time_us

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.feeds.table import Table, TableHead


def order_bars(bars: Iterator[Bar], window: int, tally: Tally) -> Iterator[Bar]:
    """Yield `bars` by strictly increasing opening time, buffering at most `window` bars.

    Of two bars with the same opening time, the first one read is yielded. The other one is skipped
    as a duplicate, or as a conflict if its numbers differ. A bar that is older than a bar already
    yielded is skipped as out of order.

    Examples
    --------
    >>> from decimal import Decimal
    >>> one = Decimal(1)
    >>> rows = [Bar(n, t, one, one, one, one, one) for n, t in enumerate((3, 1, 2, 2, 5, 0))]
    >>> tally = Tally()
    >>> [bar.open_us for bar in order_bars(iter(rows), 2, tally)], dict(tally.skips)
    ([1, 2, 3, 5], {<Reason.DUPLICATE: 'duplicate'>: 1, <Reason.OUT_OF_ORDER: 'out_of_order'>: 1})
    """
    held: dict[int, Bar] = {}
    times: list[int] = []
    last: Bar | None = None
    for bar in bars:
        twin = last if last is not None and last.open_us == bar.open_us else held.get(bar.open_us)
        if twin is not None:
            tally.skip(bar.row, _is_same_bar(twin, bar), f"row {twin.row}")
        elif last is not None and bar.open_us < last.open_us:
            tally.skip(bar.row, Reason.OUT_OF_ORDER, f"row {last.row} was passed on")
        else:
            held[bar.open_us] = bar
            heappush(times, bar.open_us)
            if len(times) > window:
                last = held.pop(heappop(times))
                yield last
    while times:
        yield held.pop(heappop(times))


def _is_same_bar(first: Bar, second: Bar) -> Reason:
    same = (first.open, first.high, first.low, first.close, first.volume) == (
        second.open,
        second.high,
        second.low,
        second.close,
        second.volume,
    )
    return Reason.DUPLICATE if same else Reason.CONFLICT


OHLCV: Final = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Survey:
    """The result of a first pass over all rows: their number, their step and their order."""

    rows: int
    steps: StepEstimator


class FeedReader(Protocol):
    """Makes quotes from one format. Stateless: one object reads any number of files.

    Attributes
    ----------
    name : str
        Name of the format for ``--format``.
    about : str
        One line about the files that it reads.
    default_step_us : int or None
        Step that is used if none is given; ``None`` infers it from the times.
    """

    name: str
    about: str
    default_step_us: int | None

    def sniff(self, head: TableHead) -> int:
        """Return how specific the match is, 0 for none; the highest of all readers wins."""

    def survey(self, table: Table) -> Survey:
        """Read all times once."""

    def quotes(self, table: Table, job: Job, tally: Tally) -> Iterator[Quote]:
        """Yield quotes in the order of their time, and count every row in `tally`."""


class BarReader:
    """Base of the readers of bars. A subclass names the columns of its format.

    Attributes
    ----------
    times : tuple of str
        Possible names of the column of *opening* times; the first one present is used.
    marks : frozenset of str
        Columns of the format beside open, high, low, close and volume.
    positions : tuple of str
        Names of the columns of a file without a header; empty if there is no such file.
    symbol : str or None
        Column that names the pair, if the format may have one. Rows about another pair are skipped.
    score : int
        Return value of :meth:`sniff` for a match.

    Notes
    -----
    The reader does not guarantee that the content of a file is correct. A format that publishes
    closing times needs :meth:`bars` to subtract the step.
    """

    name: str
    about: str
    default_step_us: int | None = None
    times: ClassVar[tuple[str, ...]]
    marks: ClassVar[frozenset[str]] = frozenset()
    positions: ClassVar[tuple[str, ...]] = ()
    symbol: ClassVar[str | None] = None
    score: ClassVar[int] = 2

    def sniff(self, head: TableHead) -> int:
        """Return `score` if the columns are those of the format, else 0."""
        if head.headerless:
            fits = len(head.columns) == len(self.positions) and _is_time(
                head.first[self._positions_of(self.times)]
            )
        else:
            names = frozenset(head.columns)
            fits = names.issuperset(OHLCV) and names.issuperset(self.marks)
            fits = fits and not names.isdisjoint(self.times)
        return self.score if fits else 0

    def survey(self, table: Table) -> Survey:
        """Read the column of times once."""
        steps, rows = StepEstimator(), 0
        bad: list[int] = []
        for _, (cell,) in table.rows(self._columns(table.head)[:1], lambda n, _: bad.append(n)):
            rows += 1
            try:
                steps.add(time_us(cell))
            except BadCellError:
                continue  # bars() counts this row, with its reason
        return Survey(rows + len(bad), steps)

    def bars(self, table: Table, tally: Tally) -> Iterator[Bar]:
        """Yield the bars in the order of the file; count rows that cannot be used in `tally`."""

        def bad_row(row: int, line: str) -> None:
            tally.read += 1
            tally.skip(row, Reason.WRONG_WIDTH, line)

        columns = self._columns(table.head)
        symbol: Cell = None
        for row, cells in table.rows(columns, bad_row):
            tally.read += 1
            if len(columns) > len(OHLCV) + 1:
                symbol = cells[-1] if symbol is None else symbol
                if cells[-1] != symbol:
                    tally.skip(row, Reason.OTHER_SYMBOL, f"{cells[-1]}, first row: {symbol}")
                    continue
            try:
                yield _bar(row, cells)
            except BadCellError as bad:
                tally.skip(row, bad.reason, bad.detail)

    def quotes(self, table: Table, job: Job, tally: Tally) -> Iterator[Quote]:
        """Yield one quote per bar, at its close; see :class:`FeedReader`."""
        for bar in order_bars(self.bars(table, tally), job.window, tally):
            close_us = bar.open_us + job.step_us
            if not job.accepts(close_us):
                tally.skip(bar.row, Reason.OUTSIDE_RANGE)
                continue
            tally.used += 1
            tally.count_written(close_us, job.step_us)
            yield quote_of(bar, job)

    def _positions_of(self, names: tuple[str, ...]) -> int:
        return next(n for n, name in enumerate(self.positions) if name in names)

    def _columns(self, head: TableHead) -> list[str]:
        """Return the columns of `head` for time, open, high, low, close, volume and symbol."""
        if self.sniff(head) == 0:
            raise FeedError(
                f"{head.path}: expected {self.expected()}, found {describe_columns(head)}"
            )
        if head.headerless:
            return [
                str(self._positions_of(names)) for names in (self.times, *((n,) for n in OHLCV))
            ]
        time = next(name for name in self.times if name in head.columns)
        tail = [self.symbol] if self.symbol in head.columns and self.symbol is not None else []
        return [time, *OHLCV, *tail]

    def expected(self) -> str:
        """Return a text that lists the columns of this format."""
        needed = ", ".join((*OHLCV, *sorted(self.marks)))
        bare = f", or {len(self.positions)} columns without a header" if self.positions else ""
        return f"the {self.name} columns {needed} and a time ({' or '.join(self.times)}){bare}"


def describe_columns(head: TableHead) -> str:
    """Return a text that lists the columns of a file, for an error message."""
    if head.headerless:
        return f"{len(head.columns)} columns without a header"
    return ", ".join(head.columns[:30])


def quote_of(bar: Bar, job: Job) -> Quote:
    """Return the quote of a bar: `ts` is its close, `last` its closing price.

    ``event_id`` consists of venue, pair, step and opening second. ``source_seq`` counts bars since
    1970. Both are therefore the same for every import of the bar, from any part of a recording.
    """
    feed = job.feed
    whole, rest = divmod(bar.open_us, SECOND)
    opened = f"{whole}.{rest:06d}" if rest else str(whole)
    return Quote(
        v=1,
        event_id=f"{feed.venue}:{feed.base}{feed.quote}:{step_text(job.step_us)}:{opened}",
        ts=moment(bar.open_us + job.step_us),
        source=f"{feed.venue}-bars",
        source_seq=bar.open_us // job.step_us,
        venue=feed.venue,
        base=feed.base,
        quote=feed.quote,
        last=bar.close,
        volume=bar.volume,
    )


def _bar(row: int, cells: tuple[Cell, ...]) -> Bar:
    opened = time_us(cells[0])
    first, high, low, close, volume = (number(cell) for cell in cells[1:6])
    if min(first, high, low, close) <= 0:
        raise BadCellError(Reason.NOT_POSITIVE, min(first, high, low, close))
    if volume < 0:
        raise BadCellError(Reason.NEGATIVE_VOLUME, volume)
    if high < low:
        raise BadCellError(Reason.HIGH_BELOW_LOW, f"high {high}, low {low}")
    if not low <= close <= high:
        raise BadCellError(Reason.CLOSE_OUTSIDE, f"close {close}, low {low}, high {high}")
    return Bar(row, opened, first, high, low, close, volume)


def _is_time(cell: Cell) -> bool:
    try:
        time_us(cell)
    except BadCellError:
        return False
    return True
