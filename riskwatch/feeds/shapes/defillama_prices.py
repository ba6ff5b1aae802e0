"""Prices of DefiLlama: the answers of its current, historical and chart endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from riskwatch.core.clock import moment
from riskwatch.core.events import Quote
from riskwatch.feeds.document import Form, Record
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import FileSession, FileShape, amount, needed_name, text
from riskwatch.feeds.values import BadCellError, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import Event
    from riskwatch.feeds.document import Document
    from riskwatch.feeds.shape import FileLabels, FileReport

SURE = number("0.9")
"""Confidence below which a price is told as unsure."""


class DefillamaPrices(FileShape):
    """Prices in dollars, by coin; a coin is named by its symbol.

    Another token of one symbol (a bridged one, say) has its chain in its name. So it is no asset
    that reference data lists.
    """

    name = "defillama-prices"
    about = "DefiLlama: answers of prices/current, prices/historical and chart, as JSON"
    gives = "quote"
    venue = "defillama"
    variants: ClassVar = (
        frozenset({"_key", "symbol", "price", "timestamp"}),
        frozenset({"_key", "symbol", "prices"}),
    )
    needs: ClassVar = ()
    forms: ClassVar = (Form.JSON,)

    def records(self, document: Document, report: FileReport) -> Iterator[Record]:
        """Yield one record for each price."""
        row = 0
        for coin in document.records(type(report.tally)()):
            prices = coin.cells.get("prices")
            each: list[dict[str, Any]] = prices if isinstance(prices, list) else [{}]
            for price in each:
                row += 1
                report.tally.read += 1
                yield Record(row, {**coin.cells, **price})

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _DefillamaSession(document, labels, report, self.name)


class _DefillamaSession(FileSession):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._keys: dict[str, str] = {}

    def take(self, record: Record) -> Iterator[Event]:
        """Return the quote of a price."""
        cells = record.cells
        us, price = self.time(cells["timestamp"]), amount(cells["price"])
        if price <= 0:
            raise BadCellError(Reason.NOT_POSITIVE, price)
        key, symbol = text(cells["_key"]), needed_name(cells["symbol"]).upper()
        if self._keys.setdefault(symbol, key) != key:
            symbol = f"{symbol}@{needed_name(key.partition(':')[0])}"
        if amount(cells.get("confidence"), SURE) < SURE:
            self.report.unknown[f"price of {symbol}: confidence below {SURE}"] += 1
        yield Quote(
            v=1, event_id=f"{key}:{us}", ts=moment(us), source=self.source, venue=self.labels.venue,
            base=symbol, quote="USD", last=price,
        )  # fmt: skip
