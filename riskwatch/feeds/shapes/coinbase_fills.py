"""Coinbase's fills: the export, and the answers of its two interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.core.money import ZERO, add, sub
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    ACCOUNT,
    FileSession,
    FileShape,
    amount,
    digits_of,
    first_name,
    name_of,
    pair_of,
    side_of,
    text,
    value_of,
)
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.events import Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_LIQUIDITY: Final = {"M": "maker", "MAKER": "maker", "T": "taker", "TAKER": "taker"}


class CoinbaseFills(FileShape):
    """Own trades. The total of the export is what the quote asset changed by, fee included."""

    name = "coinbase-fills"
    about = "Coinbase: export of fills, or the answers of the fills of its interfaces"
    gives = "fill"
    venue = "coinbase"
    needs: ClassVar = (ACCOUNT,)
    variants: ClassVar = (
        frozenset({"portfolio", "trade_id", "product", "side", "created_at", "size", "size_unit",
                   "price", "fee", "total", "price_fee_total_unit"}),
        frozenset({"trade_id", "order_id", "trade_time", "price", "size", "commission",
                   "product_id", "side", "size_in_quote"}),
        frozenset({"trade_id", "order_id", "created_at", "product_id", "liquidity", "price",
                   "size", "fee", "side", "settled"}),
    )  # fmt: skip

    def account_of(self, document: Document) -> str | None:
        """Return the portfolio, if the file names one."""
        return first_name(document, ("portfolio", "retail_portfolio_id", "profile_id"))

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _CoinbaseFillsSession(document, labels, report, self.name)


class _CoinbaseFillsSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the fill of a trade."""
        cells = record.cells
        us = self.time(cells.get("created_at") or cells.get("trade_time"))
        base, quote = pair_of(cells.get("product") or cells.get("product_id"))
        side, price = side_of(cells["side"]), amount(cells["price"])
        if text(cells.get("size_in_quote")) == "true":
            raise BadCellError(Reason.UNKNOWN_PAIR, "size_in_quote")
        unit = name_of(cells.get("size_unit"))
        if unit and unit.upper() != base:
            raise BadCellError(Reason.UNKNOWN_PAIR, f"size in {unit}, product {base}-{quote}")
        qty = amount(cells["size"])
        fee = amount(cells.get("fee", cells.get("commission")), ZERO)
        entry = text(cells["trade_id"])
        if not entry:
            raise BadCellError(Reason.MISSING, "trade_id")
        if "total" in cells:
            value = value_of(qty, price)
            after = add(value, fee) if side == "buy" else sub(value, fee)
            # Exports differ in the sign of the total.
            self.report.compare(after, abs(amount(cells["total"])), digits_of(cells["total"]))
        yield self.fill(
            entry, us, (base, quote), side, qty, price, fee=fee or None, fee_asset=quote,
            order_id=text(cells.get("order_id")) or None,
            liquidity=_LIQUIDITY.get(
                text(cells.get("liquidity") or cells.get("liquidity_indicator")).upper()
            ),
        )  # fmt: skip
