"""The replay loop: stops, ticks at the end, and signals."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.contracts.codec import decode
from riskwatch.core.clock import MINUTE, SECOND
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.file import EventFileMerge
from riskwatch.engine.replay import (
    ReplayLimits,
    ReplaySummary,
    StopRequest,
    replay_records,
    stop_on_signals,
)
from riskwatch.engine.runner import Runner
from tests.support.fakes import ListPublisher, MemoryStore
from tests.support.toy import START_S, fill_line, toy_lines, toy_pipeline

if TYPE_CHECKING:
    from pathlib import Path

START = START_S * SECOND


def go(
    store: MemoryStore, path: Path, limits: ReplayLimits | None = None, **changes: Any
) -> ReplaySummary:
    """Replay one file through the toy pipeline."""
    runner = Runner(
        store, toy_pipeline(), ListPublisher(), worker="w", holder="test", grid=TickGrid(MINUTE)
    )
    with EventFileMerge([path], decode) as source:
        return replay_records(runner, source, limits, **changes)


def ticks(store: MemoryStore) -> list[int]:
    """Ticks in the journal, in seconds after the start."""
    return [
        (us - START) // SECOND
        for us, kind, _ in store.journal.values()
        if kind == "tick"
    ]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three fills, at 0, 70 and 200 s."""
    path = tmp_path / "fills.ndjson"
    path.write_bytes(b"".join(fill_line(n, at) + b"\n" for n, at in enumerate((0, 70, 200))))
    return path


def test_the_end_of_all_files_brings_the_last_tick(path: Path) -> None:
    """The one at or after the last event, once: going on over the same file adds nothing."""
    store = MemoryStore()
    summary = go(store, path)
    assert ticks(store) == [0, 60, 120, 180, 240]
    assert (summary.read, summary.applied, summary.ended) == (3, 3, "files")
    assert summary.reached_us == START + 240 * SECOND
    before = store.content()
    assert go(store, path).read == 0
    assert store.content() == before


@pytest.mark.parametrize(
    ("until", "expected", "ended"),
    [
        (-1, [], "until"),
        (0, [0], "until"),
        (130, [0, 60, 120], "until"),
        (199, [0, 60, 120, 180], "until"),
        (200, [0, 60, 120, 180], "files"),
        (240, [0, 60, 120, 180, 240], "files"),
        (9999, [0, 60, 120, 180, 240], "files"),
    ],
)
def test_until_is_the_last_moment(path: Path, until: int, expected: list[int], ended: str) -> None:
    """No event later than it, the ticks up to it; silence after the files is not invented."""
    store = MemoryStore()
    summary = go(store, path, ReplayLimits(until_us=START + until * SECOND))
    assert (ticks(store), summary.ended) == (expected, ended)


def test_max_events_stops_without_ticks(path: Path) -> None:
    """At once, even at the end of the file."""
    store = MemoryStore()
    assert go(store, path, ReplayLimits(max_events=0)).ended == "max_events"
    assert store.commits == 0
    assert go(store, path, ReplayLimits(max_events=3)).ended == "max_events"
    assert ticks(store) == [0, 60, 120, 180]


@pytest.mark.parametrize("cut", [{"max_events": 1}, {"until_us": START + 100 * SECOND}])
def test_stopping_and_going_on_is_the_same(path: Path, cut: dict[str, int]) -> None:
    """Whatever stopped it, the content is that of one run."""
    whole, parts = MemoryStore(), MemoryStore()
    go(whole, path)
    for _ in range(3):
        go(parts, path, ReplayLimits(**cut))
    go(parts, path)
    assert parts.content() == whole.content()


def test_progress_is_told_per_batch_and_at_the_end(path: Path) -> None:
    """In bytes."""
    told: list[tuple[int, int]] = []
    go(
        MemoryStore(),
        path,
        ReplayLimits(batch=2),
        progress=lambda done, all_: told.append((done, all_)),
    )
    size = path.stat().st_size
    assert told == [(size * 2 // 3, size), (size, size)]


def test_a_stop_commits_what_was_applied(path: Path) -> None:
    """After the record at hand, without closing ticks."""
    store = MemoryStore()
    summary = go(store, path, stop=StopRequest(signal.SIGTERM))
    assert (summary.read, summary.ended) == (1, "signal")
    assert store.last is not None
    assert store.last.counts.applied == 1
    assert ticks(store) == []


def test_signals_ask_once_and_end_the_second_time() -> None:
    """The first is noted, the second does what it always did; afterwards all is as before."""
    kept = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        asked = stop.signal
        assert asked == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert kept == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_one_line_sums_up(path: Path, logged: list[Any]) -> None:
    """Counts of this run, speed, and the event time reached."""
    store = MemoryStore()
    go(store, path, ReplayLimits(max_events=1))
    go(store, path)
    first, second = [entry for entry in logged if entry["event"] == "replay ended"]
    assert (first["read"], second["read"]) == (1, 2)
    assert second["reached"] == "2023-03-11T02:04:00Z"
    assert second["events_per_s"] > 0
    assert second["log_level"] == "info"


def test_toy_lines_use_every_way() -> None:
    """The sample that the crash tests rest on has repeats, refusals and alerts that close."""
    counts = {"dead": 0, "duplicate": 0}
    store = MemoryStore()
    runner = Runner(
        store, toy_pipeline(), ListPublisher(), worker="w", holder="t", grid=TickGrid(MINUTE)
    )
    from tests.support.fakes import ScriptSource

    summary = replay_records(runner, ScriptSource([*toy_lines(300)]), ReplayLimits(batch=50))
    counts = {"dead": len(store.dead), "duplicate": summary.duplicate}
    assert min(counts.values()) > 5
    names = {type(o).__name__ for o in store.outputs.values()}
    assert names == {
        "ExposureChanged", "AlertRaised", "AlertResolved", "AssetValued", "KillSwitchChanged"
    }  # fmt: skip
