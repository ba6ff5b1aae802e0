"""FTX's exports: trades, deposits and withdrawals, and funding payments."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.core.money import ZERO
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    FileSession,
    FileShape,
    amount,
    digits_of,
    needed_name,
    pair_of,
    side_of,
    text,
    value_of,
)
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import Event, FillKind, TransferStatus
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_STATUSES: Final[dict[str, TransferStatus]] = {
    "complete": "confirmed",
    "confirmed": "confirmed",
    "requested": "requested",
    "initiated": "pending",
    "unconfirmed": "pending",
    "processing": "pending",
    "pending": "pending",
    "sent": "sent",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "failed": "failed",
}


class FtxTrades(FileShape):
    """Own trades of markets such as ``BTC/USD``, ``BTC-PERP`` and ``BTC-0325``."""

    name = "ftx-trades"
    about = "FTX: export of trades, or the answer of fills"
    gives = "fill"
    venue = "ftx"
    variants: ClassVar = (
        frozenset({"id", "time", "market", "side", "order_type", "size", "price", "fee",
                   "fee_currency"}),
        frozenset({"id", "time", "market", "side", "type", "size", "price", "fee", "feecurrency"}),
    )  # fmt: skip

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _FtxTradesSession(document, labels, report, self.name)


class FtxTransfers(FileShape):
    """Deposits or withdrawals; a file has one direction."""

    name = "ftx-transfers"
    about = "FTX: export of deposits or of withdrawals, or the answers of them"
    gives = "transfer"
    venue = "ftx"
    variants: ClassVar = (
        frozenset({"time", "coin", "amount", "status", "additional_info", "transaction_id"}),
        frozenset({"id", "time", "coin", "size", "status", "txid"}),
        frozenset({"time", "coin", "amount", "destination", "status", "transaction_id", "fee"}),
        frozenset({"id", "time", "coin", "size", "address", "status", "txid", "fee"}),
    )

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _FtxTransfersSession(document, labels, report, self.name)


class FtxFunding(FileShape):
    """Funding payments in dollars; a positive payment is what the account paid."""

    name = "ftx-funding"
    about = "FTX: export of funding payments, or the answer of them"
    gives = "adjustment"
    venue = "ftx"
    variants: ClassVar = (frozenset({"time", "future", "payment", "rate"}),)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _FtxFundingSession(document, labels, report, self.name)


class _FtxTradesSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the fill of a trade."""
        cells = record.cells
        us, market = self.time(cells["time"]), text(cells["market"])
        qty, price = amount(cells["size"]), amount(cells["price"])
        if text(cells.get("total")):
            self.report.compare(
                value_of(qty, price), amount(cells["total"]), digits_of(cells["total"])
            )
        fee = amount(cells["fee"], ZERO)
        kind: FillKind = "spot"
        if "/" not in market:
            kind = "perp" if market.endswith("-PERP") else "future"
        yield self.fill(
            text(cells["id"]), us, ftx_pair(market), side_of(cells["side"]), qty, price,
            fee=fee or None, kind=kind, instrument=None if kind == "spot" else market,
            fee_asset=needed_name(cells.get("fee_currency") or cells.get("feecurrency"))
            if fee else None,
        )  # fmt: skip


class _FtxTransfersSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the transfer of an entry."""
        cells = record.cells
        us, asset = self.time(cells["time"]), needed_name(cells["coin"])
        status = _STATUSES.get(text(cells["status"]).lower())
        if status is None:
            raise BadCellError(Reason.UNKNOWN_STATUS, cells["status"])
        address = text(cells.get("destination") or cells.get("address"))
        out = "fee" in cells and ("destination" in cells or "address" in cells)
        out = out and "confirmations" not in cells
        fee = amount(cells.get("fee"), ZERO) if out else ZERO
        tx_id = text(cells.get("transaction_id") or cells.get("txid"))
        yield self.movement(
            text(cells.get("id")) or self.row_id(record), us, asset,
            amount(cells.get("amount", cells.get("size"))), status=status, fee=fee or None,
            direction="withdrawal" if out else "deposit", tx_id=tx_id or None,
            address=address or None,
        )  # fmt: skip


class _FtxFundingSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the adjustment of a payment."""
        cells = record.cells
        paid = amount(cells["payment"])
        if not paid:
            raise BadCellError(Reason.NO_EFFECT, cells["future"])
        yield self.adjustment(
            text(cells.get("id")) or self.row_id(record), self.time(cells["time"]), "USD",
            paid.copy_negate(), "funding", instrument=text(cells["future"]) or None,
        )  # fmt: skip


def ftx_pair(market: str) -> tuple[str, str]:
    """Return base and quote of a market; a future is in dollars.

    Examples
    --------
    >>> ftx_pair("BTC/USD"), ftx_pair("ETH-PERP"), ftx_pair("BTC-0325")
    (('BTC', 'USD'), ('ETH', 'USD'), ('BTC', 'USD'))
    """
    return pair_of(market) if "/" in market else (needed_name(market.partition("-")[0]), "USD")
