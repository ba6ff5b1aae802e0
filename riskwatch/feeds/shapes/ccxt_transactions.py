"""Transactions of ccxt: deposits and withdrawals."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.core.money import ZERO
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    ACCOUNT,
    FileSession,
    FileShape,
    amount,
    name_of,
    needed_name,
    text,
)
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import Event, TransferStatus
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_STATUSES: Final[dict[str, TransferStatus]] = {
    "ok": "confirmed",
    "pending": "pending",
    "failed": "failed",
    "canceled": "cancelled",
}


class CcxtTransactions(FileShape):
    """Deposits and withdrawals with their status; a fee is charged beside the amount."""

    name = "ccxt-transactions"
    about = "ccxt: fetch_deposits, fetch_withdrawals, fetch_transactions, as JSON"
    gives = "transfer"
    variants: ClassVar = (
        frozenset({"id", "txid", "timestamp", "address", "type", "amount", "currency", "status",
                   "fee"}),
    )  # fmt: skip
    needs: ClassVar = (ACCOUNT,)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _CcxtTransactionsSession(document, labels, report, f"{labels.venue}-ccxt")


class _CcxtTransactionsSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the transfer of a transaction."""
        cells = record.cells
        us, direction = self.time(cells["timestamp"]), text(cells["type"]).lower()
        status = _STATUSES.get(text(cells["status"]).lower())
        if status is None:
            raise BadCellError(Reason.UNKNOWN_STATUS, cells["status"])
        if direction not in {"deposit", "withdrawal"}:
            raise BadCellError(Reason.UNKNOWN_SIDE, cells["type"])
        asset, value = needed_name(cells["currency"]), amount(cells["amount"])
        fee = cells["fee"] if isinstance(cells["fee"], dict) else {}
        cost = amount(fee.get("cost"), ZERO)
        entry = text(cells["id"]) or text(cells["txid"])
        yield self.movement(
            entry, us, asset, value, direction=direction, status=status, fee=cost or None,
            fee_asset=(name_of(fee.get("currency")) or asset) if cost else None,
            network=name_of(cells.get("network")) or None, tx_id=text(cells["txid"]) or None,
            address=text(cells["address"]) or None,
        )  # fmt: skip
