"""A history has one outcome, whatever the batch, the hash seed, the process or the stops."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riskwatch.engine import bootstrap
from riskwatch.engine.publish import NdjsonPublisher
from riskwatch.engine.replay import ReplayJob, ReplayLimits, open_database, replay_files
from riskwatch.store.content import content_digest
from tests.support.events import write_mixed

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = bootstrap.configuration()


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of mixed events, with rubbish and repeats."""
    path = tmp_path_factory.mktemp("events") / "mixed.ndjson"
    write_mixed(path, hours=0.5)
    return path


def run(events: Path, url: str, batch: int, most: int | None = None) -> bytes:
    """Replay in this process; gives what was published."""
    out = BytesIO()
    what = ReplayJob(
        [events], url, limits=ReplayLimits(batch, None, most), publisher=NdjsonPublisher(out)
    )
    replay_files(what, bootstrap.pipeline(CONFIG, keep_events=True), config=CONFIG)
    return out.getvalue()


def digest(url: str) -> str:
    """Content of a database."""
    with open_database(url) as engine:
        return content_digest(engine)


@pytest.fixture(scope="module")
def whole(events: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """What one uninterrupted run publishes and stores."""
    url = f"sqlite:///{tmp_path_factory.mktemp('whole')}/r.db"
    return run(events, url, 1000), digest(url)


@pytest.mark.parametrize(("seed", "batch"), [("0", "1"), ("1", "7"), ("4711", "1000")])
def test_other_processes_hash_seeds_and_batches(
    events: Path, whole: tuple[bytes, str], tmp_path: Path, seed: str, batch: str
) -> None:
    """The command line, in a process of its own, gives equal bytes and equal content."""
    url = f"sqlite:///{tmp_path}/r.db"
    command = ["replay", str(events), "--database", url, "--json", "--keep-events"]
    done = subprocess.run(
        [sys.executable, "-m", "riskwatch", *command, "--batch", batch],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        check=True,
    )
    assert done.stdout == whole[0]
    assert digest(url) == whole[1]


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(stops=st.lists(st.integers(0, 120), max_size=5), batch=st.sampled_from((1, 3, 50)))
def test_stopped_and_resumed_anywhere(
    events: Path,
    whole: tuple[bytes, str],
    tmp_path_factory: pytest.TempPathFactory,
    stops: list[int],
    batch: int,
) -> None:
    """Stops after any number of events leave no trace in what is published and stored."""
    url = f"sqlite:///{tmp_path_factory.mktemp('stops')}/r.db"
    published = b"".join(run(events, url, batch, most) for most in stops)
    published += run(events, url, batch)
    assert published == whole[0]
    assert digest(url) == whole[1]
