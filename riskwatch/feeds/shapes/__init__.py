"""The registry of file shapes: what ``riskwatch import`` recognises beside series of prices.

To add a shape:

1. Write a subclass of :class:`riskwatch.feeds.shape.FileShape` in a file of this package, and the
   session that makes events of its records.
2. Add one instance to ``SHAPES``.
3. Test it with a small file of your own invention, whose totals you work out by hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.feeds.shapes.aggregate_trades import AggregateTrades
from riskwatch.feeds.shapes.bank_csv import BankCsv
from riskwatch.feeds.shapes.binance_statement import BinanceStatement
from riskwatch.feeds.shapes.binance_trades import BinanceTrades
from riskwatch.feeds.shapes.bitmex_wallet import BitmexWallet
from riskwatch.feeds.shapes.bybit_log import BybitLog
from riskwatch.feeds.shapes.camt053 import Camt053
from riskwatch.feeds.shapes.ccxt_balance import CcxtBalance
from riskwatch.feeds.shapes.ccxt_positions import CcxtPositions
from riskwatch.feeds.shapes.ccxt_trades import CcxtPublicTrades, CcxtTrades
from riskwatch.feeds.shapes.ccxt_transactions import CcxtTransactions
from riskwatch.feeds.shapes.closes import Closes
from riskwatch.feeds.shapes.coinbase_fills import CoinbaseFills
from riskwatch.feeds.shapes.coinbase_statement import CoinbaseStatement
from riskwatch.feeds.shapes.defillama_prices import DefillamaPrices
from riskwatch.feeds.shapes.deribit_positions import DeribitPositions
from riskwatch.feeds.shapes.fix_executions import FixExecutions
from riskwatch.feeds.shapes.ftx_files import FtxFunding, FtxTrades, FtxTransfers
from riskwatch.feeds.shapes.kraken_ledger import KrakenLedger
from riskwatch.feeds.shapes.kraken_trades import KrakenTrades
from riskwatch.feeds.shapes.mt940_statement import Mt940
from riskwatch.feeds.shapes.okx_bills import OkxBills
from riskwatch.feeds.shapes.pool_states import PoolStates
from riskwatch.feeds.shapes.tardis_trades import TardisTrades

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
    OkxBills(),
    BybitLog(),
    FtxTrades(),
    FtxTransfers(),
    FtxFunding(),
    DeribitPositions(),
    CcxtBalance(),
    CcxtPositions(),
    CcxtTrades(),
    CcxtTransactions(),
    FixExecutions(),
    Camt053(),
    Mt940(),
    BankCsv(),
    CcxtPublicTrades(),
    TardisTrades(),
    AggregateTrades(),
    DefillamaPrices(),
    PoolStates(),
    Closes(),
)
"""Every shape that ``riskwatch import`` reads. Register a shape by adding it here."""
