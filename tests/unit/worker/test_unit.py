"""A unit without servers, on a clock set by the test."""

from __future__ import annotations

import json
from typing import Any

import pytest

from riskwatch.core.clock import SECOND, rfc3339
from riskwatch.core.enums import RejectReason
from riskwatch.errors import FencedError, StageFaultError, StreamIdentityError
from riskwatch.store.truth import TICKS
from riskwatch.worker.merge import InboundMessage
from riskwatch.worker.unit import UnitTiming
from tests.support.toy import BUG_BOOK, START_S, fill_line
from tests.support.units import BALANCES, FILLS, START_US, Bench, message, placements

EVENT = UnitTiming(clock="event")


def reached(bench: Bench) -> float:
    """Event time of the runner, seconds after the start."""
    return bench.runner.us / SECOND - START_S


def published(bench: Bench) -> list[int]:
    """Seqs in the order in which they went out."""
    return [line[0] for line in bench.publisher.lines]


def test_opening_says_where_to_read_on() -> None:
    """From the first offset at first, then from behind what was committed."""
    bench = Bench()
    assert bench.unit.epoch == 0
    assert bench.open(end=2) == {FILLS: 0}
    bench.put(fill_line(1, 0), fill_line(2, 0.1))
    assert bench.work(1) == 2
    assert bench.unit.position(FILLS) == 2
    bench.made()
    assert bench.open(end=2) == {FILLS: 2}
    assert (bench.unit.epoch, bench.sample("riskwatch_epoch", worker="ledger/0")) == (2, 2)


def test_the_wall_clock_ticks_only_when_all_is_read() -> None:
    """While there is a backlog, time is what events say; at the end it is the clock's."""
    bench = Bench(UnitTiming(batch=2))
    bench.open(end=4)
    bench.now_us = START_US + 60 * SECOND
    bench.put(*(fill_line(n, n) for n in range(4)))
    assert bench.work() == 2
    assert reached(bench) == 1
    bench.work()
    assert reached(bench) == 60
    bench.put(fill_line(9, 60.5), first=4, end=9)
    bench.work(5)
    assert reached(bench) == 60.5
    bench.put(*(fill_line(20 + n, 60.6) for n in range(4)), first=5)
    bench.work()
    bench.work(1)
    assert reached(bench) == 66


def test_silence_does_not_thin_out_the_wall_clock() -> None:
    """However long nothing comes in, live time passes at every grid point."""
    bench = Bench()
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    bench.work()
    for second in range(1, 900):
        bench.work(1)
        assert reached(bench) == second


def test_a_long_outage_costs_few_ticks() -> None:
    """A week that nobody worked is made up for by days and hours, not by seconds."""
    bench = Bench()
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    ticks: list[int] = []
    real = bench.runner.tick
    bench.runner.tick = lambda us: (ticks.append(us), real(us))[1]  # type: ignore[method-assign,func-returns-value]
    bench.work(7 * 24 * 3600.0)
    assert reached(bench) == 7 * 24 * 3600
    assert len(ticks) < 500


def test_urgent_events_are_decided_upon_at_once() -> None:
    """A tick between two grid points, for a command or a credit event alone."""
    bench, news = Bench(tick_s=60), "riskwatch.credit/0"
    bench.open(streams=(FILLS, news))
    bench.put(fill_line(1, 0))
    bench.work()
    bench.put(fill_line(2, 5), first=1)
    bench.work(6)
    assert reached(bench) == 5
    credit = {
        "type": "credit", "v": 1, "event_id": "c", "source": "press", "subject": "kraken",
        "ts": rfc3339(START_US + 6 * SECOND), "kind": "hack",
    }  # fmt: skip
    bench.put(json.dumps(credit).encode(), stream=news)
    bench.work(1.5)
    assert reached(bench) == 7.5


def test_the_clock_of_events_stands_still_between_them() -> None:
    """A second of silence ends the step that they began; then nothing more happens."""
    bench = Bench(EVENT, tick_s=60)
    bench.open(end=1)
    bench.now_us += 3600 * SECOND
    bench.put(fill_line(1, 5))
    bench.work()
    assert (reached(bench), published(bench)) == (5, [])
    bench.work(0.9)
    assert reached(bench) == 5
    bench.work(0.2)
    assert (reached(bench), published(bench)) == (60, [1])
    bench.work(3600)
    assert reached(bench) == 60
    bench.put(fill_line(2, 6), first=1)
    bench.work()
    bench.work(2)
    assert (reached(bench), published(bench)) == (120, [1, 2])


def test_who_lost_the_lease_stops() -> None:
    """At its next commit, or when it only renews."""
    for lines in ([fill_line(1, 0)], []):
        bench = Bench()
        bench.open(end=1)
        bench.put(*lines)
        bench.store.take_lease("ledger/0", "other")
        with pytest.raises(FencedError):
            bench.work(5)


