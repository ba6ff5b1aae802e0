"""Urgent records of a live worker: a HALT, a fault and news that tightens wait for no backlog."""

from __future__ import annotations

import msgspec
import pytest

from riskwatch.contracts.codec import decode
from riskwatch.core.clock import SECOND, micros
from riskwatch.core.events import Command
from riskwatch.core.outputs import CommandRefused, KillSwitchChanged
from riskwatch.worker.unit import UnitTiming
from tests.support.lane import (
    BEGIN_US,
    COMMANDS,
    CONFIG,
    CREDIT,
    QUOTES,
    READINGS,
    RiskBench,
    fault,
    news,
    order,
    price,
    rederived,
)

BACKLOG = 20_000
HOUR_S = 3_600.0


def behind(count: int = 1_000, **settings: int) -> RiskBench:
    """Make a unit that comes back after an hour, with quotes of that hour to read."""
    bench = RiskBench(**settings)  # type: ignore[arg-type]
    bench.begin()
    bench.bring(QUOTES, price(0, 0))
    bench.at(1)
    bench.catch_up()
    bench.publisher.lines.clear()
    bench.bring(QUOTES, *(price(1 + n, 2 + n * HOUR_S / count) for n in range(count)))
    bench.now_us = BEGIN_US + round((HOUR_S + 10) * SECOND)
    return bench


def reached(bench: RiskBench) -> float:
    """Event time reached, seconds after the start."""
    return (bench.runner.us - BEGIN_US) / SECOND


def test_a_halt_is_decided_in_the_next_batch_under_a_backlog() -> None:
    """However many quotes wait; it advances no time, and is published although outputs are held."""
    bench = behind(BACKLOG)
    bench.work()
    before = reached(bench)
    bench.bring(COMMANDS, order("ann", "halt", HOUR_S + 9))
    bench.work()
    assert bench.answers == ["applied"]
    assert bench.switch("firm")[-1] == "HALT"
    assert before <= reached(bench) < 60
    assert bench.waiting > BACKLOG - 1_000
    assert not bench.unit.is_caught_up
    assert bench.published("riskwatch.killswitch") == ["firm"]


def test_a_halt_passes_a_partition_that_was_not_fetched() -> None:
    """Nobody knows what it holds, and the HALT does not wait to learn it."""
    bench = RiskBench()
    bench.begin(quotes=5)
    bench.bring(COMMANDS, order("ann", "halt", 1))
    bench.at(1)
    assert (bench.switch("firm"), bench.idle) == (["HALT"], False)


def test_a_halt_passes_records_of_its_own_time() -> None:
    """A tie of event times is no reason to wait for all of them."""
    bench = RiskBench()
    bench.begin()
    bench.bring(QUOTES, *(price(n, 5) for n in range(500)))
    bench.bring(COMMANDS, order("ann", "halt", 5))
    bench.at(6)
    assert (bench.switch("firm"), bench.waiting > 0) == (["HALT"], True)


@pytest.mark.parametrize("what", ["news", "fault"])
def test_news_and_faults_are_evaluated_under_a_backlog(what: str) -> None:
    """At once, by a tick directly after the time reached; the backlog waits."""
    bench = behind()
    if what == "news":
        bench.bring(CREDIT, news(1, HOUR_S + 9))
    else:
        bench.bring(READINGS, fault(1, HOUR_S + 9))
    bench.work()
    assert bench.waiting > 800
    assert reached(bench) < 600
    kinds = [kind for _, kind, _ in bench.store.journal.values()]
    place = kinds.index("credit" if what == "news" else "partition_fault")
    assert "tick" in kinds[place:]
    if what == "news":
        assert bench.switch("counterparty:kraken")[-1:] == ["HALT"]
        assert "counterparty:kraken" in bench.published("riskwatch.killswitch")


