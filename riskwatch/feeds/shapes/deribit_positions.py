"""Positions of Deribit: the answer of ``get_positions``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from riskwatch.core.clock import moment
from riskwatch.core.events import Position
from riskwatch.core.money import ZERO
from riskwatch.feeds.document import Form
from riskwatch.feeds.shape import ACCOUNT, AS_OF, FileSession, FileShape, amount, needed_name, text
from riskwatch.feeds.symbol import split_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport


class DeribitPositions(FileShape):
    """Open futures and options, signed, in units of the base.

    A future states its size in dollars, and beside it in the coin (``size_currency``).
    """

    name = "deribit-positions"
    about = "Deribit: answer of get_positions, as JSON"
    gives = "position"
    venue = "deribit"
    variants: ClassVar = (
        frozenset({"instrument_name", "kind", "size", "direction", "average_price", "mark_price",
                   "delta", "floating_profit_loss"}),
    )  # fmt: skip
    needs: ClassVar = (ACCOUNT,)
    forms: ClassVar = (Form.JSON, Form.TABLE)

    def needed(self, document: Document) -> tuple[str, ...]:
        """Return the options that are needed: the records alone have no time."""
        found = super().needed(document)
        return found if _answer_time(document) else (*found, AS_OF)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _DeribitSession(document, labels, report, self.name)


def _answer_time(document: Document) -> str:
    """Return when the venue answered, microseconds as text; empty if the file does not say it."""
    value = document.value
    return text(value.get("usOut") or value.get("usIn")) if isinstance(value, dict) else ""


class _DeribitSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return a position."""
        cells, labels = record.cells, self.labels
        stamp = _answer_time(self.document)
        us = self.time(stamp) if stamp else labels.as_of_us or 0
        instrument = needed_name(cells["instrument_name"])
        base, quote = deribit_pair(instrument)
        qty = abs(amount(text(cells.get("size_currency")) or cells["size"]))
        if text(cells["direction"]) == "sell":
            qty = qty.copy_negate()
        yield Position(
            v=1, event_id=f"{labels.account}:{instrument}:{us}", ts=moment(us), base=base,
            quote=quote, source=self.source, counterparty=labels.venue, account=labels.account,
            book=labels.book, qty=qty, instrument=instrument,
            entry_price=amount(cells["average_price"], ZERO) or None,
            mark_price=amount(cells["mark_price"], ZERO) or None,
            liquidation_price=amount(cells.get("estimated_liquidation_price"), ZERO) or None,
        )  # fmt: skip


def deribit_pair(instrument: str) -> tuple[str, str]:
    """Return base and quote of an instrument; without a quote it is in dollars.

    Examples
    --------
    >>> deribit_pair("BTC-PERPETUAL"), deribit_pair("SOL_USDC-PERPETUAL")
    (('BTC', 'USD'), ('SOL', 'USDC'))
    """
    first = instrument.partition("-")[0]
    base, _, quote = first.partition("_")
    if not quote and (found := split_pair(base)) is not None:
        return found
    return base, quote or "USD"
