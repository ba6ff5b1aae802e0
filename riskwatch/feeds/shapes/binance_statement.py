"""Binance's statement: every change of a balance of every wallet, without balances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
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
    from decimal import Decimal

    from riskwatch.core.events import AdjustmentKind, Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_TRADES: Final = frozenset(
    {"buy", "sell", "fee", "transaction buy", "transaction spend", "transaction sold",
     "transaction revenue", "transaction fee", "transaction related"}
)  # fmt: skip
"""Operations of trades, which the file of trades states, too."""
_EXACT: Final[dict[str, AdjustmentKind]] = {
    "fee": "fee",
    "transaction fee": "fee",
    "funding fee": "funding",
    "commission rebate": "rebate",
    "commission history": "rebate",
    "commission fee shared with you": "rebate",
    "referral commission": "rebate",
    "referral kickback": "rebate",
    "strategy trading fee rebate": "rebate",
    "realize profit and loss": "realised_pnl",
    "realized profit and loss": "realised_pnl",
    "small assets exchange bnb": "dust",
    "distribution": "airdrop",
    "airdrop assets": "airdrop",
    "insurance fund compensation": "insurance",
    "insurance clear": "insurance",
    "liquidation fee": "liquidation_fee",
    "asset recovery": "other",
}
_PARTS: Final[tuple[tuple[str, AdjustmentKind], ...]] = (
    ("airdrop", "airdrop"),
    ("convert", "conversion"),
    ("otc trading", "conversion"),
    ("buy crypto", "conversion"),
    ("sell crypto", "conversion"),
    ("redenomination", "redenomination"),
    ("token swap", "conversion"),
    ("interest", "interest"),
    ("rewards", "interest"),
    ("cashback", "rebate"),
    ("margin loan", "auto_borrow"),
    ("margin repayment", "auto_repay"),
)
"""Kind by a part of an operation's name."""
_DEPOSITS: Final = frozenset(
    {"deposit", "withdraw", "fiat deposit", "fiat withdraw", "fiat withdrawal", "p2p trading",
     "c2c transfer", "binance pay", "send", "receive"}
)  # fmt: skip
_INSIDE: Final = ("transfer", "subscription", "redemption", "purchase")
"""Parts of the names of moves between wallets, of which the file has both sides."""


class _Side(NamedTuple):
    """One side of a move between two wallets."""

    entry: str
    us: int
    wallet: str
    change: Decimal


class BinanceStatement(FileShape):
    """One row for each change of a coin in a wallet; a trade is several rows of one second."""

    name = "binance-statement"
    about = "Binance: export of all statements (transaction history)"
    gives = "adjustment, transfer"
    venue = "binance"
    has_trades = True
    variants: ClassVar = (frozenset({"utc_time", "account", "operation", "coin", "change"}),)

    def account_of(self, document: Document) -> str | None:
        """Return the user's number, if all rows have one."""
        return first_name(document, ("user_id",))

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _BinanceStatementSession(document, labels, report, self.name)


class _BinanceStatementSession(FileSession):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._open: dict[tuple[str, Decimal], list[_Side]] = {}

    def take(self, record: Record) -> Iterator[Event]:
        """Return the event of a row, or what it completes."""
        cells = record.cells
        us, change = self.time(cells["utc_time"]), amount(cells["change"])
        asset, wallet = needed_name(cells["coin"]), name_of(cells["account"])
        operation = " ".join(text(cells["operation"]).lower().replace("_", " ").split())
        if operation in _TRADES and self.labels.trades is False:
            raise BadCellError(Reason.OTHER_FILE, cells["operation"])
        entry = self.row_id(record)
        kind = kind_of_operation(operation)
        if operation in _DEPOSITS:
            yield self.movement(entry, us, asset, change, wallet=wallet or None)
        elif kind is None and any(part in operation for part in _INSIDE):
            yield from self._move(asset, _Side(entry, us, wallet, change))
        else:
            if kind is None:
                self.report.unknown[f"operation {text(cells['operation'])}"] += 1
            yield self.adjustment(entry, us, asset, change, kind or "other", wallet=wallet or None)

    def _move(self, asset: str, side: _Side) -> Iterator[Event]:
        """Return the move between two wallets that a row completes, within two seconds."""
        waiting = self._open.get((asset, side.change.copy_negate()), [])
        for other in waiting:
            if abs(other.us - side.us) <= 2_000_000 and other.wallet != side.wallet:
                waiting.remove(other)
                out, into = (side, other) if side.change < 0 else (other, side)
                yield self.movement(
                    out.entry, out.us, asset, out.change, wallet=out.wallet or None,
                    to_account=self.labels.account, to_wallet=into.wallet or None,
                )  # fmt: skip
                return
        self._open.setdefault((asset, side.change), []).append(side)

    def finish(self) -> Iterator[Event]:
        """Return the sides whose other side the file does not have."""
        for (asset, change), sides in self._open.items():
            for side in sides:
                yield self.movement(side.entry, side.us, asset, change, wallet=side.wallet or None)


def kind_of_operation(operation: str) -> AdjustmentKind | None:
    """Return the kind of adjustment of an operation, in lower case; ``None`` if unknown.

    Examples
    --------
    >>> kind_of_operation("transaction spend"), kind_of_operation("simple earn flexible interest")
    ('conversion', 'interest')
    """
    found = _EXACT.get(operation)
    if found is None and operation in _TRADES:
        return "conversion"
    return found or next((kind for part, kind in _PARTS if part in operation), None)
