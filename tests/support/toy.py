"""A small pipeline that behaves as the real one must, and lines of events to feed it.

``ToyLedger`` adds up fills per counterparty and reads each one out at a tick; ``ToyMarket``
keeps the last price per feed; ``ToyRisk`` values what it is told, alerts, and counts credit.
Between them they use every way through a pipeline: refusals, readings, ticks, open and closed
rows, and outputs of both kinds (published, and for SQL alone).
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from riskwatch.core.clock import moment, rfc3339
from riskwatch.core.enums import Cause, Quality, RejectReason, State
from riskwatch.core.events import LEDGER_EVENTS, MARKET_EVENTS, RISK_EVENTS, Fill, Tick, identity
from riskwatch.core.ids import output_id
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    AssetValued,
    EventRejected,
    ExposureChanged,
    KillSwitchChanged,
)
from riskwatch.core.readings import CounterpartyReading, FlowFeatures, Holding, MarketReading
from riskwatch.core.stage import encode_row
from riskwatch.engine.pipeline import Pipeline, StageSlot

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output
    from riskwatch.core.stage import Row, RowChanges

BAD_BOOK = "bad"
"""Fills of this book are refused."""
BUG_BOOK = "bug"
"""Fills of this book make the toy ledger raise."""
START_S = 1_678_500_000
"""2023-03-11T02:00:00Z."""


class Rows:
    """State of a toy stage: one JSON value per key."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._dirty: dict[str, None] = {}

    def put(self, key: str, value: Any) -> None:
        """Set a row, or remove it with ``None``."""
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value
        self._dirty[key] = None

    def drain(self) -> RowChanges:
        """Rows that changed since the last call, keys sorted."""
        out = {
            k: encode_row(self.values[k]) if k in self.values else None for k in sorted(self._dirty)
        }
        self._dirty.clear()
        return out

    def load(self, rows: dict[str, Row]) -> None:
        """Become the state that these rows describe."""
        self.values = {key: json.loads(rows[key]) for key in sorted(rows)}


class ToyLedger:
    """Sums of bought less sold quantities per counterparty, read out at ticks."""

    name = "ledger"

    def step(self, state: Rows, event: Any) -> list[Any]:
        """Apply a fill; at a tick, read out who has news."""
        if isinstance(event, Tick):
            return self._tick(state, event.us)
        if not isinstance(event, Fill):
            return []
        if event.book == BUG_BOOK:
            raise ZeroDivisionError("a bug of the toy")
        if event.book == BAD_BOOK:
            cause = identity(event)
            return [
                EventRejected(
                    id=output_id(cause, "EventRejected", cause),
                    cause_id=cause,
                    ts=event.ts,
                    reason=RejectReason.LIMIT_REACHED,
                    detail="max_toys=1",
                )
            ]
        sign = 1 if event.side == "buy" else -1
        key = f"sum/{event.counterparty}"
        state.put(key, str(Decimal(state.values.get(key, "0")) + sign * event.qty))
        state.put(f"news/{event.counterparty}", 1)
        return []

    def _tick(self, state: Rows, us: int) -> list[Any]:
        out: list[Any] = []
        for key in sorted(k for k in state.values if k.startswith("news/")):
            name = key.removeprefix("news/")
            amount = Decimal(state.values[f"sum/{name}"])
            held = Holding(book="b", account="a", asset="BTC", component="custody", amount=amount)
            flow = FlowFeatures(0.1, 0.0, 0, 0, 0, {}, {}, 0.0, 0)
            out.append(CounterpartyReading(us, name, [held], [], flow))
            state.put(key, None)
        return out


class ToyMarket:
    """Last price per asset; an empty reading at each tick that has news."""

    name = "market"

    def step(self, state: Rows, event: Any) -> list[Any]:
        """Keep a price; at a tick, say that there is news."""
        if isinstance(event, Tick):
            if not state.values.get("news"):
                return []
            state.put("news", None)
            return [MarketReading(event.us, [], [])]
        asset = getattr(event, "base", None) or event.asset
        price = getattr(event, "last", None) or event.price
        state.put(f"price/{asset}", float(price))
        state.put("news", 1)
        cause = identity(event)
        return [
            AssetValued(
                id=output_id(cause, "AssetValued", asset), cause_id=cause, ts=event.ts,
                asset=asset, price_usd=float(price), deviation_bp=0.1, value_bp=0.1,
                direct_bp=None, sd_bp=1.0, live=1, expected=1, cause=Cause.NONE,
                quality=Quality.GOOD,
            )
        ]  # fmt: skip


