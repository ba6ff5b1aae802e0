"""Binance's trades: both exports, and the answers of its interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from riskwatch.core.money import ZERO
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    FileSession,
    FileShape,
    amount,
    digits_of,
    needed_name,
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


class BinanceTrades(FileShape):
    """Own trades. The exports have no id, so an id is a digest of the row.

    In the newer export a cell has its unit (``0.18SOL``), which tells where a pair is split.
    """

    name = "binance-trades"
    about = "Binance: export of trades (two versions), or the answers of myTrades and userTrades"
    gives = "fill"
    venue = "binance"
    variants: ClassVar = (
        frozenset({"date_utc", "pair", "side", "price", "executed", "amount", "fee"}),
        frozenset({"date_utc", "market", "type", "price", "amount", "total", "fee", "fee_coin"}),
        frozenset({"symbol", "id", "orderid", "price", "qty", "quoteqty", "commission",
                   "commissionasset", "time", "isbuyer", "ismaker"}),
        frozenset({"symbol", "id", "orderid", "price", "qty", "quoteqty", "commission",
                   "commissionasset", "time", "side", "realizedpnl", "maker"}),
    )  # fmt: skip

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _BinanceTradesSession(document, labels, report, self.name)


class _BinanceTradesSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the fill of a trade."""
        if "qty" in record.cells:
            yield self._answer(record)
        elif "executed" in record.cells:
            yield self._newer(record)
        else:
            yield self._older(record)

    def _newer(self, record: Record) -> Event:
        cells = record.cells
        us, side = self.time(cells["date_utc"]), side_of(cells["side"])
        executed, spent = text(cells["executed"]), text(cells["amount"])
        pair = split_by_units(text(cells["pair"]).replace("/", ""), executed, spent)
        qty, value = amount(executed.removesuffix(pair[0])), amount(spent.removesuffix(pair[1]))
        price = amount(cells["price"])
        self.report.compare(value_of(qty, price), value, digits_of(spent.removesuffix(pair[1])))
        fee, unit = split_unit(text(cells["fee"]), pair)
        return self.fill(
            self.row_id(record), us, pair, side, qty, price, trade_id=None,
            fee=amount(fee, ZERO) or None, fee_asset=unit,
        )  # fmt: skip

    def _older(self, record: Record) -> Event:
        cells = record.cells
        us, side = self.time(cells["date_utc"]), side_of(cells["type"])
        qty, price = amount(cells["amount"]), amount(cells["price"])
        self.report.compare(value_of(qty, price), amount(cells["total"]), digits_of(cells["total"]))
        return self.fill(
            self.row_id(record), us, pair_of(cells["market"]), side, qty, price, trade_id=None,
            fee=amount(cells["fee"], ZERO) or None, fee_asset=needed_name(cells["fee_coin"]),
        )  # fmt: skip

    def _answer(self, record: Record) -> Event:
        cells = record.cells
        buyer = text(cells.get("isbuyer"))
        side = side_of(cells.get("side") or {"true": "buy", "false": "sell"}.get(buyer))
        qty, price = amount(cells["qty"]), amount(cells["price"])
        self.report.compare(
            value_of(qty, price), amount(cells["quoteqty"]), digits_of(cells["quoteqty"])
        )
        symbol = text(cells["symbol"])
        is_future = "realizedpnl" in cells
        maker = text(cells.get("ismaker", cells.get("maker"))) == "true"
        commission = amount(cells["commission"], ZERO)
        return self.fill(
            text(cells["id"]), self.time(cells["time"]), pair_of(symbol), side, qty, price,
            # Futures state what the commission changed the balance by.
            fee=(commission.copy_negate() if is_future else commission) or None,
            fee_asset=needed_name(cells["commissionasset"]),
            order_id=text(cells["orderid"]) or None, liquidity="maker" if maker else "taker",
            kind="perp" if is_future else "spot", instrument=symbol if is_future else None,
        )  # fmt: skip


def split_by_units(pair: str, executed: str, spent: str) -> tuple[str, str]:
    """Return base and quote of a pair by the units of the two amounts.

    Examples
    --------
    >>> split_by_units("SOLBUSD", "0.18SOL", "19.8BUSD"), split_by_units("1INCHBTC", "5", "1")
    (('SOL', 'BUSD'), ('1INCH', 'BTC'))
    """
    found = [
        (pair[:n], pair[n:])
        for n in range(1, len(pair))
        if executed.endswith(pair[:n]) and spent.endswith(pair[n:])
    ]
    if len(found) == 1:
        return found[0]
    if pair.endswith("BTC") and len(pair) > len("BTC") + 1:
        return pair.removesuffix("BTC"), "BTC"
    return pair_of(pair)


def split_unit(cell: str, pair: tuple[str, str]) -> tuple[str, str]:
    """Return the number and the unit of a cell such as ``0.001BNB``.

    Examples
    --------
    >>> split_unit("0.0198BUSD", ("SOL", "BUSD")), split_unit("0.001BNB", ("SOL", "BUSD"))
    (('0.0198', 'BUSD'), ('0.001', 'BNB'))
    """
    for unit in pair:
        if cell.endswith(unit):
            return cell.removesuffix(unit), unit
    number = cell.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    if number == cell:
        raise BadCellError(Reason.UNKNOWN_PAIR, f"fee without a unit: {cell}")
    return number, cell[len(number) :]
