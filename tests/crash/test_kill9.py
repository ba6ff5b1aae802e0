"""SIGKILL in the middle of a replay: nothing is lost and nothing is repeated."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest

from riskwatch.engine.replay import open_database
from riskwatch.store.content import content_digest
from tests.crash.worker import POINTS, Life
from tests.support.events import write_mixed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLS = int(os.environ.get("RISKWATCH_KILLS", "100"))
PASSES = {"apply": 400, "before_commit": 8, "in_commit": 120, "after_commit": 8, "after_publish": 8}
"""How often a point may be passed before the kill, at most."""


@dataclass
class Workers:
    """Lives replays, one process each, and says how they ended."""

    process: subprocess.Popen[bytes]

    def live(self, life: Life, *, kill_after_s: float | None = None) -> int:
        """Exit code of a life; ``-9`` if it was killed, by itself or from here."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(msgspec.json.encode(life) + b"\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        if kill_after_s is not None:
            time.sleep(kill_after_s)  # not to wait for anything: to hit a moment by chance
            with suppress(ProcessLookupError):  # it may have lived to its end already
                os.kill(pid, signal.SIGKILL)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def workers(root: Path) -> Iterator[Workers]:
    """One process that has imported everything and forks for each life."""
    with running(root) as made:
        yield made


@contextmanager
def running(root: Path) -> Iterator[Workers]:
    """Start what lives replays, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.worker"],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Workers(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of mixed events."""
    path = tmp_path_factory.mktemp("events") / "mixed.ndjson"
    assert write_mixed(path, hours=0.5) > 300
    return path


def published(out: Path) -> list[bytes]:
    """Lines that consumers see who drop repeats by id, in the order of their first sight."""
    seen: dict[str, bytes] = {}
    for line in out.read_bytes().splitlines():
        name = msgspec.json.decode(line)["value"]["id"]
        assert seen.setdefault(name, line) == line, "one id with two contents"
    return list(seen.values())


def outcome(folder: Path) -> tuple[str, list[bytes]]:
    """What a database and its consumers know in the end."""
    with open_database(f"sqlite:///{folder}/r.db") as engine:
        return content_digest(engine), published(folder / "out.ndjson")


def life(folder: Path, events: Path, **kwargs: object) -> Life:
    """A life in a folder of its own."""
    folder.mkdir(exist_ok=True)
    settings = {
        "file": str(events),
        "url": f"sqlite:///{folder}/r.db",
        "out": f"{folder}/out.ndjson",
    }
    return msgspec.convert(settings | kwargs, Life)


@pytest.fixture(scope="module")
def clean(
    workers: Workers, events: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[bytes]]:
    """What a life without any kill comes to."""
    folder = tmp_path_factory.mktemp("clean")
    assert workers.live(life(folder, events)) == 0
    return outcome(folder)


def test_kills_lose_nothing_and_repeat_nothing(
    workers: Workers, events: Path, clean: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    """Killed at seeded places (and a fifth of them at moments of chance) until it is through."""
    rng = random.Random(7)
    kills = runs = 0
    while kills < KILLS:
        folder = tmp_path / str(runs)
        runs += 1
        for _ in range(100):
            batch = rng.choice((1, 7, 20, 50))
            if rng.random() < 0.2:
                made, after = life(folder, events, batch=batch), rng.uniform(0.0, 0.4)
            else:
                point = rng.choice(POINTS)
                nth = rng.randrange(PASSES[point])
                made, after = life(folder, events, batch=batch, point=point, nth=nth), None
            code = workers.live(made, kill_after_s=after)
            assert code in (0, -signal.SIGKILL)
            if code == 0:
                break
            kills += 1
        else:
            assert workers.live(life(folder, events)) == 0
        assert outcome(folder) == clean, f"after {kills} kills, run {runs}"
    assert kills >= KILLS


def test_a_store_that_tears_its_transaction_is_caught(
    workers: Workers, events: Path, clean: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    """Offsets in one transaction, effects in the next: the same comparison tells."""
    torn = life(tmp_path / "torn", events, torn=True, point="in_commit", nth=3)
    assert workers.live(torn) == -signal.SIGKILL
    assert workers.live(life(tmp_path / "torn", events)) == 0
    assert outcome(tmp_path / "torn") != clean