def test_the_lease_is_renewed_where_nothing_is_committed() -> None:
    """After `renew_us`, and not where a batch did it."""
    bench = Bench(EVENT)
    bench.open(end=0)
    for _ in range(10):
        bench.work(1)
    assert len(bench.book.renewed) == 3
    bench.put(fill_line(1, 0))
    bench.work(2.5)
    bench.work(2.9)
    assert len(bench.book.renewed) == 3
    bench.work(0.2)
    assert len(bench.book.renewed) == 4


def test_a_stage_that_raises_is_noted_and_ends_the_unit() -> None:
    """With place and count; nothing of the batch is written. The third time it stays down."""
    bench = Bench()
    for times in (1, 2, 3):
        bench.made()
        bench.open(end=2)
        assert bench.unit.fault is None
        bench.put(fill_line(1, 0), fill_line(2, 1, book=BUG_BOOK))
        said = f"a stage failed at {FILLS} 1 for time {times}: ZeroDivisionError: a bug of the toy"
        with pytest.raises(StageFaultError, match=said):
            bench.work()
    assert bench.store.commits == 0
    bench.made()
    bench.open(end=2)
    assert str(bench.unit.fault).startswith(f"a stage failed 3 times at {FILLS} 1 (ValueError")
    assert bench.book.heard == [(FILLS, 1)]
    assert bench.sample("riskwatch_stage_fault", worker="ledger/0") == 1
    bench.put(fill_line(1, 0), fill_line(2, 1, book=BUG_BOOK))
    assert (bench.work(), bench.unit.is_caught_up) == (0, False)
    assert bench.waiting == 2


def test_a_unit_that_is_down_keeps_its_lease_and_sees_the_quarantine() -> None:
    """Once two people set the message aside it goes on, and refuses it unread."""
    bench = Bench()
    bench.book.crashes[FILLS, 1] = 3
    bench.open(end=3)
    bench.put(fill_line(1, 0), fill_line(2, 1, book=BUG_BOOK), fill_line(3, 2))
    bench.work(4)
    assert f"at {FILLS} 1" in str(bench.unit.fault)
    assert len(bench.book.renewed) == 1
    bench.book.aside[FILLS, 1] = "a: bad; b: bad"
    bench.work(1)
    found = [bench.unit.fault is None]
    bench.work(4)
    assert [*found, bench.unit.fault is None] == [False, True]
    assert bench.sample("riskwatch_stage_fault", worker="ledger/0") == 0
    assert bench.work(1) == 3
    (letter,) = bench.store.dead.values()
    assert (letter.position, letter.reason) == (1, RejectReason.QUARANTINED)
    assert letter.detail == "a: bad; b: bad"
    assert bench.book.passed == [{FILLS: 3}]


def test_a_tick_that_raises_is_noted_as_one() -> None:
    """It has no message to blame."""
    bench = Bench()
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    bench.work()

    def broken(us: int) -> None:
        raise ValueError(f"at {us}")

    bench.runner._tick = broken  # type: ignore[method-assign]
    with pytest.raises(StageFaultError, match="failed at tick 0 for time 1: ValueError"):
        bench.work(2)
    assert bench.book.crashes == {(TICKS, 0): 1}


def test_a_partition_that_brings_nothing_is_given_up_on_and_said_once(logged: list[Any]) -> None:
    """The others go on after two seconds, without a line in the log at each turn."""
    bench = Bench()
    bench.open(end=1, streams=(FILLS, BALANCES))
    for turn in range(100):
        bench.put(fill_line(turn, turn / 10), first=turn, end=turn + 1)
        taken = bench.work(0.1)
        assert taken == 0 if turn < 18 else True
    assert bench.waiting == 0
    assert len([e for e in logged if e["event"] == "not waited for any longer"]) == 1


def test_messages_that_are_known_are_not_taken_again() -> None:
    """A fetch that was under way when the position was moved."""
    bench = Bench()
    bench.open(end=3)
    bench.put(fill_line(1, 0), fill_line(2, 1))
    bench.put(fill_line(1, 0), fill_line(2, 1), fill_line(3, 2))
    assert (bench.waiting, bench.unit.depth(FILLS)) == (3, 3)
    assert bench.work(5) == 3


def test_a_partition_that_was_cut_off_stops_the_unit() -> None:
    """The broker ends before what was read of it: other messages will get those offsets."""
    bench = Bench()
    bench.open(end=3)
    bench.put(*(fill_line(n, n) for n in range(3)))
    bench.work(5)
    with pytest.raises(StreamIdentityError, match=f"{FILLS}: read up to offset 3, but the broker"):
        bench.unit.put(FILLS, [message(0, fill_line(9, 9))], 2, bench.now_us)


