"""Kraken's trades: the export, and the answer of its interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.core.money import ZERO
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    FileSession,
    FileShape,
    amount,
    digits_of,
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

_CODE: Final = 4
"""Letters of an asset in the venue's long codes, such as ``XXBT`` and ``ZUSD``."""


class KrakenTrades(FileShape):
    """Own trades. The fee is in the quote asset; a trade on margin changes a position."""

    name = "kraken-trades"
    about = "Kraken: export of trades, or the answer of TradesHistory"
    gives = "fill"
    venue = "kraken"
    variants: ClassVar = (
        frozenset({"txid", "ordertxid", "pair", "time", "type", "ordertype", "price", "cost",
                   "fee", "vol", "margin"}),
        frozenset({"_key", "ordertxid", "pair", "time", "type", "ordertype", "price", "cost",
                   "fee", "vol", "margin"}),
    )  # fmt: skip

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _KrakenTradesSession(document, labels, report, self.name)


class _KrakenTradesSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the fill of a trade."""
        cells = record.cells
        entry = text(cells.get("txid") or cells.get("_key"))
        if not entry:
            raise BadCellError(Reason.MISSING, "txid")
        us = self.time(cells["time"])
        pair = kraken_pair(text(cells["pair"]))
        qty, price = amount(cells["vol"]), amount(cells["price"])
        side = side_of(cells["type"])
        self.report.compare(value_of(qty, price), amount(cells["cost"]), digits_of(cells["cost"]))
        on_margin = amount(cells["margin"], ZERO) > 0
        yield self.fill(
            entry, us, pair, side, qty, price, fee=amount(cells["fee"], ZERO) or None,
            fee_asset=pair[1], order_id=text(cells["ordertxid"]) or None,
            kind="perp" if on_margin else "spot",
            instrument=f"{pair[0]}-{pair[1]}-margin" if on_margin else None,
        )  # fmt: skip


def kraken_pair(symbol: str) -> tuple[str, str]:
    """Return base and quote of a pair as Kraken writes it.

    Examples
    --------
    >>> kraken_pair("XXBTZUSD"), kraken_pair("USDTZUSD"), kraken_pair("XBT/EUR")
    (('XXBT', 'ZUSD'), ('USDT', 'ZUSD'), ('XBT', 'EUR'))
    """
    if "/" not in symbol and len(symbol) == 2 * _CODE and symbol[_CODE] in "XZ":
        return symbol[:_CODE], symbol[_CODE:]
    return pair_of(symbol)
