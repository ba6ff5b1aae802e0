"""Short ways to write ledger facts: times in seconds after `START`, amounts as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar, cast

from riskwatch.core.clock import micros
from riskwatch.core.events import (
    Adjustment,
    Balance,
    Event,
    Fill,
    FillCorrection,
    Loan,
    OpenOrder,
    Position,
    Settlement,
    Tick,
    Transfer,
)
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.readings import CounterpartyReading

if TYPE_CHECKING:
    from collections.abc import Iterable

    import msgspec

    from riskwatch.core.events import LedgerEvent
    from riskwatch.core.ledger.outputs import LedgerOutput

START = datetime(2023, 3, 11, 3, tzinfo=UTC)
EventT = TypeVar("EventT", bound=Event)
_NUMBERS = (
    "qty", "price", "fee", "free", "locked", "borrowed", "unrealized_pnl", "amount",
    "to_amount", "reference_price", "entry_price", "mark_price", "liquidation_price",
)  # fmt: skip


def at(seconds: float) -> datetime:
    """`seconds` after `START`."""
    return START + timedelta(seconds=seconds)


def tick(seconds: float) -> Tick:
    """Tick at `seconds` after `START`."""
    return Tick(us=micros(at(seconds)))


def fact(cls: type[EventT], event_id: str, seconds: float, /, **fields: Any) -> EventT:
    """Make an event of `cls`; numbers may be text, `settles_at` may be seconds."""
    common: dict[str, Any] = {
        "v": 1,
        "event_id": event_id,
        "ts": at(seconds),
        "source": "feed",
        "counterparty": "kraken",
        "account": "main",
        "book": "mm",
    }
    for name, value in fields.items():
        if name in _NUMBERS and value is not None:
            common[name] = Decimal(value)
        elif name == "settles_at" and isinstance(value, int | float):
            common[name] = at(value)
        else:
            common[name] = value
    return cls(**common)


def fill(event_id: str, seconds: float, **fields: Any) -> Fill:
    """Buy 1 BTC at 20,000 USD, unless said otherwise."""
    trade = {"base": "BTC", "quote": "USD", "side": "buy", "qty": "1", "price": "20000"}
    return fact(Fill, event_id, seconds, **{**trade, **fields})


def bust(event_id: str, seconds: float, of: Fill) -> FillCorrection:
    """Cancel the fill `of`, restating it."""
    names = ("base", "quote", "side", "qty", "price", "kind", "instrument", "fee", "fee_asset")
    said = {name: getattr(of, name) for name in (*names, "settles_at")}
    where = {name: getattr(of, name) for name in ("counterparty", "account", "book")}
    return fact(FillCorrection, event_id, seconds, fill_id=of.event_id, **said, **where)


def settlement(event_id: str, seconds: float, of: Fill, status: str) -> Settlement:
    """Settle the fill `of`."""
    where = {name: getattr(of, name) for name in ("counterparty", "account", "book")}
    return fact(Settlement, event_id, seconds, fill_id=of.event_id, status=status, **where)


def balance(event_id: str, seconds: float, free: str, **fields: Any) -> Balance:
    """Snapshot of BTC, unless said otherwise."""
    return fact(Balance, event_id, seconds, free=free, **{"asset": "BTC", **fields})


def position(event_id: str, seconds: float, qty: str, /, **fields: Any) -> Position:
    """Snapshot of a BTC/USD position in the instrument ``BTC-PERP``."""
    said = {"base": "BTC", "quote": "USD", "instrument": "BTC-PERP", "qty": qty}
    return fact(Position, event_id, seconds, **{**said, **fields})


def transfer(event_id: str, seconds: float, status: str, **fields: Any) -> Transfer:
    """One status of withdrawal ``t1`` of 5 BTC, unless said otherwise."""
    said = {"transfer_id": "t1", "asset": "BTC", "amount": "5", "direction": "withdrawal"}
    return fact(Transfer, event_id, seconds, status=status, **{**said, **fields})


def order(event_id: str, seconds: float, qty: str, **fields: Any) -> OpenOrder:
    """Snapshot of buy order ``o1`` in BTC/USD, unless said otherwise."""
    said = {"order_id": "o1", "base": "BTC", "quote": "USD", "side": "buy", "price": "20000"}
    return fact(OpenOrder, event_id, seconds, qty=qty, **{**said, **fields})


def loan(event_id: str, seconds: float, amount: str, **fields: Any) -> Loan:
    """Snapshot of loan ``l1`` of USD that we gave, unless said otherwise."""
    said = {"loan_id": "l1", "asset": "USD", "direction": "lent"}
    return fact(Loan, event_id, seconds, amount=amount, **{**said, **fields})


def adjustment(event_id: str, seconds: float, amount: str, **fields: Any) -> Adjustment:
    """Funding in USDT, unless said otherwise; the entry has the id of the event."""
    said = {"adjustment_id": event_id, "asset": "USDT", "kind": "funding"}
    return fact(Adjustment, event_id, seconds, amount=amount, **{**said, **fields})


def run(
    events: Iterable[msgspec.Struct],
    state: LedgerState | None = None,
    stage: LedgerStage | None = None,
) -> list[LedgerOutput]:
    """Collect the outputs of a stage for `events`, on a fresh state unless one is given."""
    state, stage = state or LedgerState(), stage or LedgerStage()
    facts = (cast("LedgerEvent | Tick", event) for event in events)
    return [out for event in facts for out in stage.step(state, event)]


def read(outputs: Iterable[LedgerOutput]) -> CounterpartyReading:
    """Return the last reading among `outputs`."""
    return [out for out in outputs if isinstance(out, CounterpartyReading)][-1]


def amounts(reading: CounterpartyReading) -> dict[str, str]:
    """Write the holdings of a reading as ``asset component`` to amount, where there is one book."""
    return {f"{h.asset} {h.component}": str(h.amount) for h in reading.holdings}


def held(*events: msgspec.Struct, after: float = 0.0) -> dict[str, str]:
    """Tell the holdings of one counterparty after `events` and a tick at `after` seconds."""
    return amounts(read(run([*events, tick(after)])))
