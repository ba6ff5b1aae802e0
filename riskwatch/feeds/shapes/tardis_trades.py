"""Tardis' trades: everybody's trades at a venue."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.feeds.prints import PrintSession
from riskwatch.feeds.shape import FileShape, amount, needed_name, pair_of, text

if TYPE_CHECKING:
    from decimal import Decimal

    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.prints import Market
    from riskwatch.feeds.shape import FileLabels, FileReport, FileSession

_CONTRACT: Final = re.compile(r"[-_](PERPETUAL|PERP|SWAP|\d+[A-Z]*\d*.*)$", re.IGNORECASE)
_DERIVATIVES: Final = ("futures", "swap", "perp", "options", "delivery", "dm", "deribit", "bitmex")
"""Parts of the names of exchanges whose amounts are contracts and not coins."""


class TardisTrades(FileShape):
    """Trades with exchange and symbol; those of one step become one quote of each market.

    The amount of a contract is no amount of a coin, so its quotes have no volume.
    """

    name = "tardis-trades"
    about = "Tardis: trades of any exchange, CSV"
    gives = "quote"
    variants: ClassVar = (
        frozenset({"exchange", "symbol", "timestamp", "local_timestamp", "id", "side", "price",
                   "amount"}),
    )  # fmt: skip
    needs: ClassVar = ()
    is_stream = True

    def venue_of(self, document: Document) -> str | None:
        """Return a text that says that each record names its venue."""
        del document
        return "tardis"

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _TardisSession(document, labels, report)


class _TardisSession(PrintSession):
    def trade(self, record: Record) -> tuple[int, Market, Decimal, Decimal | None]:
        """Return time, market, price and volume of a trade."""
        cells = record.cells
        us, exchange = self.time(cells["timestamp"]), needed_name(cells["exchange"])
        symbol = text(cells["symbol"])
        base, quote = tardis_pair(symbol)
        is_contract = symbol != _CONTRACT.sub("", symbol) or any(
            part in exchange.lower() for part in _DERIVATIVES
        )
        volume = None if is_contract else amount(cells["amount"])
        return us, (exchange, base, quote), amount(cells["price"]), volume


def tardis_pair(symbol: str) -> tuple[str, str]:
    """Return base and quote of a symbol; a contract without a quote is in dollars.

    Examples
    --------
    >>> tardis_pair("BTC-PERPETUAL"), tardis_pair("BTC-USDT-SWAP"), tardis_pair("btcusdt")
    (('BTC', 'USD'), ('BTC', 'USDT'), ('BTC', 'USDT'))
    """
    plain = _CONTRACT.sub("", symbol)
    if plain != symbol and not re.search(r"[-_/]", plain) and plain.isalpha() and len(plain) <= 5:
        return plain.upper(), "USD"
    return pair_of(plain)
