"""The registry of file shapes: what ``riskwatch import`` recognises beside series of prices.

To add a shape:

1. Write a subclass of :class:`riskwatch.feeds.shape.FileShape` in a file of this package, and the
   session that makes events of its records.
2. Add one instance to ``SHAPES``.
3. Test it with a small file of your own invention, whose totals you work out by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.feeds.shapes.binance_statement import BinanceStatement
from riskwatch.feeds.shapes.binance_trades import BinanceTrades
from riskwatch.feeds.shapes.bitmex_wallet import BitmexWallet
from riskwatch.feeds.shapes.coinbase_fills import CoinbaseFills
from riskwatch.feeds.shapes.coinbase_statement import CoinbaseStatement
from riskwatch.feeds.shapes.kraken_ledger import KrakenLedger
from riskwatch.feeds.shapes.kraken_trades import KrakenTrades

if TYPE_CHECKING:
    from riskwatch.feeds.shape import FileShape

SHAPES: Final[tuple[FileShape, ...]] = (
    KrakenLedger(),
    KrakenTrades(),
    CoinbaseFills(),
    CoinbaseStatement(),
    BinanceStatement(),
    BinanceTrades(),
    BitmexWallet(),
)
"""Every shape that ``riskwatch import`` reads. Register a shape by adding it here."""
