"""Reader of order events: it rebuilds one venue's book and makes quotes with depth."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal, cast

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.events import Quote
from riskwatch.core.money import EXACT, canonical
from riskwatch.errors import FeedError
from riskwatch.feeds.base import Survey, describe_columns
from riskwatch.feeds.book import Book, BookSide, RestingOrder
from riskwatch.feeds.record import Job, Reason, Tally
from riskwatch.feeds.values import BadCellError, Cell, StepEstimator, number, step_text, time_us

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.feeds.table import Table, TableHead

Action = Literal["created", "changed", "deleted"]

COLUMNS: Final = ("timestamp", "id", "price", "volume", "action", "direction")
DEPTH_BPS: Final = (5, 10, 25, 50, 100, 200)
_SCALE: Final = 8


class Orders:
    """Reads rows created/changed/deleted of one book, sizes in integers of 1e-8 (satoshi).

    It yields one quote at the end of every step that has at least one event; the default step is 1
    s. A recording begins with an empty book, so in its first minutes the book contains only the
    orders placed since. A book that is crossed at the end of a step is in the middle of a match,
    and part of its events is still missing. The reader then makes no quote, and counts it as
    withheld.
    """

    name = "orders"
    about = "order book events (id, timestamp, price, volume, action, direction), CSV"
    default_step_us: int | None = SECOND

    def sniff(self, head: TableHead) -> int:
        """Return 3 if all columns are present, else 0."""
        return 3 if set(head.columns).issuperset(COLUMNS) else 0

    def survey(self, table: Table) -> Survey:
        """Count the rows; the step is not inferred for a book."""
        self._check(table.head)
        bad: list[int] = []
        rows = sum(1 for _ in table.rows(("timestamp",), lambda n, _: bad.append(n)))
        return Survey(rows + len(bad), StepEstimator())

    def quotes(self, table: Table, job: Job, tally: Tally) -> Iterator[Quote]:
        """Yield the state of the book at the end of every step with an event."""
        self._check(table.head)

        def bad_row(row: int, line: str) -> None:
            tally.read += 1
            tally.skip(row, Reason.WRONG_WIDTH, line)

        book, end_us, changed = Book(), 0, False
        for row, cells in table.rows(COLUMNS, bad_row):
            tally.read += 1
            try:
                at = time_us(cells[0])
                if end_us and at < end_us - job.step_us:
                    raise BadCellError(Reason.OUT_OF_ORDER, cells[0])  # noqa: TRY301 - one place counts skips
                if at >= end_us:
                    if changed:
                        yield from _state(book, end_us, job, tally)
                    end_us, changed = (at // job.step_us + 1) * job.step_us, False
                _apply(book, cells)
            except BadCellError as bad:
                tally.skip(row, bad.reason, bad.detail)
                continue
            changed = True
            tally.used += 1
        if changed:
            yield from _state(book, end_us, job, tally)

    def _check(self, head: TableHead) -> None:
        if self.sniff(head) == 0:
            raise FeedError(
                f"{head.path}: expected the orders columns {', '.join(COLUMNS)}, found "
                f"{describe_columns(head)}"
            )


def _apply(book: Book, cells: tuple[Cell, ...]) -> None:
    """Apply one row to the book, or raise the reason why it cannot be used."""
    order_id = str(cells[1])
    action, side = str(cells[4]), str(cells[5])
    if action not in {"created", "changed", "deleted"} or side not in {"bid", "ask"}:
        raise BadCellError(Reason.NOT_AN_ORDER, f"{action} {side}")
    price, size = number(cells[2]), number(cells[3])
    if price <= 0:
        raise BadCellError(Reason.NOT_POSITIVE, price)
    if size < 0:
        raise BadCellError(Reason.NEGATIVE_VOLUME, size)
    if action == "deleted":
        again = book.is_deleted(order_id)
        if not book.delete(order_id):
            raise BadCellError(Reason.DUPLICATE if again else Reason.UNKNOWN_ORDER, order_id)
        return
    if book.is_deleted(order_id):
        raise BadCellError(Reason.DELETED_ORDER, order_id)
    if action == "created" and order_id in book:
        raise BadCellError(Reason.DUPLICATE, order_id)
    # A change contains the whole order, so it may be of an order from before the recording.
    order = RestingOrder(cast("BookSide", side), _units(price, _SCALE), _units(size, 0))
    book.put(order_id, order)


def _units(value: Decimal, scale: int) -> int:
    units = EXACT.scaleb(value, scale)
    if units != int(units):
        raise BadCellError(Reason.NOT_A_NUMBER, f"{value} is no multiple of 1e-{scale}")
    return int(units)


def _state(book: Book, end_us: int, job: Job, tally: Tally) -> Iterator[Quote]:
    bid, ask = book.best("bid"), book.best("ask")
    if bid is None or ask is None:
        tally.withheld["one_sided"] += 1
    elif book.crossed():
        tally.withheld["crossed"] += 1
    elif not job.accepts(end_us):
        tally.withheld["outside_range"] += 1
    else:
        tally.count_written(end_us)
        feed = job.feed
        step = step_text(job.step_us)
        yield Quote(
            v=1,
            event_id=f"{feed.venue}:{feed.base}{feed.quote}:book-{step}:{end_us // SECOND}",
            ts=moment(end_us),
            source=f"{feed.venue}-book",
            source_seq=end_us // job.step_us,
            venue=feed.venue,
            base=feed.base,
            quote=feed.quote,
            bid=_decimal(bid.price),
            ask=_decimal(ask.price),
            bid_size=_decimal(bid.size),
            ask_size=_decimal(ask.size),
            depth=[(Decimal(n), _decimal(b), _decimal(a)) for n, b, a in book.depth(DEPTH_BPS)],
        )


def _decimal(units: int) -> Decimal:
    return canonical(Decimal(units).scaleb(-_SCALE))
