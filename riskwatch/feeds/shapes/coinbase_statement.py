"""Coinbase's account statement: every change of a balance, with the balance after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.core.money import ZERO
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import FileSession, FileShape, amount, first_name, needed_name, text
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import AdjustmentKind, Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_KINDS: Final[dict[str, AdjustmentKind]] = {
    "match": "conversion",
    "fee": "fee",
    "rebate": "rebate",
    "conversion": "conversion",
}
_TRADES: Final = ("match", "fee")


class CoinbaseStatement(FileShape):
    """Entries of an account (portfolio) by asset, with a running balance."""

    name = "coinbase-statement"
    about = "Coinbase: export of the account statement"
    gives = "adjustment, transfer, balance"
    venue = "coinbase"
    has_trades = True
    variants: ClassVar = (
        frozenset({"portfolio", "type", "time", "amount", "balance", "amount_balance_unit",
                   "transfer_id", "trade_id", "order_id"}),
    )  # fmt: skip

    def account_of(self, document: Document) -> str | None:
        """Return the portfolio."""
        return first_name(document, ("portfolio",))

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _CoinbaseStatementSession(document, labels, report, self.name)


class _CoinbaseStatementSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the event of an entry."""
        cells = record.cells
        us, kind = self.time(cells["time"]), text(cells["type"]).lower()
        asset, change = needed_name(cells["amount_balance_unit"]), amount(cells["amount"])
        if kind in _TRADES and self.labels.trades is False:
            raise BadCellError(Reason.OTHER_FILE, cells["trade_id"])
        self.state(us, record.row, asset, (change, amount(cells["balance"], ZERO)))
        transfer, trade = text(cells["transfer_id"]), text(cells["trade_id"])
        if kind in {"deposit", "withdrawal"} and transfer:
            yield self.movement(transfer, us, asset, change)
            return
        known = _KINDS.get(kind)
        if known is None:
            self.report.unknown[f"type {kind}"] += 1
        yield self.adjustment(
            self.row_id(record), us, asset, change, known or "other",
            reference_id=trade or transfer or None,
        )  # fmt: skip