def test_news_that_may_loosen_waits_its_turn() -> None:
    """A retraction is not handed out early, unless urgent news stands behind it."""
    bench = behind()
    bench.bring(CREDIT, news(1, HOUR_S + 1, "withdrawals_resumed"))
    bench.work()
    assert "credit" not in [kind for _, kind, _ in bench.store.journal.values()]
    bench.bring(CREDIT, news(2, HOUR_S + 2))
    bench.work()
    kinds = [kind for _, kind, _ in bench.store.journal.values()]
    assert kinds.count("credit") == 2
    assert bench.waiting > 700


@pytest.mark.parametrize("action", ["release", "approve", "override", "set_limit"])
def test_what_loosens_is_refused_while_the_worker_is_behind(action: str) -> None:
    """With a reason that says what to do; the same command passes once it has caught up."""
    limit = CONFIG.limits.limits[0]
    scope, args = "firm", dict[str, str]()
    if action == "set_limit":
        scope = "firm" if limit.scope_kind == "firm" else f"{limit.scope_kind}:{limit.subject}"
        args = {"limit": limit.id, "hard_usd": str(int(limit.hard_usd) * 2)}
    elif action == "approve":
        args = {"request": "none"}
    bench = behind()
    bench.bring(COMMANDS, order("ann", "halt", HOUR_S + 5))
    bench.work()
    bench.bring(COMMANDS, order("ann", action, HOUR_S + 9, scope, **args))
    bench.work()
    assert bench.answers == ["applied", "BEHIND"]
    (refused,) = [o for o in bench.outputs if isinstance(o, CommandRefused)]
    assert "is catching up" in refused.detail
    assert "give the command again with a new key" in refused.detail
    bench.catch_up()
    bench.at(HOUR_S + 20)
    bench.bring(COMMANDS, order("ann", action, HOUR_S + 20, scope, **args))
    bench.at(HOUR_S + 21)
    assert bench.answers[-1] != "BEHIND"
    assert bench.switch("firm") == ["HALT"]


