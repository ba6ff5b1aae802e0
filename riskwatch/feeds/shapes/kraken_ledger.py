"""Kraken's ledger: the export, and the answer of its interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from riskwatch.core.money import ZERO, add, sub
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import FileSession, FileShape, amount, name_of, needed_name, text
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from riskwatch.core.events import AdjustmentKind, Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

TRADES: Final = frozenset({"trade", "spend", "receive", "sale", "conversion"})
_KINDS: Final[dict[str, AdjustmentKind]] = {
    "trade": "conversion",
    "spend": "conversion",
    "receive": "conversion",
    "sale": "conversion",
    "conversion": "conversion",
    "margin": "realised_pnl",
    "settled": "realised_pnl",
    "rollover": "fee",
    "staking": "interest",
    "reward": "interest",
    "dividend": "airdrop",
    "airdrop": "airdrop",
    "credit": "rebate",
}
"""Kind of the adjustment by the type of an entry, or by its subtype."""


class _Leg(NamedTuple):
    """One entry of the ledger that another one completes."""

    entry: str
    us: int
    kind: str
    subtype: str
    asset: str
    wallet: str
    change: Decimal


class KrakenLedger(FileShape):
    """Entries with a running balance for each asset (and wallet, in newer exports).

    Two entries with one ``refid`` are a trade (two assets) or a move between wallets (one asset).
    The fee of an entry is an adjustment of its own.
    """

    name = "kraken-ledger"
    about = "Kraken: export of ledgers, or the answer of Ledgers"
    gives = "adjustment, transfer, balance"
    venue = "kraken"
    has_trades = True
    variants: ClassVar = (
        frozenset({"txid", "refid", "time", "type", "subtype", "aclass", "asset", "amount", "fee",
                   "balance"}),
        frozenset({"_key", "refid", "time", "type", "subtype", "aclass", "asset", "amount", "fee",
                   "balance"}),
    )  # fmt: skip

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _KrakenLedgerSession(document, labels, report, self.name)


class _KrakenLedgerSession(FileSession):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: dict[str, _Leg] = {}

    def take(self, record: Record) -> Iterator[Event]:
        """Return what an entry completes."""
        cells = record.cells
        entry = text(cells.get("txid") or cells.get("_key"))
        if not entry or not text(cells["balance"]):
            raise BadCellError(Reason.NOT_FINAL, cells["refid"])
        us = self.time(cells["time"])
        kind, subtype = text(cells["type"]).lower(), text(cells["subtype"]).lower()
        asset, wallet = needed_name(cells["asset"]), name_of(cells.get("wallet"))
        change, fee = amount(cells["amount"]), amount(cells["fee"], ZERO)
        fee_asset = name_of(cells.get("feecurrency")) or asset
        own_fee = fee if fee_asset == asset else ZERO
        balance = amount(cells["balance"])
        if kind in TRADES and self.labels.trades is False:
            raise BadCellError(Reason.OTHER_FILE, cells["refid"])
        self.state(us, record.row, asset, (sub(change, own_fee), balance), wallet)
        leg = _Leg(entry, us, kind, subtype, asset, wallet, change)
        if fee and kind not in {"withdrawal", "deposit"}:
            yield self.adjustment(
                f"{entry}:fee", us, fee_asset, fee.copy_negate(), "fee", wallet=wallet or None,
                reference_id=entry,
            )  # fmt: skip
            fee = ZERO
        refid = text(cells["refid"])
        if kind in {"withdrawal", "deposit"}:
            yield self.movement(
                refid or entry, us, asset, change, wallet=wallet or None, fee=fee or None
            )
        elif refid and refid not in self._open:
            self._open[refid] = leg
        elif refid:
            yield from self._pair(refid, self._open.pop(refid), leg)
        elif change:
            yield from self._single(leg, refid)

    def finish(self) -> Iterator[Event]:
        """Return the entries that no other one completed."""
        for refid, leg in self._open.items():
            if leg.change:
                yield from self._single(leg, refid)

    def _pair(self, refid: str, one: _Leg, two: _Leg) -> Iterator[Event]:
        out, into = (one, two) if one.change < 0 else (two, one)
        opposite = out.change < 0 < into.change
        same = out.asset == into.asset and add(out.change, into.change) == 0
        if opposite and same and out.wallet != into.wallet:
            yield self.movement(
                refid, out.us, out.asset, out.change, wallet=out.wallet or None,
                to_wallet=into.wallet or None, to_account=self.labels.account,
            )  # fmt: skip
            return
        if opposite and out.asset != into.asset and out.wallet == into.wallet:
            yield self.adjustment(
                out.entry, out.us, out.asset, out.change, "conversion", to_asset=into.asset,
                to_amount=into.change, reference_id=refid, wallet=out.wallet or None,
            )  # fmt: skip
            return
        for leg in (one, two):
            if leg.change:
                yield from self._single(leg, refid)

    def _single(self, leg: _Leg, refid: str) -> Iterator[Event]:
        if leg.kind == "transfer":
            yield self.movement(leg.entry, leg.us, leg.asset, leg.change, wallet=leg.wallet or None)
            return
        kind = _KINDS.get(leg.kind) or _KINDS.get(leg.subtype)
        if kind is None:
            self.report.unknown[f"type {leg.kind} {leg.subtype}".strip()] += 1
        yield self.adjustment(
            leg.entry, leg.us, leg.asset, leg.change, kind or "other", reference_id=refid or None,
            wallet=leg.wallet or None,
        )  # fmt: skip
