"""SIGKILL in the middle of a replay: nothing is lost and nothing is repeated."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from tests.crash.lives import life, outcome, running
from tests.crash.worker import POINTS
from tests.support.events import write_mixed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.crash.lives import Workers

KILLS = int(os.environ.get("RISKWATCH_KILLS", "100"))
PASSES = {"apply": 400, "before_commit": 8, "in_commit": 120, "after_commit": 8, "after_publish": 8}
"""How often a point may be passed before the kill, at most."""


@pytest.fixture(scope="module")
def workers(root: Path) -> Iterator[Workers]:
    """One process that has imported everything and forks for each life."""
    with running(root) as made:
        yield made


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of mixed events."""
    path = tmp_path_factory.mktemp("events") / "mixed.ndjson"
    assert write_mixed(path, hours=0.5) > 300
    return path


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
