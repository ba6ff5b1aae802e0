"""What a tick over many assets costs, as a ratio to one over few, on the same machine and run."""

from __future__ import annotations

import gc
from decimal import Decimal
from random import Random
from time import process_time
from typing import TYPE_CHECKING, Final

import msgspec
import pytest

from riskwatch.core.clock import MINUTE, moment
from riskwatch.core.events import Quote, Tick
from riskwatch.core.market.config import MarketConfig
from riskwatch.core.market.stage import MarketStage
from riskwatch.core.market.state import MarketState
from riskwatch.core.reference import Party
from tests.support.market import at
from tests.support.risk import REFERENCE

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from riskwatch.core.reference import Reference

FEW: Final = 200
MANY: Final = 2_000
RATIO: Final = 10.0
"""A tick over ten times as many assets may cost ten times as much."""
DENSE_RATIO: Final = 10.0
"""The same for as many feeds that link all assets at random, against the usual shape."""
VENUES: Final = tuple(f"venue{n}" for n in range(12))
HUBS: Final = (("USDT", "USD", 1.0), ("USDC", "USD", 1.0), ("BTC", "USD", 20_000.0),
               ("BTC", "USDT", 20_000.0), ("USDC", "USDT", 1.0))  # fmt: skip
TICKS: Final = 9


def reference() -> Reference:
    """The reference data of the tests, with the venues of the benchmark."""
    listed = {name: Party(id=name, kind="exchange") for name in VENUES}
    return msgspec.structs.replace(REFERENCE, parties=REFERENCE.parties | listed)


def market(assets: int) -> list[tuple[str, str, str, float]]:
    """Feeds as venues have them, around USD, USDT, USDC and BTC.

    All venues list the largest coins, fewer the next ones, and one or two most of the others.
    """
    draw = Random(3)
    out = [(venue, *hub) for venue in VENUES for hub in HUBS]
    for n in range(assets):
        for venue in draw.sample(VENUES, max(len(VENUES) // (1 + n // 5), draw.choice((1, 1, 2)))):
            quote = draw.choice(("USD", "USDT", "USDT", "USDT", "USDC", "BTC"))
            out.append((venue, f"COIN{n}", quote, 1e-4 if quote == "BTC" else 2.0))
    return out


def tangle(feeds: int) -> list[tuple[str, str, str, float]]:
    """Feeds of one venue that link invented assets at random, four to each."""
    draw = Random(4)
    names = [f"X{n}" for n in range(feeds // 2)]
    out: dict[tuple[str, str], None] = {}
    while len(out) < feeds:
        base, quote = draw.sample(names, 2)
        out[base, quote] = None
    return [("venue0", base, quote, 1.0) for base, quote in out]


def invented(feeds: int) -> list[tuple[str, str, str, float]]:
    """Feeds of as many venues that nobody knows, each off the price of a coin."""
    return [("venue0", "USDC", "USD", 1.0), ("venue1", "USDC", "USD", 1.0)] + [
        (f"invented{n}", "USDC", "USD", 0.9) for n in range(feeds - 2)
    ]


class Floor:
    """A market stage with feeds that quote each minute."""

    def __init__(self, feeds: list[tuple[str, str, str, float]]) -> None:
        self.stage = MarketStage(MarketConfig(max_feeds=40_000), reference())
        self.state = MarketState()
        self.feeds = feeds
        self.minute = 0

    def tick(self) -> float:
        """Quote every feed, and give the seconds of the tick that follows, rows included."""
        self.minute += 1
        us = at(self.minute)
        for n, (venue, base, quote, price) in enumerate(self.feeds):
            said = price * (1.0 + 1e-4 * ((self.minute * 7 + n * 3) % 5 - 2))
            self.stage.step(
                self.state,
                Quote(
                    v=1, event_id=f"{n}@{self.minute}", ts=moment(us - MINUTE // 2), source=venue,
                    venue=venue, base=base, quote=quote, last=Decimal(f"{said:.10f}"),
                ),
            )  # fmt: skip
        gc.collect()
        gc.disable()
        try:
            begin = process_time()
            self.stage.step(self.state, Tick(us))
            self.state.drain()
            return process_time() - begin
        finally:
            gc.enable()


@pytest.mark.benchmark(group="market")
def test_a_tick_over_many_assets(benchmark: BenchmarkFixture) -> None:
    """2,000 assets cost at most ten times 200; a dense graph of as many feeds, no more than ten.

    Nor do as many venues that nobody lists.
    """
    floors = {"few": Floor(market(FEW)), "many": Floor(market(MANY))}
    floors["dense"] = Floor(tangle(len(floors["many"].feeds)))
    floors["invented"] = Floor(invented(len(floors["many"].feeds)))
    best = dict.fromkeys(floors, 1e9)
    for _ in range(TICKS):
        for name, floor in floors.items():
            best[name] = min(best[name], floor.tick())
    benchmark.pedantic(floors["many"].tick, rounds=3)  # type: ignore[no-untyped-call]  # untyped library
    ratio, dense = best["many"] / best["few"], best["dense"] / best["few"]
    unlisted = best["invented"] / best["few"]
    benchmark.extra_info["ms over 200"] = round(best["few"] * 1e3, 1)
    benchmark.extra_info["ms over 2,000"] = round(best["many"] * 1e3, 1)
    benchmark.extra_info["ratio"] = round(ratio, 1)
    benchmark.extra_info["ratio of a dense graph"] = round(dense, 1)
    benchmark.extra_info["ratio of invented venues"] = round(unlisted, 1)
    assert ratio <= RATIO, best
    assert unlisted <= RATIO, best
    assert dense <= DENSE_RATIO, best
