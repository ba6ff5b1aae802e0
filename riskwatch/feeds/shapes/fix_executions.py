"""FIX execution reports (4.2 to 5.0): a drop copy, with corrections and cancellations of trades."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from riskwatch.core.clock import micros
from riskwatch.core.events import FillCorrection
from riskwatch.core.money import ZERO, mul
from riskwatch.feeds.document import Form, Record
from riskwatch.feeds.record import Reason
from riskwatch.feeds.shape import (
    ACCOUNT,
    FileSession,
    FileShape,
    Fit,
    amount,
    kind_of,
    name_of,
    needed_name,
    pair_of,
    text,
)
from riskwatch.feeds.values import BadCellError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from riskwatch.core.events import Event, FillKind, Side
    from riskwatch.feeds.document import Document
    from riskwatch.feeds.shape import FileLabels, FileReport

_START: Final = re.compile(rb"8=FIX(?:T\.1\.1|\.\d\.\d)([\x01|^])")
_END: Final = re.compile(rb"\x0110=\d{1,3}\x01?")
_TIME: Final = re.compile(r"(\d{8})-(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?")
_BUYS: Final = {"1": "buy", "3": "buy", "2": "sell", "4": "sell", "5": "sell", "6": "sell"}
_NEW, _CANCEL, _CORRECT = "new", "cancel", "correct"
_BY_EXEC_TYPE: Final = {"F": _NEW, "1": _NEW, "2": _NEW, "H": _CANCEL, "G": _CORRECT}
_BY_TRANS_TYPE: Final = {"1": _CANCEL, "2": _CORRECT}
_LIQUIDITY: Final = {"1": "maker", "2": "taker"}
_SHARE, _PERCENT, _ABSOLUTE = "1", "2", "3"


@dataclass(frozen=True)
class _Trade:
    """A trade as it is in force."""

    trade_id: str
    pair: tuple[str, str]
    side: Side
    qty: Decimal
    price: Decimal
    kind: FillKind
    instrument: str | None
    busted: bool = False


class FixExecutions(FileShape):
    """Execution reports of an order path or a drop copy, separated by SOH, ``|`` or ``^``.

    A trade is named by its ExecID. A correction or a cancellation names it by ExecRefID. It may
    name an earlier correction, too. Text before a message, such as the time of a log, is passed by.
    """

    name = "fix-executions"
    about = "FIX 4.2 to 5.0: execution reports of a drop copy, with corrections and busts"
    gives = "fill, fill_correction"
    needs: ClassVar = (ACCOUNT,)
    forms: ClassVar = (Form.FIX,)

    def fit(self, document: Document) -> Fit:
        """Return how well a file fits: any FIX does."""
        return Fit(20 if document.form is Form.FIX else 0)

    def account_of(self, document: Document) -> str | None:
        """Return the account of the messages, if all executions have one."""
        found = {
            name_of(fields.get("1"))
            for fields, _ in messages(document.content())
            if fields.get("35") == "8"
        }
        return found.pop() or None if len(found) == 1 else None

    def records(self, document: Document, report: FileReport) -> Iterator[Record]:
        """Yield one record for each message, and count wrong checksums."""
        for row, (fields, is_intact) in enumerate(messages(document.content()), 1):
            report.tally.read += 1
            if not is_intact:
                report.unknown["messages whose checksum is wrong"] += 1
            yield Record(row, fields)

    def session(self, document: Document, labels: FileLabels, report: FileReport) -> FileSession:
        """Return the reading of one file."""
        return _FixSession(document, labels, report, f"{labels.venue}-fix")


class _FixSession(FileSession):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._trades: dict[str, str] = {}
        self._now: dict[str, _Trade] = {}

    def take(self, record: Record) -> Iterator[Event]:
        """Return the fill or the correction of a message."""
        cells = record.cells
        if cells.get("35") != "8":
            raise BadCellError(Reason.NO_EFFECT, f"MsgType {text(cells.get('35'))}")
        kind = _BY_TRANS_TYPE.get(text(cells.get("20"))) or _BY_EXEC_TYPE.get(
            text(cells.get("150"))
        )
        if kind is None:
            raise BadCellError(Reason.NO_EFFECT, f"ExecType {text(cells.get('150'))}")
        entry = text(cells.get("17"))
        if not entry:
            raise BadCellError(Reason.MISSING, "ExecID")
        if entry in self._trades:
            raise BadCellError(Reason.DUPLICATE, f"ExecID {entry}")
        us = self._fix_time(cells)
        if kind == _NEW:
            trade = _trade_of(cells, entry)
            self._trades[entry], self._now[entry] = entry, trade
            yield self._fill(cells, us, trade)
        else:
            yield self._correction(cells, us, entry, kind)

    def _fix_time(self, cells: Any) -> int:
        """Return the time of the transaction, in UTC."""
        found = text(cells.get("60")) or text(cells.get("52"))
        match = _TIME.fullmatch(found)
        if match is None:
            raise BadCellError(Reason.BAD_TIME, found)
        try:
            at = datetime.strptime(f"{match[1]}{match[2]}", "%Y%m%d%H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            raise BadCellError(Reason.BAD_TIME, found) from None
        return self.time(micros(at) + int((match[3] or "").ljust(6, "0")[:6]))

    def _fill(self, cells: Any, us: int, trade: _Trade) -> Event:
        fee = _commission(cells, trade)
        return self.fill(
            trade.trade_id, us, trade.pair, trade.side, trade.qty, trade.price, fee=fee or None,
            fee_asset=(name_of(cells.get("479")) or trade.pair[1]) if fee else None,
            order_id=text(cells.get("37")) or None, kind=trade.kind, instrument=trade.instrument,
            liquidity=_LIQUIDITY.get(text(cells.get("851"))),
        )  # fmt: skip

    def _correction(self, cells: Any, us: int, entry: str, kind: str) -> Event:
        referred = text(cells.get("19"))
        trade = self._now.get(self._trades.get(referred, ""))
        if trade is None or trade.busted:
            raise BadCellError(Reason.UNKNOWN_TRADE, f"ExecRefID {referred}")
        amended: dict[str, Any] = {"status": "bust"}
        now = replace(trade, busted=True)
        if kind == _CORRECT:
            now = replace(trade, qty=amount(cells.get("32")), price=amount(cells.get("31")))
            amended = {"status": "amend", "amended_qty": now.qty, "amended_price": now.price}
        self._trades[entry], self._now[trade.trade_id] = trade.trade_id, now
        labels = self.labels
        return FillCorrection(
            **self._common(f"{kind}:{entry}", us), trade_id=trade.trade_id, base=trade.pair[0],
            quote=trade.pair[1], side=trade.side, qty=trade.qty, price=trade.price,
            kind=trade.kind, instrument=trade.instrument, wallet=labels.wallet or None, **amended,
        )  # fmt: skip


def _trade_of(cells: Any, entry: str) -> _Trade:
    side = _BUYS.get(text(cells.get("54")))
    if side is None:
        raise BadCellError(Reason.UNKNOWN_SIDE, cells.get("54"))
    symbol = needed_symbol(cells)
    kind = kind_of({"FUT": "future", "OPT": "option", "PERP": "swap"}.get(
        text(cells.get("167")).upper(), text(cells.get("167"))))  # fmt: skip
    return _Trade(
        entry, pair_of(symbol), "buy" if side == "buy" else "sell", amount(cells.get("32")),
        amount(cells.get("31")), kind, None if kind == "spot" else symbol,
    )  # fmt: skip


def needed_symbol(cells: Any) -> str:
    """Return the symbol of a message; one without a separator gets the currency as its quote."""
    symbol, currency = text(cells.get("55")), name_of(cells.get("15"))
    if not symbol:
        raise BadCellError(Reason.MISSING, "Symbol")
    try:
        pair_of(symbol)
    except BadCellError:
        if currency and symbol.endswith(currency) and symbol != currency:
            return f"{symbol.removesuffix(currency)}/{currency}"
        if currency and symbol != currency:
            return f"{needed_name(symbol)}/{currency}"
        raise
    return symbol


def _commission(cells: Any, trade: _Trade) -> Decimal:
    """Return the commission of a trade, whether it is stated in all, by unit or in percent."""
    found = amount(cells.get("12"), ZERO)
    basis = text(cells.get("13")) or _ABSOLUTE
    if not found or basis == _ABSOLUTE:
        return found
    if basis == _SHARE:
        return mul(found, trade.qty)
    if basis == _PERCENT:
        return mul(mul(found, amount("0.01")), mul(trade.qty, trade.price))
    raise BadCellError(Reason.UNKNOWN_STATUS, f"CommType {basis}")


def messages(content: bytes) -> Iterator[tuple[dict[str, str], bool]]:
    """Yield the fields of each message, and whether its checksum is right.

    Of a field that a message has several times (in a group), the first one counts.
    """
    import simplefix  # noqa: PLC0415 - only a file of FIX needs it

    starts = [(match.start(), match[1]) for match in _START.finditer(content)]
    ends = [at for at, _ in starts[1:]] + [len(content)]
    for (start, separator), end in zip(starts, ends, strict=True):
        raw = content[start:end].replace(separator, b"\x01")
        closed = _END.search(raw)
        raw = raw[: closed.end()] if closed else raw.rstrip()
        raw = raw if raw.endswith(b"\x01") else raw + b"\x01"
        parser = simplefix.FixParser(allow_empty_values=True)
        parser.append_buffer(raw)
        message = parser.get_message()
        fields: dict[str, str] = {}
        for tag, value in message.pairs if message is not None else ():
            fields.setdefault(tag.decode("ascii", "replace"), value.decode("utf-8", "replace"))
        body = raw[: closed.start() + 1] if closed else b""
        yield fields, bool(closed) and fields.get("10") == f"{sum(body) % 256:03d}"
