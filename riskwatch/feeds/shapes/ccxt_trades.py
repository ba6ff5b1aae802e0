"""Trades of ccxt: own ones (``fetch_my_trades``) are fills, public ones are prices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from riskwatch.core.money import ZERO
from riskwatch.feeds.prints import PrintSession
from riskwatch.feeds.record import Reason, Tally
from riskwatch.feeds.shape import (
    ACCOUNT,
    FileSession,
    FileShape,
    Fit,
    amount,
    ccxt_market,
    digits_of,
    exact_ratio,
    needed_name,
    pair_of,
    side_of,
    text,
    value_of,
)
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from riskwatch.core.events import Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_COLUMNS = frozenset({"id", "timestamp", "datetime", "symbol", "side", "price", "amount"})
_OWN = ("order", "takerormaker")


def is_own(document: Document) -> bool:
    """Whether some trade of a file names an order, a liquidity or a fee, which are not public."""
    for record in document.records(Tally()):
        fee = record.cells.get("fee")
        cost = fee.get("cost") if isinstance(fee, dict) else ""
        if text(cost) or any(text(record.cells.get(name)) for name in _OWN):
            return True
    return False


class CcxtTrades(FileShape):
    """Own trades of any venue. Amounts of a contract become units of its base by the cost."""

    name = "ccxt-trades"
    about = "ccxt: fetch_my_trades, as JSON or a table"
    gives = "fill"
    variants: ClassVar = (_COLUMNS | {"order", "takerormaker"},)
    needs: ClassVar = (ACCOUNT,)

    def fit(self, document: Document) -> Fit:
        """Return how well a file fits; public trades do not."""
        found = super().fit(document)
        return found if not found.score or is_own(document) else Fit(0, found.found, ("an order",))

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _CcxtTradesSession(document, labels, report, f"{labels.venue}-ccxt")


class CcxtPublicTrades(FileShape):
    """Everybody's trades at a venue: the last price and the volume of each step."""

    name = "ccxt-public-trades"
    about = "ccxt: fetch_trades, as JSON or a table"
    gives = "quote"
    variants: ClassVar = (_COLUMNS,)
    needs: ClassVar = ()
    is_stream = True

    def fit(self, document: Document) -> Fit:
        """Return how well a file fits; own trades do not."""
        found = super().fit(document)
        return Fit(0, found.found, ()) if found.score and is_own(document) else found

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _CcxtPublicSession(document, labels, report, f"{labels.venue}-trades")


class _CcxtTradesSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return the fill of a trade."""
        cells = record.cells
        us = self.time(cells["timestamp"] or cells["datetime"])
        symbol = text(cells["symbol"])
        kind, instrument, inverse = ccxt_market(symbol)
        price, qty = amount(cells["price"]), amount(cells["amount"])
        if instrument is not None:
            qty = _base_units(qty, price, text(cells.get("cost")), inverse=inverse)
        elif text(cells.get("cost")):
            self.report.compare(
                value_of(qty, price), amount(cells["cost"]), digits_of(cells["cost"])
            )
        fee = cells.get("fee")
        flat = {"cost": cells.get("fee_cost"), "currency": cells.get("fee_currency")}
        paid = fee if isinstance(fee, dict) else flat
        cost = amount(paid.get("cost"), ZERO)
        liquidity = text(cells.get("takerormaker")).lower()
        yield self.fill(
            text(cells["id"]), us, pair_of(symbol), side_of(cells["side"]), qty, price,
            kind=kind, instrument=instrument, fee=cost or None,
            fee_asset=needed_name(paid.get("currency")) if cost else None,
            order_id=text(cells.get("order")) or None,
            liquidity=liquidity if liquidity in {"maker", "taker"} else None,
        )  # fmt: skip


def _base_units(contracts: Decimal, price: Decimal, cost: str, *, inverse: bool) -> Decimal:
    """Return the quantity of a trade of contracts in units of the base.

    The cost of a linear contract is in the quote, that of an inverse one in the base.
    """
    if not cost:
        raise BadCellError(Reason.UNKNOWN_SIZE, f"{contracts} contracts without a cost")
    value = amount(cost)
    if inverse:
        return value
    found = exact_ratio(value, price) if price else None
    if found is None:
        raise BadCellError(Reason.UNKNOWN_SIZE, f"cost {cost} is no multiple of price {price}")
    return found


class _CcxtPublicSession(PrintSession):
    def trade(self, record: Record) -> tuple[int, tuple[str, str, str], Decimal, Decimal | None]:
        """Return time, market, price and volume of a trade."""
        cells: dict[str, Any] = dict(record.cells)
        us = self.time(cells["timestamp"] or cells["datetime"])
        _, instrument, _ = ccxt_market(text(cells["symbol"]))
        volume = None if instrument is not None else amount(cells["amount"])
        return us, (self.labels.venue, *pair_of(cells["symbol"])), amount(cells["price"]), volume
