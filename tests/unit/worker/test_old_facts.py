"""Old facts at a live worker: prices and snapshots die by their age, everything else counts."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from riskwatch import scenarios
from riskwatch.contracts.codec import encode
from riskwatch.contracts.outputs import decode_internal
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.topics import topic_of
from riskwatch.core.clock import DAY, SECOND, micros
from riskwatch.core.enums import RejectReason, State
from riskwatch.core.events import (
    Balance,
    Credit,
    Fill,
    OpenOrder,
    Peg,
    Position,
    Quote,
    Transfer,
)
from riskwatch.core.outputs import AlertRaised, KillSwitchChanged
from riskwatch.core.policy import IntakeConfig
from riskwatch.core.readings import CounterpartyReading
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.credit import apply_credit
from riskwatch.core.risk.state import RiskState
from riskwatch.engine import bootstrap
from riskwatch.engine.clock import LiveClock
from riskwatch.worker.merge import EventTimeMerge, InboundMessage, PartitionCursor, PartitionDecoder
from riskwatch.worker.unit import UnitTiming
from tests.support import facts
from tests.support.lane import BEGIN_US, CONFIG, CREDIT, QUOTES, READINGS, RiskBench, news
from tests.support.risk import REFERENCE, START, NoScorer
from tests.support.units import BALANCES, FILLS, Bench

if TYPE_CHECKING:
    from riskwatch.core.events import WireEvent
    from riskwatch.engine.record import InputRecord

HOUR_S: Final = 3_600.0
YEARS_S: Final = 3 * 365 * 86_400.0
PRICES: Final = {"BTC/USD": "20000", "USDC/USD": "1", "USDT/USD": "1", "BTC/USDC": "20000"}


def price(venue: str, pair: str, seconds: float) -> Quote:
    """Make a quote of a pair at a venue, so many seconds after the start."""
    base, quoted = pair.split("/")
    return Quote(
        v=1, event_id=f"{venue}{pair}{seconds}", source=venue, venue=venue, base=base, quote=quoted,
        ts=START + timedelta(seconds=seconds), last=Decimal(PRICES[pair]),
    )  # fmt: skip


def peg() -> Peg:
    """Make a peg of the start."""
    return Peg(
        v=1, event_id="p", source="oracle", ts=facts.START, asset="USDC", venue="oracle",
        price=Decimal(1),
    )  # fmt: skip


def quote() -> Quote:
    """Make a quote of the start."""
    return msgspec.structs.replace(price("kraken", "USDC/USD", 0), ts=facts.START)


MARKET: Final = (quote(), peg())
SNAPSHOTS: Final = (
    facts.balance("b", 0, "1"), facts.position("p", 0, "1"), facts.order("o", 0, "1"),
)  # fmt: skip
LASTING: Final = (
    facts.fill("f", 0), facts.transfer("t", 0, "sent"), facts.loan("l", 0, "5"),
    facts.settlement("s", 0, facts.fill("f", 0), "delivered"),
    msgspec.structs.replace(news(1, 0), ts=facts.START),
)  # fmt: skip


def heard(
    event: WireEvent, age_s: float, intake: IntakeConfig | None = None, *, live: bool = True
) -> InputRecord:
    """Make the record of an event that arrives at this age."""
    stream = f"{topic_of(event)}/0"
    decoder = PartitionDecoder(stream, 1, intake=(intake or IntakeConfig()) if live else None)
    merge = EventTimeMerge({stream: PartitionCursor("c", 0, 0, 0, 1)}, {stream: decoder}, live=live)
    arrived = micros(event.ts) + round(age_s * SECOND)
    return merge.put(stream, [InboundMessage(0, arrived, None, encode(event), ())], 1)[0]


def refusal(record: InputRecord) -> Refusal:
    """Return the refusal of a record."""
    assert isinstance(record.event, Refusal)
    return record.event


@pytest.mark.parametrize(
    ("event", "longest_s"),
    [*((e, HOUR_S) for e in MARKET), *((e, 96 * HOUR_S) for e in SNAPSHOTS)],
    ids=lambda value: type(value).__name__,
)
def test_old_prices_and_snapshots_are_dead_letters(event: WireEvent, longest_s: float) -> None:
    """Beyond their bound, with a reason that names what to do; not at the bound."""
    assert not isinstance(heard(event, longest_s).event, Refusal)
    found = refusal(heard(event, longest_s + 1))
    assert found.reason is RejectReason.TS_TOO_OLD
    assert f"at most {longest_s:g} s before the arrival" in found.detail
    assert f"if {event.source} sends history on purpose" in found.detail
    declared = IntakeConfig(backfill=[event.source])
    assert not isinstance(heard(event, YEARS_S, declared).event, Refusal)
    assert not isinstance(heard(event, YEARS_S, live=False).event, Refusal)


@pytest.mark.parametrize("event", LASTING, ids=lambda value: type(value).__name__)
def test_other_facts_count_at_any_age(event: WireEvent) -> None:
    """Merged by their arrival, so they hold nobody back; a replay merges them by their time."""
    record = heard(event, YEARS_S)
    assert type(record.event) is type(event)
    assert record.us == record.arrived_us - 60 * SECOND
    assert heard(event, YEARS_S, live=False).us == micros(event.ts)
    assert heard(event, 30).us == micros(event.ts)


def test_a_stated_arrival_does_not_make_an_old_fact_fresh() -> None:
    """A recording carries arrivals of its time; the broker's counts."""
    stated = msgspec.structs.replace(facts.fill("f", 0), arrived=facts.at(1))
    old, fresh = heard(stated, YEARS_S).event, heard(stated, 30).event
    assert isinstance(old, Fill)
    assert isinstance(fresh, Fill)
    assert (old.arrived, fresh.arrived) == (facts.at(YEARS_S), facts.at(1))
    ahead = heard(msgspec.structs.replace(facts.fill("f", 0), arrived=facts.at(YEARS_S)), 5).event
    assert isinstance(ahead, Fill)
    assert ahead.arrived == facts.at(5)
    price_of_then = msgspec.structs.replace(quote(), arrived=facts.START)
    assert refusal(heard(price_of_then, YEARS_S)).reason is RejectReason.TS_TOO_OLD


