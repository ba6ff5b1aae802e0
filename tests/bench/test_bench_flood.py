"""A tick after a flood of invented names costs what the bounds allow."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import pytest

from riskwatch.core.events import Credit
from tests.support.risk import Desk, asset, desk, market, news

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

FEW, MANY = 1_000, 10_000
RATIO = 2.0
TICKS = 20


def flooded(names: int) -> Desk:
    """Return a desk to which one writer told news of so many invented subjects."""
    d = desk()
    for n in range(names):
        d.tell(news(Credit, 0, f"n{n}", source="liar", subject=f"invented{n}", kind="hack"))
    return d


def tick(d: Desk, minute: int) -> float:
    """Return the seconds of a tick at which everything is evaluated."""
    reading = market(minute, asset("USDC", seen=minute))
    started = perf_counter()
    d.tick(minute, reading)
    return perf_counter() - started


@pytest.mark.benchmark(group="flood")
def test_a_tick_after_a_flood_of_news(benchmark: BenchmarkFixture) -> None:
    """Ten times as many invented subjects cost no more than twice as much."""
    desks = {"few": flooded(FEW), "many": flooded(MANY)}
    best = dict.fromkeys(desks, 1e9)
    for minute in range(1, TICKS + 1):
        for name, d in desks.items():
            best[name] = min(best[name], tick(d, minute))
    benchmark.pedantic(tick, args=(desks["many"], TICKS + 1), rounds=1)  # type: ignore[no-untyped-call]  # untyped library
    ratio = best["many"] / best["few"]
    benchmark.extra_info["ms after 10,000"] = round(best["many"] * 1e3, 2)
    benchmark.extra_info["ratio"] = round(ratio, 2)
    assert ratio <= RATIO, best
