"""Aggregate trades: the archives that Binance publishes, and the answer of its interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.feeds.document import Form
from riskwatch.feeds.prints import PrintSession
from riskwatch.feeds.shape import BASE, QUOTE, FileShape, Fit, amount
from riskwatch.feeds.values import BadCellError, time_us

if TYPE_CHECKING:
    from decimal import Decimal

    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.prints import Market
    from riskwatch.feeds.shape import FileLabels, FileReport, FileSession

_WIDTHS: Final = (7, 8)
"""Columns of an archive without a header: those of futures, and those of the spot market."""
_TIME: Final = 5
_FLAG: Final = 6


class AggregateTrades(FileShape):
    """Trades of one pair; a file names neither venue nor pair."""

    name = "aggregate-trades"
    about = "aggTrades archives of Binance, with or without a header, or the answer of aggTrades"
    gives = "quote"
    variants: ClassVar = (
        frozenset({"agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id",
                   "transact_time", "is_buyer_maker"}),
        frozenset({"a", "p", "q", "f", "l", "t", "m"}),
    )  # fmt: skip
    needs: ClassVar = (BASE, QUOTE)
    is_stream = True

    def fit(self, document: Document) -> Fit:
        """Return how well a file fits; without a header, by the time and the flag of a row."""
        if document.form is Form.TABLE and document.head.headerless:
            first = document.head.first
            fits = len(first) in _WIDTHS and first[_FLAG].lower() in {"true", "false"}
            return Fit(20 if fits and _is_time(first[_TIME]) else 0)
        return super().fit(document)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _AggregateSession(document, labels, report)


class _AggregateSession(PrintSession):
    def trade(self, record: Record) -> tuple[int, Market, Decimal, Decimal | None]:
        """Return time, market, price and volume of a trade."""
        cells = record.cells
        names = next(
            names
            for names in (("transact_time", "price", "quantity"), ("t", "p", "q"), ("5", "1", "2"))
            if names[0] in cells
        )
        us, price, volume = (cells[name] for name in names)
        labels = self.labels
        market = (labels.venue, labels.base, labels.quote)
        return self.time(us), market, amount(price), amount(volume)


def _is_time(cell: str) -> bool:
    try:
        time_us(cell)
    except BadCellError:
        return False
    return True
