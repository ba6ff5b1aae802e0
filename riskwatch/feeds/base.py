"""What a reader is, and the one that nearly every recording of bars needs."""

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


# Bars in the order of time, each once, with a bounded number of them held back.


def order_bars(bars: Iterator[Bar], window: int, tally: Tally) -> Iterator[Bar]:
    """Yield `bars` by strictly increasing opening time, holding back at most `window`.

    Of two bars with one opening time the first read is kept; the other is skipped as a
    duplicate, or as a conflict where its numbers differ. What comes after a later bar was
    passed on is skipped as out of order.

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
    """What a first look over all rows says: how many, how far apart, whether in order."""

    rows: int
    steps: StepEstimator


class FeedReader(Protocol):
    """Makes quotes of one format. Stateless: one object reads any number of files.

    Attributes
    ----------
    name : str
        What ``--format`` calls it.
    about : str
        One line: which files it reads.
    default_step_us : int or None
        Step where none is given; None infers it from the times.
    """

    name: str
    about: str
    default_step_us: int | None

    def sniff(self, head: TableHead) -> int:
        """How specific the match is, 0 for none; the highest of all readers wins."""

    def survey(self, table: Table) -> Survey:
        """Read all times once."""

    def quotes(self, table: Table, job: Job, tally: Tally) -> Iterator[Quote]:
        """Yield quotes in the order of their time, and account for every row in `tally`."""


class BarReader:
    """A reader of bars: a subclass says which columns make its format.

    Attributes
    ----------
    times : tuple of str
        Names that the column of *opening* times may have, the first one present is used.
    marks : frozenset of str
        Columns that it has beside open, high, low, close and volume.
    positions : tuple of str
        Names of the columns of a file without a header; empty if there is no such file.
    symbol : str or None
        Column that names the pair, if it may be there: rows about another are skipped.
    score : int
        What :meth:`sniff` says to a match.

    Notes
    -----
    Not guaranteed: that a file is what it says. A format that publishes closing times needs
    :meth:`bars` to subtract the step.
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
        """`score` if the columns are those of the format."""
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
                continue  # bars() will count this row, with its reason
        return Survey(rows + len(bad), steps)

    def bars(self, table: Table, tally: Tally) -> Iterator[Bar]:
        """Yield the bars in the order of the file; rows that cannot be used go to `tally`."""

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
        """Yield one quote per bar at its close; see :class:`FeedReader`."""
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
        """Columns of `head` that hold time, open, high, low, close, volume and the symbol."""
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
        """Return the columns that a file of this format has, in words."""
        needed = ", ".join((*OHLCV, *sorted(self.marks)))
        bare = f", or {len(self.positions)} columns without a header" if self.positions else ""
        return f"the {self.name} columns {needed} and a time ({' or '.join(self.times)}){bare}"


def describe_columns(head: TableHead) -> str:
    """Columns of a file in words, for an error."""
    if head.headerless:
        return f"{len(head.columns)} columns without a header"
    return ", ".join(head.columns[:30])


def quote_of(bar: Bar, job: Job) -> Quote:
    """Return the quote of a bar: `ts` is its close, `last` its closing price.

    ``event_id`` is venue, pair, step and opening second; ``source_seq`` counts bars since 1970,
    so both are the same whenever, and from whichever cut of a recording, a bar is imported.
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
