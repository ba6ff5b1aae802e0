"""OKX's bills: the exports of trading and funding accounts, and the answers of the interface."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.core.money import ZERO, sub
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    ACCOUNT,
    ZONE,
    FileSession,
    FileShape,
    amount,
    name_of,
    needed_name,
    text,
    zone_of,
)
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from riskwatch.core.events import AdjustmentKind, Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_UID: Final = re.compile(r"UID[:,]\s*\"?([A-Za-z0-9]+)")
_TRADING: Final[dict[str, AdjustmentKind]] = {
    "2": "conversion",
    "3": "realised_pnl",
    "4": "auto_conversion",
    "5": "realised_pnl",
    "7": "interest",
    "8": "funding",
    "9": "realised_pnl",
    "10": "socialised_loss",
    "11": "auto_conversion",
}
"""Kind by the type of a bill of the trading account."""
_WORDS: Final[tuple[tuple[str, AdjustmentKind], ...]] = (
    ("funding fee", "funding"),
    ("funding", "funding"),
    ("interest", "interest"),
    ("rebate", "rebate"),
    ("clawback", "socialised_loss"),
    ("convert", "conversion"),
    ("liquidation", "realised_pnl"),
    ("delivery", "realised_pnl"),
    ("airdrop", "airdrop"),
    ("reward", "airdrop"),
)
"""Kind by a part of what an export calls an entry."""
_MOVES: Final = ("transfer", "deposit", "withdraw")
_FUNDING_MOVES: Final = frozenset({"1", "2", "20", "21", "22", "23", "130", "131"})
"""Types of a bill of the funding account: deposits, withdrawals, and moves of our own."""
_TRADING_MOVES: Final = frozenset({"1", "6"})


class OkxBills(FileShape):
    """Entries with a running balance by coin; a fee is an adjustment of its own."""

    name = "okx-bills"
    about = "OKX: exports of the trading and the funding account, or the answers of bills"
    gives = "adjustment, transfer, balance"
    venue = "okx"
    has_trades = True
    variants: ClassVar = (
        frozenset({"id", "order_id", "time", "trade_type", "symbol", "action", "amount", "fee",
                   "fee_unit", "balance_change", "balance", "balance_unit"}),
        frozenset({"id", "time", "type", "amount", "before_balance", "after_balance", "symbol"}),
        frozenset({"billid", "ccy", "balchg", "bal", "ts", "type"}),
    )  # fmt: skip

    def account_of(self, document: Document) -> str | None:
        """Return the number of the user, which stands before the header of an export."""
        found = _UID.search(document.preamble)
        return found[1] if found else None

    def needed(self, document: Document) -> tuple[str, ...]:
        """Return the options that are needed; an export states the zone before its header."""
        needs = () if self.account_of(document) else (ACCOUNT,)
        return needs if "ts" in document.columns or zone_of(document) is not None else (
            *needs, ZONE)  # fmt: skip

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _OkxSession(document, labels, report, self.name)


class _OkxSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the events of an entry."""
        cells = record.cells
        if "billid" in cells:
            yield from self._answer(record)
        elif "after_balance" in cells:
            yield from self._funding(record)
        else:
            yield from self._trading(record)

    def _trading(self, record: Record) -> Iterator[Event]:
        cells = record.cells
        asset = needed_name(cells["balance_unit"])
        change, fee = amount(cells["balance_change"]), amount(cells["fee"], ZERO)
        word = f"{text(cells['trade_type'])} {text(cells['action'])}".lower()
        kind = next((kind for part, kind in _WORDS if part in word), None)
        market = text(cells["trade_type"]).lower()
        if kind is None and text(cells["action"]).lower() in {"buy", "sell"}:
            kind = "conversion" if market in {"spot", "margin"} else "realised_pnl"
        elif kind is None and market in {"swap", "futures", "perpetual", "option"}:
            kind = "realised_pnl"
        own_fee = fee if needed_name(cells["fee_unit"] or asset) == asset else ZERO
        yield from self._entry(
            record, text(cells["id"]), (asset, change, amount(cells["balance"])), own_fee, kind,
            word, symbol=text(cells["symbol"]), order=text(cells["order_id"]), time=cells["time"],
        )  # fmt: skip

    def _funding(self, record: Record) -> Iterator[Event]:
        cells = record.cells
        word = text(cells["type"]).lower()
        kind = next((kind for part, kind in _WORDS if part in word), None)
        triple = (needed_name(cells["symbol"]), amount(cells["amount"]),
                  amount(cells["after_balance"]))  # fmt: skip
        yield from self._entry(
            record, text(cells["id"]), triple, ZERO, kind, word, symbol="", order="",
            time=cells["time"],
        )  # fmt: skip

    def _answer(self, record: Record) -> Iterator[Event]:
        cells = record.cells
        code, is_trading = text(cells["type"]), "insttype" in cells
        moves = _TRADING_MOVES if is_trading else _FUNDING_MOVES
        kind = _TRADING.get(code) if is_trading else None
        if code == "2" and is_trading and text(cells["insttype"]) not in {"SPOT", "MARGIN"}:
            kind = "realised_pnl"
        word = "transfer" if code in moves else f"type {code}"
        triple = (needed_name(cells["ccy"]), amount(cells["balchg"]), amount(cells["bal"]))
        yield from self._entry(
            record, text(cells["billid"]), triple, amount(cells.get("fee"), ZERO), kind, word,
            symbol=text(cells.get("instid")), order=text(cells.get("ordid")), time=cells["ts"],
        )  # fmt: skip

    def _entry(
        self,
        record: Record,
        entry: str,
        triple: tuple[str, Decimal, Decimal],
        fee: Decimal,
        kind: AdjustmentKind | None,
        word: str,
        *,
        symbol: str,
        order: str,
        time: object,
    ) -> Iterator[Event]:
        """Return the events of an entry: coin, change and balance; a fee is negative."""
        asset, change, balance = triple
        us, wallet = self.time(time), self.labels.wallet
        if kind == "conversion" and self.labels.trades is False:
            raise BadCellError(Reason.OTHER_FILE, entry)
        self.state(us, record.row, asset, (change, balance), wallet)
        if kind is None and any(part in word for part in _MOVES):
            yield self.movement(entry, us, asset, change, wallet=wallet or None)
            return
        if kind is None:
            self.report.unknown[word] += 1
        more = {"wallet": wallet or None, "reference_id": order or None,
                "instrument": name_of(symbol) or None}  # fmt: skip
        if fee:
            yield self.adjustment(f"{entry}:fee", us, asset, fee, "fee", **more)
        rest = sub(change, fee)
        if rest:
            yield self.adjustment(entry, us, asset, rest, kind or "other", **more)