def test_a_limit_is_lowered_under_a_backlog() -> None:
    """It tightens."""
    limit = CONFIG.limits.limits[0]
    scope = "firm" if limit.scope_kind == "firm" else f"{limit.scope_kind}:{limit.subject}"
    bench = behind()
    lower = str(int(limit.hard_usd) // 2)
    bench.bring(
        COMMANDS, order("ann", "set_limit", HOUR_S + 9, scope, limit=limit.id, hard_usd=lower)
    )
    bench.work()
    assert bench.answers == ["applied"]


def test_a_release_at_a_restart_without_a_backlog_is_no_loosening_behind() -> None:
    """Nothing else waits, so nothing is missed."""
    bench = RiskBench()
    bench.begin()
    bench.bring(QUOTES, price(0, 0))
    bench.bring(COMMANDS, order("ann", "halt", 1))
    bench.at(2)
    bench.made()
    bench.begin()
    bench.bring(COMMANDS, order("bob", "release", 9))
    bench.at(10)
    assert bench.answers[-1] != "BEHIND"


def test_a_release_does_not_overtake_in_ordinary_operation() -> None:
    """It waits for what came before it, and a HALT behind it does not: then the release is late."""
    for pushed in (False, True):
        bench = RiskBench()
        bench.begin()
        bench.bring(QUOTES, price(0, 0))
        bench.at(1)
        bench.bring(COMMANDS, order("ann", "halt", 1.1))
        bench.at(1.5)
        bench.bring(QUOTES, *(price(1 + n, 2) for n in range(150)))
        bench.bring(COMMANDS, order("ann", "release", 2.5))
        if pushed:
            bench.bring(COMMANDS, order("ann", "halt", 2.6, "asset:USDC"))
        bench.at(3)
        assert bench.unit.is_caught_up
        assert bench.answers[1:] == (["BEHIND", "applied"] if pushed else [])
        bench.at(3.1)
        assert ("BEHIND" in bench.answers) is pushed
        assert len(bench.answers) == 2 + pushed


def test_no_sender_says_whether_the_worker_is_behind() -> None:
    """The field of the command is the worker's; whatever a message has there is dropped."""
    bench = RiskBench()
    bench.begin()
    bench.bring(QUOTES, price(0, 0))
    bench.at(0.5)
    made = order("ann", "release", 1)
    bench.bring(COMMANDS, msgspec.structs.replace(made, reached=made.ts))
    bench.at(2)
    assert bench.answers == ["NOT_HALTED"]
    bench = behind()
    bench.bring(COMMANDS, order("ann", "release", HOUR_S + 9))
    bench.work()
    (line,) = [p for _, kind, p in bench.store.journal.values() if kind == "command"]
    kept = decode(line)
    assert isinstance(kept, Command)
    assert kept.reached is not None
    assert micros(kept.reached) < BEGIN_US + 600 * SECOND


def test_the_journal_is_the_order_of_a_derivation() -> None:
    """The outputs follow from it byte for byte, and its times never run back by what overtook."""
    bench = behind()
    bench.work()
    bench.bring(COMMANDS, order("ann", "halt", HOUR_S + 8), order("bob", "release", HOUR_S + 9))
    bench.bring(CREDIT, news(1, HOUR_S + 9))
    bench.bring(READINGS, fault(1, HOUR_S + 9))
    bench.work()
    bench.catch_up()
    times = [us for us, _, _ in bench.store.journal.values()]
    assert times == sorted(times)
    assert rederived(bench) == bench.outputs
    assert [type(o) for o in bench.outputs].count(KillSwitchChanged) >= 2
    assert bench.answers == ["applied", "BEHIND"]


def test_many_commands_leave_room_for_the_rest() -> None:
    """A flood of the lane takes at most half of a batch."""
    bench = behind(pace=UnitTiming(batch=100))  # type: ignore[arg-type]
    before = bench.waiting
    bench.bring(COMMANDS, *(order("vic", "halt", HOUR_S + n / 1e3) for n in range(500)))
    assert bench.work() == 100
    assert before - (bench.waiting - 450) == 50


def test_a_first_record_that_is_urgent_begins_the_time_at_the_present() -> None:
    """Old quotes that wait are ticked through by their own time, not by that of the HALT."""
    bench = RiskBench()
    bench.begin()
    bench.bring(QUOTES, *(price(n, n) for n in range(200)))
    bench.bring(COMMANDS, order("ann", "halt", HOUR_S))
    bench.at(HOUR_S + 1)
    assert bench.switch("firm") == ["HALT"]
    assert reached(bench) < 200
    alone = RiskBench()
    alone.begin(quotes=1)
    alone.bring(COMMANDS, order("ann", "halt", 5))
    alone.at(6)
    assert (alone.runner.us, alone.switch("firm")) == (0, ["HALT"])
    alone.unit.put(QUOTES, [], 1, alone.now_us, behind=1)
    alone.bring(COMMANDS, order("rita", "halt", 7))
    alone.at(8)
    assert reached(alone) == 8


def test_an_old_record_holds_nobody_back() -> None:
    """Its turn comes by its arrival, so a hundred thousand of them delay no other partition."""
    bench = RiskBench()
    bench.begin()
    bench.bring(QUOTES, price(0, HOUR_S * 24))
    bench.at(HOUR_S * 24 + 1)
    day = HOUR_S * 24
    old = [price(1 + n, day - HOUR_S / 2 + n / 10) for n in range(5_000)]
    bench.bring(QUOTES, *old, arrived_s=day + 90)
    bench.bring(CREDIT, news(1, HOUR_S * 24 + 20, "disclosure"))
    bench.at(HOUR_S * 24 + 91)
    assert "credit" in [kind for _, kind, _ in bench.store.journal.values()]
    assert bench.waiting > 4_000


def test_the_clock_of_events_knows_no_lane() -> None:
    """A replay through the workers is in the order of event times, whatever came first."""
    bench = RiskBench(pace=UnitTiming(clock="event", batch=100))
    bench.begin()
    bench.bring(QUOTES, *(price(n, n) for n in range(300)))
    bench.bring(COMMANDS, order("ann", "halt", 250))
    bench.at(400)
    assert bench.switch("firm") == []
    bench.work()
    bench.work()
    assert bench.switch("firm") == ["HALT"]
