"""BitMEX's wallet history: the export, and the answer of its interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.core.money import ZERO, sub
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    ACCOUNT,
    BASE,
    FileSession,
    FileShape,
    amount,
    first_name,
    name_of,
    needed_name,
    text,
)
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import AdjustmentKind, Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_KINDS: Final[dict[str, AdjustmentKind]] = {
    "realisedpnl": "realised_pnl",
    "spottrade": "conversion",
    "conversion": "conversion",
    "funding": "funding",
    "affiliatepayout": "rebate",
    "airdrop": "airdrop",
}
_MOVES: Final = frozenset({"deposit", "withdrawal", "transfer"})


class BitmexWallet(FileShape):
    """Entries in the smallest unit of a coin, with a running balance.

    The amount of a withdrawal contains its fee. All entries of one time show the last balance.
    """

    name = "bitmex-wallet"
    about = "BitMEX: wallet history, as the export or the answer of walletHistory"
    gives = "adjustment, transfer, balance"
    venue = "bitmex"
    variants: ClassVar = (
        frozenset({"transacttype", "amount", "fee", "address", "transactstatus", "walletbalance"}),
    )

    def account_of(self, document: Document) -> str | None:
        """Return the number of the account, if the file has it."""
        return first_name(document, ("account",))

    def needed(self, document: Document) -> tuple[str, ...]:
        """Return the options that are needed: an older export does not name the coin."""
        needs = () if self.account_of(document) else (ACCOUNT,)
        return needs if "currency" in document.columns else (*needs, BASE)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _BitmexWalletSession(document, labels, report, self.name)


class _BitmexWalletSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the event of an entry."""
        cells = record.cells
        kind = text(cells["transacttype"]).lower()
        status = text(cells["transactstatus"]).lower()
        if status != "completed":
            raise BadCellError(Reason.NOT_FINAL, cells["transactstatus"])
        us = self.time(text(cells.get("timestamp")) or cells.get("transacttime"))
        asset = needed_name(cells.get("currency") or self.labels.base)
        change = amount(cells["amount"])
        entry = text(cells.get("transactid")) or self.row_id(record)
        self.state(us, record.row, asset, (change, amount(cells["walletbalance"])))
        if kind in _MOVES:
            fee = amount(cells["fee"], ZERO) if change < 0 else ZERO
            sent = sub(change, fee.copy_negate())
            yield self.movement(
                entry, us, asset, sent, fee=fee or None, fee_asset=asset if fee else None,
                network=name_of(cells.get("network")) or None,
                address=text(cells["address"]) or None,
            )  # fmt: skip
            return
        known = _KINDS.get(kind)
        if known is None:
            self.report.unknown[f"transactType {text(cells['transacttype'])}"] += 1
        yield self.adjustment(
            entry, us, asset, change, known or "other", instrument=text(cells["address"]) or None
        )
