"""The time of a live unit: what it does before the broker's time is known, and ahead of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from riskwatch.contracts.codec import decode, encode
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.clock import DAY, HOUR, SECOND, moment, rfc3339
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Command, Fill
from riskwatch.core.readings import CounterpartyReading, FlowFeatures
from riskwatch.engine.clock import LiveClock
from riskwatch.engine.record import event_time
from riskwatch.worker.merge import EventTimeMerge, InboundMessage, PartitionCursor, PartitionDecoder
from riskwatch.worker.unit import SILENCE_US, UnitTiming
from tests.support.people import command
from tests.support.toy import START_S, fill_line
from tests.support.units import FILLS, START_US, Bench

CALM = FlowFeatures(0.1, 0.0, 0, 0, 0, {}, {}, 0.0, 0)


def work(bench: Bench, after_s: float, live_us: int) -> None:
    """Let time pass, and do a turn in which ticks may reach `live_us`."""
    bench.now_us += round(after_s * SECOND)
    bench.unit.work(bench.now_us, live_us)


def reached(bench: Bench) -> float:
    """Event time reached, seconds after the start."""
    return bench.grid.reached / SECOND - START_S


def test_without_the_brokers_time_only_the_closing_tick_comes() -> None:
    """What an event changed is read out; the clock of the machine moves nothing."""
    bench = Bench()
    bench.open(end=1)
    bench.now_us += SECOND
    bench.put(fill_line(1, 0.5))
    work(bench, 0, 0)
    assert (reached(bench), published(bench)) == (0.5, [])
    work(bench, SILENCE_US / SECOND, 0)
    assert (reached(bench), published(bench)) == (1, [1])
    work(bench, 3_600, 0)
    assert reached(bench) == 1
    assert bench.unit.tick_fault(0) == "the broker's time is not known yet"
    work(bench, 0, bench.now_us)
    assert reached(bench) == 3_602
    assert bench.unit.tick_fault(bench.now_us) is None


def published(bench: Bench) -> list[int]:
    """Seqs in the order in which they went out."""
    return [line[0] for line in bench.publisher.lines]


def test_intervals_are_those_of_the_process_and_not_of_the_clock() -> None:
    """A time that stands still neither keeps batches waiting nor lets the lease expire."""
    bench = Bench(UnitTiming(linger_us=50_000))
    bench.open(end=0)
    for turn in range(10):
        bench.put(fill_line(turn, 0), first=turn)
        work(bench, 1, START_US)
        assert bench.waiting == 0
    for _ in range(10):
        work(bench, 1, START_US)
    assert len(bench.book.renewed) == 3


def test_a_unit_whose_ticks_lag_says_so() -> None:
    """Beyond the interval of ticks and the lag, and after a start until the first tick."""
    bench = Bench(UnitTiming(lag_us=10 * SECOND))
    assert bench.unit.tick_fault(START_US) is None
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    work(bench, 0, START_US + SECOND)
    at = bench.unit.reached_us
    assert at == START_US + SECOND
    assert bench.unit.tick_fault(at + 11 * SECOND) is None
    why = f"its ticks lag: the time is {rfc3339(at + 12 * SECOND)}, the last tick: {rfc3339(at)}"
    assert bench.unit.tick_fault(at + 12 * SECOND) == why
    bench.put(fill_line(2, 1.5), first=1)
    work(bench, 0, 0)
    bench.made()
    bench.open(end=2)
    assert bench.unit.tick_fault(at + SECOND) == (
        f"its ticks lag: the time is {rfc3339(at + SECOND)}, the last tick: none since the start"
    )


def test_a_skipped_tick_decides_nothing() -> None:
    """Two people may skip a tick; the heartbeat must not say that it passed."""
    bench = Bench()
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    work(bench, 0, START_US + SECOND)
    bench.book.aside["tick", 0] = "a: bad; b: bad"
    work(bench, 1, START_US + 2 * SECOND)
    assert (reached(bench), bench.unit.reached_us) == (2, START_US + SECOND)


def test_a_stored_time_ahead_is_reported_once_and_takes_events() -> None:
    """It makes no tick, applies what comes, and says when the clock gets there."""
    bench = Bench(UnitTiming(lag_us=10 * SECOND))
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    work(bench, 0, START_US + 2 * HOUR)
    bench.made()
    bench.open(end=2)
    for turn in range(3):
        bench.put(fill_line(2 + turn, 5 + turn), first=1 + turn)
        work(bench, 5, START_US + (5 + turn) * SECOND)
    (why,) = bench.book.ahead
    assert why.startswith(f"it has reached {rfc3339(START_US + 2 * HOUR)}, 7195 s ahead")
    assert bench.unit.tick_fault(START_US + 9 * SECOND) is not None
    assert bench.store.last is not None
    assert (bench.store.last.counts.applied, reached(bench)) == (4, 7_200)
    assert bench.unit.is_caught_up
    work(bench, 1, START_US + 2 * HOUR)
    assert bench.book.ahead == [why, ""]
    work(bench, 1, START_US + 2 * HOUR + SECOND)
    assert bench.unit.tick_fault(START_US + 2 * HOUR + SECOND) is None


def test_a_replay_through_a_worker_is_not_measured_by_the_clock() -> None:
    """Its time is that of the events; nothing is behind or ahead."""
    bench = Bench(UnitTiming(clock="event"))
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    bench.work(5)
    assert bench.unit.tick_fault(START_US + DAY) is None
    assert bench.unit.tick_fault(0) is None
    assert (bench.unit.reached_us, bench.book.ahead) == (None, [])


def read(
    stream: str, value: bytes, arrived_us: int, clock: LiveClock | None = None
) -> tuple[Any, int, int]:
    """Read one message as a worker does: event or refusal, event time, arrival."""
    decoder = PartitionDecoder(stream, 1, clock)
    merge = EventTimeMerge({stream: PartitionCursor("c", 0, 0, 0, 1)}, {stream: decoder})
    (found,) = merge.put(stream, [InboundMessage(0, arrived_us, None, value, ())], 1)
    return found.event, found.us, found.arrived_us


@pytest.mark.parametrize("ahead_us", [6 * SECOND, HOUR, DAY, 50 * 365 * DAY])
def test_a_halt_of_a_clock_that_is_ahead_counts_as_of_its_arrival(ahead_us: int) -> None:
    """No other command does: it is a dead letter, as every event of the future."""
    made = command("ann", "halt", 60)
    sent = int(made.ts.timestamp()) * SECOND
    event, us, _ = read("riskwatch.commands/0", encode(made), sent - ahead_us)
    assert isinstance(event, Command)
    assert us == sent - ahead_us
    other = encode(command("ann", "release", 60))
    event, _, _ = read("riskwatch.commands/0", other, sent - ahead_us)
    assert event.reason is RejectReason.TS_FROM_FUTURE


def test_a_halt_arrives_at_the_latest_now() -> None:
    """A broker that is ahead does not make it old; a worker that is ahead does not either."""
    made = command("ann", "halt", 60)
    sent = int(made.ts.timestamp()) * SECOND
    clock = LiveClock(SECOND, lambda: sent + SECOND, lambda: 0)
    line = encode(made)
    assert read("riskwatch.commands/0", line, sent + 2 * HOUR, clock)[2] == sent + SECOND
    assert read("riskwatch.commands/0", line, sent, clock)[2] == sent
    other = encode(command("ann", "release", 60))
    assert read("riskwatch.commands/0", other, sent + 2 * HOUR, clock)[2] == sent + 2 * HOUR


def test_a_broker_that_was_set_back_makes_no_event_one_of_the_future() -> None:
    """The largest timestamp and the steady clock say what time it is."""
    clock = LiveClock(SECOND, lambda: START_US, lambda: 0)
    line = fill_line(1, 0)
    behind = START_US - 2 * HOUR
    assert isinstance(read(FILLS, line, behind, clock)[0], Refusal)
    clock.note_confirmed(START_US)
    event, us, arrived = read(FILLS, line, behind, clock)
    assert isinstance(event, Fill)
    assert (us, arrived) == (behind, behind)
    late = json.loads(line) | {"ts": rfc3339(START_US + 6 * SECOND)}
    refused = read(FILLS, msgspec.json.encode(late), behind, clock)[0]
    assert refused.reason is RejectReason.TS_FROM_FUTURE


def test_a_reading_of_a_worker_that_is_ahead_moves_nobodys_time() -> None:
    """It counts, with the broker's time; where there is no broker, with its own."""
    found = CounterpartyReading(START_US + HOUR, "kraken", [], [], CALM)
    assert event_time(found, START_US) == START_US
    assert event_time(found, START_US + HOUR - 5 * SECOND) == START_US + HOUR
    assert event_time(found, 0) == START_US + HOUR


def test_a_journal_with_a_halt_of_the_future_can_be_read() -> None:
    """Its arrival is kept with it, before its own time."""
    made = command("ann", "halt", 60)
    kept = msgspec.structs.replace(made, arrived=moment(START_US - DAY))
    assert decode(encode(kept)) == kept
    other = msgspec.structs.replace(command("ann", "release", 60), arrived=moment(START_US - DAY))
    assert isinstance(decode(encode(other)), Refusal)