class ToyRisk:
    """Exposure per reading, an alert that opens and closes, and a switch per tick with news."""

    name = "risk"

    def step(self, state: Rows, event: Any) -> list[Any]:
        """Turn readings into outputs; let credit and ticks count."""
        if isinstance(event, CounterpartyReading):
            return self._reading(state, event)
        state.put("met", int(state.values.get("met", 0)) + 1)
        if isinstance(event, Tick) and state.values.pop("stir", None):
            state.put("stir", None)
            cause = f"tick/{rfc3339(event.us)}"
            return [
                KillSwitchChanged(
                    id=output_id(cause, "KillSwitchChanged", "firm"), cause_id=cause,
                    ts=moment(event.us), scope="firm", state=State.WATCH, effective=State.WATCH,
                    quality=Quality.GOOD, reasons=["toy"], cause=Cause.LIMIT, decision_id="d",
                    generation="rules", valid_until=moment(event.us + 60_000_000),
                )
            ]  # fmt: skip
        return []

    def _reading(self, state: Rows, reading: CounterpartyReading) -> list[Output]:
        cause, ts = f"tick/{rfc3339(reading.us)}", moment(reading.us)
        name, amount = reading.counterparty, reading.holdings[0].amount
        state.put("stir", 1)
        out: list[Output] = [
            ExposureChanged(
                id=output_id(cause, "ExposureChanged", name), cause_id=cause, ts=ts, book="b",
                counterparty=name, account="a", asset="BTC", component="custody", amount=amount,
                price_usd=None, value_usd=None,
            )
        ]  # fmt: skip
        opened = state.values.get(f"open/{name}")
        if amount < 0 and opened is None:
            raised = AlertRaised(
                id=output_id(cause, "AlertRaised", name), cause_id=cause, ts=ts,
                alert=f"short/{name}", scope=f"counterparty:{name}", severity=State.WATCH,
                cause=Cause.LIMIT, title="short", reasons=[], exposure_usd=Decimal(1),
            )  # fmt: skip
            state.put(f"open/{name}", raised.id)
            out.append(raised)
        elif amount >= 0 and opened is not None:
            state.put(f"open/{name}", None)
            out.append(
                AlertResolved(
                    id=output_id(cause, "AlertResolved", name), cause_id=cause, ts=ts,
                    alert=f"short/{name}", scope=f"counterparty:{name}", opened_id=opened,
                )
            )  # fmt: skip
        return out


def ledger_slot() -> StageSlot:
    """Build the toy ledger in its place."""
    return StageSlot(ToyLedger(), Rows(), (*LEDGER_EVENTS, Tick))


def market_slot() -> StageSlot:
    """Build the toy market in its place."""
    return StageSlot(ToyMarket(), Rows(), (*MARKET_EVENTS, Tick))


def risk_slot() -> StageSlot:
    """Build the toy risk in its place, journalled."""
    takes = (*RISK_EVENTS, CounterpartyReading, MarketReading, Tick)
    return StageSlot(ToyRisk(), Rows(), takes, journal=True)


def toy_pipeline(*, keep_events: bool = False) -> Pipeline:
    """Build all three stages as an embedded process has them."""
    return Pipeline([ledger_slot(), market_slot(), risk_slot()], keep_events=keep_events)


def fill_line(n: int, seconds: float, qty: str = "1", **changes: Any) -> bytes:
    """Wire bytes of fill `n`, `seconds` after the start."""
    fields = {
        "type": "fill", "v": 1, "event_id": f"f{n}", "source": "desk",
        "ts": rfc3339(START_S * 1_000_000 + round(seconds * 1e6)), "counterparty": "kraken",
        "account": "a", "book": "b", "base": "BTC", "quote": "USD", "side": "buy", "qty": qty,
        "price": "20000",
    }  # fmt: skip
    return json.dumps(fields | changes).encode()


def quote_line(n: int, seconds: float, last: str = "1.0001", **changes: Any) -> bytes:
    """Wire bytes of quote `n`, `seconds` after the start."""
    fields = {
        "type": "quote", "v": 1, "event_id": f"q{n}", "source": "feed",
        "ts": rfc3339(START_S * 1_000_000 + round(seconds * 1e6)), "venue": "kraken",
        "base": "USDC", "quote": "USD", "last": last,
    }  # fmt: skip
    return json.dumps(fields | changes).encode()


def credit_line(n: int, seconds: float) -> bytes:
    """Wire bytes of credit event `n`, `seconds` after the start."""
    return json.dumps(
        {"type": "credit", "v": 1, "event_id": f"c{n}", "source": "press", "subject": "kraken",
         "ts": rfc3339(START_S * 1_000_000 + round(seconds * 1e6)), "kind": "disclosure"}
    ).encode()  # fmt: skip


def toy_lines(count: int, *, step_s: float = 7.0, name: str = "") -> list[bytes]:
    """Mixed events with repeats, refusals, garbage and late ones: a function of `count`."""
    lines = []
    for n in range(count):
        at, side = n * step_s, "sell" if n % 5 in (1, 2) else "buy"
        party = ("kraken", "okx", "binance")[n % 3]
        key = {"event_id": f"{name}{n}"}
        if n % 31 == 30:
            lines.append(b'{"type":"fill", nonsense')
        elif n % 17 == 16:
            lines.append(lines[-3])
        elif n % 13 == 12:
            lines.append(fill_line(n, at, book=BAD_BOOK, **key))
        elif n % 11 == 10:
            lines.append(fill_line(n, at - 200, counterparty=party, **key))
        elif n % 3 == 2:
            lines.append(quote_line(n, at, f"1.{n:04}", **key))
        elif n % 23 == 22:
            lines.append(credit_line(n, at))
        else:
            qty = f"{n % 7 + 1}.{n:03}"
            lines.append(fill_line(n, at, qty, side=side, counterparty=party, **key))
    return lines