def live_ledger(now_us: int) -> Bench:
    """Make a live unit of the real ledger."""
    bench = Bench(
        UnitTiming(batch=2_000),
        now_us=now_us,
        slot=lambda: bootstrap.ledger_slot(CONFIG, live=True),
    )
    bench.open(0, streams=(FILLS, BALANCES))
    return bench


def bring(bench: Bench, events: list[WireEvent]) -> None:
    """Bring the events of a ledger, all of which arrive now."""
    for stream in (FILLS, BALANCES):
        own = [e for e in events if f"{topic_of(e)}/0" == stream]
        first = bench.unit._merge.cursor(stream).fetched
        made = [
            InboundMessage(first + n, bench.now_us, None, encode(e), ()) for n, e in enumerate(own)
        ]
        bench.unit.put(stream, made, first + len(made), bench.now_us)


def test_an_old_first_fact_does_not_begin_the_time_in_its_past() -> None:
    """A live ledger that begins with a fill of years ago ticks in the present only."""
    now = BEGIN_US + 1_000 * DAY
    bench = live_ledger(now)
    ticks: list[int] = []
    real = bench.runner.tick
    bench.runner.tick = lambda us: (ticks.append(us), real(us))[1]  # type: ignore[method-assign,func-returns-value]
    bring(bench, [facts.fill("f", 0)])
    bench.work(1)
    assert bench.runner.us >= now
    assert ticks
    assert min(ticks) > now - 120 * SECOND


def test_old_news_that_is_over_changes_nothing() -> None:
    """A suspension of years ago restricts nobody; an insolvency counts whenever it is heard."""
    config, state = RiskConfig(), RiskState(NoScorer().fresh())
    state.meta.looked = BEGIN_US + round(YEARS_S * SECOND)
    apply_credit(state, news(1, 0, "withdrawals_suspended"), config, REFERENCE)
    assert "kraken" not in state.credit
    apply_credit(state, news(2, 0, "insolvency"), config, REFERENCE)
    apply_credit(state, news(3, YEARS_S - 26 * HOUR_S, "hack"), config, REFERENCE)
    assert [item.kind for item in state.credit["kraken"].items] == ["insolvency", "hack"]


