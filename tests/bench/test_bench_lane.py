"""What a backlog costs a HALT: beside a HALT of an idle worker, in the same run."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Final

from riskwatch.core.clock import SECOND
from riskwatch.worker.unit import UnitTiming
from tests.support.lane import BEGIN_US, COMMANDS, QUOTES, RiskBench, order, price

BACKLOG: Final = 1_000_000
IN_MEMORY: Final = 8_000
"""Quotes that a worker fetched of them: its buffer of one partition is full."""
ROUNDS: Final = 20


def unit(*, behind: bool) -> RiskBench:
    """Make a unit that is caught up, or one that comes back after a day with a million quotes."""
    bench = RiskBench(pace=UnitTiming())
    bench.begin()
    bench.bring(QUOTES, price(0, 0))
    bench.at(1)
    bench.catch_up()
    if behind:
        bench.bring(QUOTES, *(price(1 + n, 2 + n / 8) for n in range(IN_MEMORY)))
        bench.unit.put(QUOTES, [], BACKLOG, bench.now_us)
        bench.now_us = BEGIN_US + 86_400 * SECOND
    return bench


def halted_s(bench: RiskBench) -> float:
    """Seconds from the fetch of a HALT to the end of the batch that decides it."""
    second = (bench.now_us - BEGIN_US) / SECOND
    made = order("ann", "halt", second)
    started = time.perf_counter()
    bench.bring(COMMANDS, made)
    bench.work()
    took = time.perf_counter() - started
    assert bench.answers == ["applied"], "it was decided in the next batch"
    assert bench.published("riskwatch.killswitch")[-1:] == ["firm"], "and published"
    return took


def test_halt_under_a_backlog(benchmark: Any) -> None:
    """One batch, which is a full one under a backlog; its limit is half a second."""
    idle = [halted_s(unit(behind=False)) for _ in range(ROUNDS)]
    waits: list[float] = []

    def run(bench: RiskBench) -> None:
        waits.append(halted_s(bench))

    benchmark.pedantic(run, setup=lambda: ((unit(behind=True),), {}), rounds=ROUNDS)
    benchmark.extra_info |= {
        "idle_ms": round(1e3 * median(idle), 2),
        "backlog_ms": round(1e3 * median(waits), 2),
        "ratio": round(median(waits) / median(idle), 1),
        "batches": 1,
    }