def test_offsets_without_messages_are_passed_over() -> None:
    """The end of a transaction is an offset with nothing to read: the unit is idle behind it."""
    bench = Bench()
    bench.open(end=2)
    bench.put(fill_line(1, 0), end=2)
    bench.work(1)
    found = [bench.idle]
    bench.unit.put(FILLS, [], 2, bench.now_us, behind=2)
    bench.work(1)
    assert [*found, bench.idle] == [False, True]
    assert bench.store.offsets[FILLS].position == 2
    bench.made()
    assert bench.open(end=2) == {FILLS: 2}


def test_a_unit_that_stays_goes_on_after_a_rebalance() -> None:
    """Its state stays; what waited in memory is read again."""
    bench = Bench(UnitTiming(batch=2))
    bench.open(end=4)
    bench.put(*(fill_line(n, n) for n in range(4)))
    bench.work()
    assert bench.unit.reopen(placements(4), bench.now_us) == {FILLS: 2}
    assert (bench.waiting, bench.unit.epoch) == (0, 1)
    bench.put(*(fill_line(n, n) for n in (2, 3)), first=2)
    assert bench.work(5) == 2
    assert bench.store.last is not None
    assert bench.store.last.counts.applied == 4


def test_a_unit_does_not_go_on_where_others_worked() -> None:
    """Another set of partitions, or a lease that was taken meanwhile: begin anew."""
    bench = Bench()
    bench.open(end=0)
    assert bench.unit.reopen(placements(0, (FILLS, BALANCES)), bench.now_us) is None
    bench.store.take_lease("ledger/0", "other")
    assert bench.unit.reopen(placements(0), bench.now_us) is None


def test_a_lease_that_says_who_works_is_not_taken_back() -> None:
    """Who lost it during a rebalance ends: the other one leads."""
    bench = Bench(UnitTiming(alone=True))
    bench.open(end=0)
    bench.store.take_lease("ledger/0", "other")
    with pytest.raises(FencedError):
        bench.unit.reopen(placements(0), bench.now_us)


def test_a_rebalance_looks_at_the_partitions_again() -> None:
    """They may have been recreated meanwhile."""
    bench = Bench()
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    bench.work(1)
    with pytest.raises(StreamIdentityError, match="the broker ends at 0"):
        bench.unit.reopen(placements(0), bench.now_us)


def test_the_mirror_is_told_what_is_committed() -> None:
    """Worker, epoch and records, after the commit."""
    bench = Bench()
    bench.open(end=1)
    bench.put(fill_line(1, 0))
    bench.work(2)
    assert bench.told == [("ledger/0", 1, [1])]


def test_metrics_say_what_a_batch_was() -> None:
    """Counts, refusals by topic, latency from arrival to publication, and lag."""
    bench = Bench()
    bench.open(end=3)
    bench.put(fill_line(1, 0), b"{", end=3)
    bench.work(2)
    worker = {"worker": "ledger/0"}
    assert bench.sample("riskwatch_records_total", outcome="applied", **worker) == 1
    assert bench.sample("riskwatch_records_total", outcome="rejected", **worker) == 1
    refused = {"topic": "riskwatch.fills", "reason": "JSON_MALFORMED"}
    assert bench.sample("riskwatch_rejected_total", **refused) == 1
    assert bench.sample("riskwatch_lag_records", topic="riskwatch.fills", partition="0") == 1
    assert bench.sample("riskwatch_latency_seconds_count", type="fill", **worker) == 1
    waited = bench.sample("riskwatch_latency_seconds_sum", type="fill", **worker)
    assert waited is not None
    assert 2 <= waited < 3
    bench.unit.close()
    assert bench.book.released == [1]
    assert bench.sample("riskwatch_epoch", **worker) is None


def test_headers_without_a_value_are_no_bug() -> None:
    """Kafka allows them; the message is refused for what it says, and kept."""
    bench = Bench()
    bench.publisher.dead_letters = True
    bench.open(end=1)
    odd: Any = (("trace", None), ("b", b"1"))
    bench.unit.put(FILLS, [InboundMessage(0, bench.now_us, b"k", b"{", odd)], 1, bench.now_us)
    assert bench.work(1) == 1
    (letter,) = bench.store.dead.values()
    assert letter.headers == (("trace", b""), ("b", b"1"))


def test_a_restart_does_not_forget_the_tick_that_is_to_come() -> None:
    """Killed between an event and the tick that shows it: the next life brings it, once."""
    bench = Bench(EVENT)
    bench.open(end=1)
    bench.put(fill_line(1, 0.5))
    bench.work()
    found = [(bench.grid.fresh, bench.grid.silent)]
    for _ in range(2):
        bench.made()
        bench.open(end=1)
        bench.work(2)
        found.append((bench.grid.fresh, bench.grid.silent))
    assert found == [(True, 0), (False, 1), (False, 1)]
