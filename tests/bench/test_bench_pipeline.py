"""The whole pipeline against a bare decode loop, on the recorded March of 2023; and its memory."""

from __future__ import annotations

import gc
import resource
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch import scenarios
from riskwatch.contracts.codec import decode
from riskwatch.core.clock import micros
from riskwatch.core.events import Event, Peg, Quote, Tick
from riskwatch.core.market.stage import MarketStage
from riskwatch.core.market.state import MarketState
from riskwatch.engine import bootstrap
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.replay import ReplayJob, ReplayLimits, replay_files
from tests.support.recordings import recording

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = bootstrap.configuration()
DAYS = ("2023-03-09", "2023-03-12")
MILLION = 1_000_000


def write(events: list[Event], path: Path) -> Path:
    """Write events as NDJSON."""
    encode = msgspec.json.Encoder().encode
    path.write_bytes(b"".join(encode(event) + b"\n" for event in events))
    return path


@pytest.fixture(scope="module")
def march(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days around the disclosure: eleven recorded feeds and the sample firm's events."""
    events = recording(recordings, "usdc_svb_2023", "*.parquet", *DAYS)
    return write(events, tmp_path_factory.mktemp("march") / "march.ndjson")


def decoded(path: Path) -> list[Any]:
    """Decode every line: what nothing can be faster than."""
    return [decode(line) for line in path.read_bytes().splitlines()]


def test_whole_pipeline_and_bare_decode(benchmark: Any, march: Path, tmp_path: Path) -> None:
    """Events per second of a replay into SQLite, and how many bare decodes an event costs."""
    started = time.perf_counter()
    count = len(decoded(march))
    bare = time.perf_counter() - started
    runs = iter(range(100))

    def whole() -> None:
        url = f"sqlite:///{tmp_path}/{next(runs)}.db"
        summary = replay_files(ReplayJob([march], url), bootstrap.pipeline(CONFIG))
        assert summary.applied == count

    benchmark.pedantic(whole, rounds=3)
    seconds = benchmark.stats.stats.min
    benchmark.extra_info |= {
        "events": count,
        "events_per_s": round(count / seconds),
        "bare_decode_per_s": round(count / bare),
        "ratio_to_bare_decode": round(seconds / bare, 2),
    }


def test_price_graph(benchmark: Any, march: Path) -> None:
    """Ticks per second of the market stage alone, and its quotes per second."""
    quotes = [event for event in decoded(march) if isinstance(event, Quote | Peg)]

    def run() -> int:
        stage, state, grid = (
            MarketStage(CONFIG.policy.market, CONFIG.reference),
            MarketState(),
            TickGrid(),
        )
        ticks = 0
        for quote in quotes:
            for us in grid.before(micros(quote.ts)):
                stage.step(state, Tick(us))
                ticks += 1
            stage.step(state, quote)
        return ticks

    ticks = benchmark.pedantic(run, rounds=3)
    seconds = benchmark.stats.stats.min
    benchmark.extra_info |= {
        "quotes_per_s": round(len(quotes) / seconds),
        "us_per_tick_with_its_quotes": round(1e6 * seconds / ticks),
    }


def test_memory_plateau(benchmark: Any, tmp_path: Path) -> None:
    """Resident memory over a million events: no growth after the first half."""
    path = _million(tmp_path / "million.ndjson")
    sizes: list[int] = []

    def run() -> None:
        for _ in range(10):
            what = ReplayJob(
                [path], f"sqlite:///{tmp_path}/m.db", limits=ReplayLimits(1000, None, 100_000)
            )
            replay_files(what, bootstrap.pipeline(CONFIG))
            gc.collect()
            sizes.append(_resident_kib())

    benchmark.pedantic(run, rounds=1)
    benchmark.extra_info |= {"resident_mib": [round(size / 1024) for size in sizes]}
    assert sizes[-1] <= 1.05 * sizes[4], sizes


def _resident_kib() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no file of ours
        pages = int(file.read().split()[1])
    return pages * resource.getpagesize() // 1024


def _million(path: Path) -> Path:
    """Write the embedded episode over and over, each time later, until it is a million events."""
    episode = list(scenarios.events("usdc_2023"))
    span = timedelta(days=4)
    encode = msgspec.json.Encoder().encode
    written = 0
    with path.open("wb") as sink:
        for again in range(MILLION // len(episode) + 1):
            for event in episode:
                moved = msgspec.structs.replace(
                    event, ts=event.ts + again * span, event_id=f"{again}-{event.event_id}"
                )
                sink.write(encode(moved) + b"\n")
                written += 1
    assert written >= MILLION
    return path
