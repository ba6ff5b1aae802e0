"""A bank's table with columns that the caller names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from riskwatch.core.money import sub
from riskwatch.feeds.document import Form, normalise_field
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    ACCOUNT,
    MAP,
    FileSession,
    FileShape,
    Fit,
    amount,
    needed_name,
    text,
)
from riskwatch.feeds.values import BadCellError, number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from typing import Any

    from riskwatch.core.events import Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport


class BankCsv(FileShape):
    """Entries of one account; it is used only by its name, since any table could be one.

    ``date`` and ``amount`` (or ``debit`` and ``credit``) are needed. ``currency`` is a column, or
    a code of three letters. ``date_format`` and ``decimal`` say how dates and numbers are written.
    """

    name = "bank-csv"
    about = "table of a bank, with --format bank-csv and --map MEANING=COLUMN"
    gives = "transfer, balance"
    needs: ClassVar = (ACCOUNT, MAP)
    forms: ClassVar = (Form.TABLE,)

    def fit(self, document: Document) -> Fit:
        """Return that nothing proves a file to be one."""
        del document
        return Fit(0)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _BankCsvSession(document, labels, report, f"{labels.venue}-statement")


class _BankCsvSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the transfer of an entry."""
        us = self._day(self._cell(record, "date"))
        change = self._change(record)
        if not change:
            raise BadCellError(Reason.NO_EFFECT, change)
        currency = self.labels.mapping.get("currency", "")
        column = normalise_field(currency) in record.cells
        asset = needed_name(self._cell(record, "currency") if column else currency)
        if "balance" in self.labels.mapping:
            self.state(us, record.row, asset, (change, self._number(record, "balance")))
        entry = self._cell(record, "id") if "id" in self.labels.mapping else ""
        yield self.movement(entry or self.row_id(record), us, asset, change)

    def _cell(self, record: Record, meaning: str) -> str:
        column = self.labels.mapping.get(meaning)
        if column is None:
            raise BadCellError(Reason.MISSING, f"--map {meaning}=COLUMN")
        cells: Any = record.cells
        if normalise_field(column) not in cells:
            raise BadCellError(Reason.MISSING, f"column {column}")
        return text(cells[normalise_field(column)])

    def _number(self, record: Record, meaning: str) -> Decimal:
        """Return a number in the bank's own writing."""
        found = self._cell(record, meaning)
        if self.labels.mapping.get("decimal", ".") in {",", "comma"}:
            return number(found.replace(".", "").replace(",", "."))
        return amount(found)

    def _change(self, record: Record) -> Decimal:
        mapping = self.labels.mapping
        if "amount" in mapping:
            return self._number(record, "amount")
        parts = [
            abs(self._number(record, part)) if self._cell(record, part) else number("0")
            for part in ("credit", "debit")
        ]
        return sub(*parts)

    def _day(self, found: str) -> int:
        pattern = self.labels.mapping.get("date_format")
        if pattern is None:
            return self.time(found)
        try:
            at = datetime.strptime(found, pattern).replace(tzinfo=UTC)
        except ValueError:
            raise BadCellError(Reason.BAD_TIME, found) from None
        return self.time(at.strftime("%Y-%m-%d %H:%M:%S"))
