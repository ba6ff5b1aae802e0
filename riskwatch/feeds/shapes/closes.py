"""Series of closing prices without highs and lows, and of single prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from riskwatch.core.clock import moment
from riskwatch.core.events import Quote
from riskwatch.feeds.base import OHLCV
from riskwatch.feeds.document import Form
from riskwatch.feeds.record import Reason, Tally
from riskwatch.feeds.shape import BASE, QUOTE, FileSession, FileShape, Fit, amount
from riskwatch.feeds.values import BadCellError, StepEstimator, step_text, time_us

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_TIMES: Final = (
    "open_time", "wall_clock_utc", "date", "datetime", "timestamp", "time", "snapped_at", "start",
)  # fmt: skip
_PRICES: Final = ("close", "price", "last", "close_price")
_MOST: Final = 4
"""Most columns: with more of them, a time and a price prove nothing."""


class Closes(FileShape):
    """A time and a price: the ``close`` of a bar that opens then, or a ``price`` of that moment.

    The step of closes is the commonest distance of two rows, or ``--step``.
    """

    name = "closes"
    about = "a time and a close or a price, perhaps with a volume; no high and low"
    gives = "quote"
    needs: ClassVar = (BASE, QUOTE)
    forms: ClassVar = (Form.TABLE, Form.JSON)

    def fit(self, document: Document) -> Fit:
        """Return 5 for a small table of a time and a price."""
        have = frozenset(document.columns)
        fits = have & {*_TIMES} and have & {*_PRICES} and not have & {*OHLCV[:3]}
        extra = have - {*_TIMES, *_PRICES, "volume", "index", "_key"}
        small = len(have) <= _MOST + 1 and len(extra) <= 1
        return Fit(5 if fits and small else 0)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _ClosesSession(document, labels, report, f"{labels.venue}-bars")


class _ClosesSession(FileSession):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        columns = self.document.columns
        self._time = next(name for name in _TIMES if name in columns)
        self._price = next(name for name in _PRICES if name in columns)
        self._step = self._bar() if self._price.startswith("close") else 0
        self._seen_us: dict[int, object] = {}

    def _bar(self) -> int:
        """Return the length of a bar, microseconds."""
        steps = StepEstimator()
        for record in self.document.records(Tally()):
            try:
                steps.add(time_us(record.cells[self._time]))
            except BadCellError:
                continue
        return steps.step(name=str(self.document.path), given=self.labels.step_us)

    def take(self, record: Record) -> Iterator[Event]:
        """Return the quote of a row."""
        cells, labels = record.cells, self.labels
        us = self.time(cells[self._time]) + self._step
        price = amount(cells[self._price])
        if price <= 0:
            raise BadCellError(Reason.NOT_POSITIVE, price)
        if us in self._seen_us:
            same = self._seen_us[us] == price
            raise BadCellError(Reason.DUPLICATE if same else Reason.CONFLICT, cells[self._time])
        self._seen_us[us] = price
        volume = amount(cells["volume"]) if cells.get("volume") not in (None, "") else None
        step = f"close-{step_text(self._step)}" if self._step else "price"
        yield Quote(
            v=1, event_id=f"{labels.venue}:{labels.base}{labels.quote}:{step}:{us}", ts=moment(us),
            source=self.source, venue=labels.venue, base=labels.base, quote=labels.quote,
            last=price, volume=volume,
        )  # fmt: skip
