"""Positions of ccxt (``fetch_positions``)."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context
from typing import TYPE_CHECKING, ClassVar, Final

from riskwatch.core.clock import moment
from riskwatch.core.events import Position
from riskwatch.core.money import MAX_SCALE, ZERO, canonical, mul
from riskwatch.feeds.record import Reason, Tally
from riskwatch.feeds.shape import (
    ACCOUNT,
    AS_OF,
    FileSession,
    FileShape,
    amount,
    ccxt_market,
    pair_of,
    text,
)
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from riskwatch.core.events import Event
    from riskwatch.feeds.document import Document, Record
    from riskwatch.feeds.shape import FileLabels, FileReport

_WIDE: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)


class CcxtPositions(FileShape):
    """Open positions, in units of the base: contracts times the size of a contract."""

    name = "ccxt-positions"
    about = "ccxt: fetch_positions, as JSON"
    gives = "position"
    variants: ClassVar = (
        frozenset({"symbol", "timestamp", "contracts", "contractsize", "side", "entryprice",
                   "markprice", "liquidationprice"}),
    )  # fmt: skip
    needs: ClassVar = (ACCOUNT,)

    def needed(self, document: Document) -> tuple[str, ...]:
        """Return the options that are needed: some venues state no time."""
        timed = all(text(r.cells.get("timestamp")) for r in document.records(Tally()))
        found = super().needed(document)
        return found if timed else (*found, AS_OF)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _CcxtPositionsSession(document, labels, report, f"{labels.venue}-ccxt")


class _CcxtPositionsSession(FileSession):
    def take(self, record: Record) -> Iterator[Event]:
        """Return a position; `qty` is signed."""
        cells, labels = record.cells, self.labels
        us = self.time(cells["timestamp"]) if text(cells["timestamp"]) else labels.as_of_us or 0
        symbol = text(cells["symbol"])
        _, _, inverse = ccxt_market(symbol)
        contracts, mark = amount(cells["contracts"], ZERO), amount(cells["markprice"], ZERO)
        size = mul(contracts, amount(cells["contractsize"]))
        qty = base_of_inverse(size, mark) if inverse else canonical(size)
        if inverse and contracts:
            self.report.unknown[f"exact size of {symbol}: contracts at the mark price"] += 1
        side = text(cells["side"]).lower()
        if side not in {"long", "short"} and qty:
            raise BadCellError(Reason.UNKNOWN_SIDE, cells["side"])
        base, quote = pair_of(symbol)
        hedged = text(cells.get("hedged")) == "true"
        yield Position(
            v=1, event_id=f"{labels.account}:{symbol}:{side if hedged else ''}:{us}",
            ts=moment(us), source=self.source, counterparty=labels.venue, account=labels.account,
            book=labels.book, base=base, quote=quote, instrument=symbol,
            qty=qty.copy_negate() if side == "short" else qty,
            entry_price=amount(cells["entryprice"], ZERO) or None, mark_price=mark or None,
            liquidation_price=amount(cells["liquidationprice"], ZERO) or None,
            side=("long" if side == "long" else "short") if hedged else None,
            wallet=labels.wallet or None,
        )  # fmt: skip


def base_of_inverse(value: Decimal, mark: Decimal) -> Decimal:
    """Return what a value in the quote is in units of the base, to the last digit of the contract.

    Raises
    ------
    BadCellError
        If there is no price.

    Examples
    --------
    >>> from decimal import Decimal
    >>> base_of_inverse(Decimal(30000), Decimal(60000))
    Decimal('0.5')
    """
    if not value:
        return ZERO
    if not mark:
        raise BadCellError(Reason.MISSING, "mark price of an inverse contract")
    return canonical(_WIDE.quantize(_WIDE.divide(value, mark), _WIDE.scaleb(1, -MAX_SCALE)))
