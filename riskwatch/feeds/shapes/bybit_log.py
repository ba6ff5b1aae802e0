"""Bybit's transaction log of a unified account: the export, and the answer of the interface."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.core.money import ZERO, add, sub
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    ACCOUNT,
    ZONE,
    FileSession,
    FileShape,
    amount,
    first_name,
    name_of,
    needed_name,
    text,
    zone_of,
)
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import AdjustmentKind, Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_UID: Final = re.compile(r"UID[:,]\s*\"?([A-Za-z0-9]+)")
_KINDS: Final[dict[str, AdjustmentKind]] = {
    "SETTLEMENT": "funding",
    "DELIVERY": "realised_pnl",
    "LIQUIDATION": "realised_pnl",
    "ADL": "realised_pnl",
    "AIRDROP": "airdrop",
    "AIRDRP": "airdrop",
    "BONUS": "airdrop",
    "INTEREST": "interest",
    "FEE_REFUND": "rebate",
    "CURRENCY_BUY": "conversion",
    "CURRENCY_SELL": "conversion",
    "AUTO_BUY": "auto_conversion",
    "AUTO_DEDUCTION": "auto_conversion",
}
_MOVES: Final = ("TRANSFER", "DEPOSIT", "WITHDRAW")


class BybitLog(FileShape):
    """Entries with a running balance by coin. Of a change, fee and funding are entries apart."""

    name = "bybit-log"
    about = "Bybit: export of the unified account's transaction log, or the answer of it"
    gives = "adjustment, transfer, balance"
    venue = "bybit"
    has_trades = True
    variants: ClassVar = (
        frozenset({"currency", "contract", "type", "direction", "quantity", "position",
                   "filled_price", "funding", "fee_paid", "cash_flow", "change", "wallet_balance",
                   "action"}),
        frozenset({"id", "symbol", "side", "funding", "fee", "change", "cashflow",
                   "transactiontime", "type", "cashbalance", "currency", "tradeprice"}),
    )  # fmt: skip

    def account_of(self, document: Document) -> str | None:
        """Return the number of the user, from a column or from before the header."""
        found = _UID.search(document.preamble)
        return first_name(document, ("uid",)) or (found[1] if found else None)

    def needed(self, document: Document) -> tuple[str, ...]:
        """Return the options that are needed; the name of a column may state the zone."""
        needs = () if self.account_of(document) else (ACCOUNT,)
        zoned = {"time_utc", "transactiontime"} & {*document.columns} or zone_of(document)
        return needs if zoned is not None and zoned != set() else (*needs, ZONE)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _BybitSession(document, labels, report, self.name)


class _BybitSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the events of an entry."""
        cells = record.cells
        is_answer = "transactiontime" in cells
        us = self.time(cells.get("transactiontime") or cells.get("time_utc") or cells.get("time"))
        asset, change = needed_name(cells["currency"]), amount(cells["change"])
        kind, symbol = text(cells["type"]).upper(), text(cells.get("contract", cells.get("symbol")))
        fee = amount(cells.get("fee_paid", cells.get("fee")), ZERO)
        fee = fee.copy_negate() if is_answer else fee
        funding, flow = amount(cells["funding"], ZERO), amount(
            cells.get("cash_flow", cells.get("cashflow")), ZERO)  # fmt: skip
        if kind == "TRADE" and self.labels.trades is False:
            raise BadCellError(Reason.OTHER_FILE, symbol)
        balance = amount(cells.get("wallet_balance", cells.get("cashbalance")))
        self.state(us, record.row, asset, (change, balance))
        entry = self._entry(record)
        more = {"instrument": name_of(symbol) or None,
                "reference_id": text(cells.get("orderid")) or None}  # fmt: skip
        if any(part in kind for part in _MOVES):
            yield self.movement(entry, us, asset, change)
            return
        if add(add(flow, funding), fee) != change:  # The parts are not the whole: keep the whole.
            fee = funding = ZERO
        if fee:
            yield self.adjustment(f"{entry}:fee", us, asset, fee, "fee", **more)
        if funding:
            yield self.adjustment(f"{entry}:funding", us, asset, funding, "funding", **more)
        rest = sub(sub(change, fee), funding)
        if rest:
            yield self.adjustment(entry, us, asset, rest, self._kind(kind), **more)

    def _entry(self, record: Record) -> str:
        """Return an id; the interface repeats its ids, so the coin and the type are part of it."""
        cells = record.cells
        found = text(cells.get("id"))
        unique = f"{found}:{text(cells['currency'])}:{text(cells['type'])}:"
        return unique + self.row_id(record) if found else self.row_id(record)

    def _kind(self, kind: str) -> AdjustmentKind:
        if kind == "TRADE":
            return "realised_pnl"
        found = _KINDS.get(kind)
        if found is None:
            self.report.unknown[f"type {kind}"] += 1
        return found or "other"