class Stack:
    """A live ledger and a live risk unit, with fresh prices, three years after an episode."""

    def __init__(self) -> None:
        self.second = YEARS_S
        self.risk = RiskBench(pace=UnitTiming(batch=5_000))
        self.risk.now_us = BEGIN_US + round(self.second * SECOND)
        self.risk.begin()
        self.ledger = live_ledger(self.risk.now_us)
        self._read = 0

    def run(self, seconds: int, step: int = 5) -> None:
        """Let time pass; prices are quoted, and readings reach the risk unit."""
        for _ in range(0, seconds, step):
            self.second += step
            now = BEGIN_US + round(self.second * SECOND)
            self.ledger.now_us = self.risk.now_us = now
            self.ledger.work()
            made = [
                price(venue, pair, self.second - 1)
                for venue in ("kraken", "coinbase", "bitstamp")
                for pair in PRICES
            ]
            self.risk.bring(QUOTES, *made)
            lines = [
                line for line in self.ledger.publisher.lines if line[1] == "riskwatch.readings"
            ]
            readings = [decode_internal(line[3]) for line in lines[self._read :]]
            self.risk.bring(READINGS, *[r for r in readings if isinstance(r, CounterpartyReading)])
            self._read = len(lines)
            self.risk.work()

    @property
    def pages(self) -> list[AlertRaised]:
        """Alerts of restrictions that were raised."""
        return [o for o in self.risk.outputs if isinstance(o, AlertRaised)]


def test_an_old_episode_in_a_live_stack_moves_no_state() -> None:
    """Three thousand lines: holdings count; prices and snapshots do not; nobody is paged."""
    stack = Stack()
    stack.run(60)
    assert not stack.pages
    episode: list[Any] = list(scenarios.events("usdc_2023"))[30_000:33_000]
    kinds = {type(event) for event in episode}
    assert {Quote, Fill, Balance, OpenOrder, Transfer} <= kinds
    bring(stack.ledger, episode)
    stack.risk.bring(QUOTES, *[e for e in episode if isinstance(e, Quote)], arrived_s=stack.second)
    stack.risk.bring(CREDIT, *[e for e in episode if isinstance(e, Credit)], arrived_s=stack.second)
    stack.run(600)
    dead = [d for bench in (stack.ledger, stack.risk) for d in bench.store.dead.values()]
    assert {d.reason for d in dead} == {RejectReason.TS_TOO_OLD}
    mortal = (Quote, Balance, Position, OpenOrder)
    assert len(dead) == sum(isinstance(event, mortal) for event in episode)
    last = {
        row.counterparty: row
        for _, topic, _, value in stack.ledger.publisher.lines
        if topic == "riskwatch.readings"
        and isinstance(row := decode_internal(value), CounterpartyReading)
    }
    traded = {event.counterparty for event in episode if isinstance(event, Fill)}
    assert traded <= {name for name, row in last.items() if row.holdings}
    assert max(row.flow.oldest_withdrawal_s for row in last.values()) <= 660
    strict = [o for o in stack.risk.outputs if isinstance(o, KillSwitchChanged)]
    assert [(o.scope, o.state) for o in strict if o.state is not State.NORMAL] == []
    assert stack.pages == []


def test_a_broker_whose_clock_is_ahead_makes_no_fact_old() -> None:
    """The clock of this machine bounds the arrival: prices count, and no wait begins in future."""
    fact, age_us = facts.fill("f", 0), 2 * 3_600 * SECOND
    clock = LiveClock(wall=lambda: micros(facts.START) + SECOND)
    decoder = PartitionDecoder("riskwatch.fills/0", 1, clock, intake=IntakeConfig())
    market = PartitionDecoder("riskwatch.quotes/0", 1, clock, intake=IntakeConfig())
    assert market.refusal(quote(), None, micros(facts.START) + age_us) is None
    assert decoder.restated_arrival(fact, micros(facts.START) + age_us) == facts.at(1)
