"""The workers on a real broker and a real Postgres: undisturbed, and under everything at once.

``make test`` runs the small form; ``make chaos`` the campaign (``RISKWATCH_CHAOS=100`` kills),
whose figures are in ``docs/reliability.md``.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

import msgspec
import pytest

from riskwatch.contracts.codec import decode, encode
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.clock import MINUTE, micros
from riskwatch.engine import bootstrap
from riskwatch.engine.replay import ReplayJob, ReplayLimits, replay_files
from tests.chaos.lab import Lab
from tests.chaos.verdict import Outcome, conserved, outcome, same_outcome, topics_hold
from tests.support.events import RUBBISH, write_mixed
from tests.support.recordings import recording

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.events import WireEvent
    from tests.support.kafka import Node
    from tests.support.postgres import Server

# Clients of a broker that is killed leave sockets behind, which are collected at some time.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
KILLS: Final = int(os.environ.get("RISKWATCH_CHAOS", "6"))
LARGE: Final = KILLS > 20
CHUNK_US: Final = (20 if LARGE else 10) * MINUTE
DELAY: Final = timedelta(microseconds=CHUNK_US) + timedelta(minutes=2)
"""How far apart a decision may be: a chunk is what the workers may lag behind, in event time."""


@pytest.fixture(scope="module")
def events(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded weekend with a firm's own facts, or two hours of an episode; with rubbish."""
    path = tmp_path_factory.mktemp("events") / "mixed.ndjson"
    if LARGE:
        recordings = request.getfixturevalue("recordings")
        made = recording(recordings, "usdc_svb_2023", "*", "2023-03-10 18:00", "2023-03-12 06:00")
        lines = [encode(cast("WireEvent", event)) for event in made]
        rng = random.Random(5)
        for _ in range(len(lines) // 100):
            lines.insert(rng.randrange(len(lines)), rng.choice(RUBBISH))
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    else:
        assert write_mixed(path, hours=2.0, seed=5) > 1000
    return path


@pytest.fixture(scope="module")
def chunks(events: Path) -> list[list[bytes]]:
    """The same lines, cut by event time."""
    out: list[list[bytes]] = [[]]
    end = 0
    for line in events.read_bytes().splitlines():
        event = decode(line)
        if not isinstance(event, Refusal):
            us = micros(event.ts)
            end = end or us + CHUNK_US
            if us >= end:
                out.append([])
                end += CHUNK_US
        out[-1].append(line)
    return out


@pytest.fixture(scope="module")
def embedded(events: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What the same events come to in one process."""
    url = f"sqlite:///{tmp_path_factory.mktemp('embedded')}/r.db"
    config = bootstrap.configuration()
    what = ReplayJob([events], url, limits=ReplayLimits(1000))
    replay_files(what, bootstrap.pipeline(config), config=config)
    found = outcome(url)
    assert len(found.holdings) > 20
    assert len(found.decisions) >= 2
    return found


def lab_of(root: Path, tmp_path: Path, kafka_chaos: tuple[Node, Server], name: str) -> Lab:
    """A laboratory with a database and topics of its own."""
    lab = Lab(root, tmp_path, *kafka_chaos, name)
    lab.set_up()
    return lab


def verdict(lab: Lab, embedded: Outcome) -> list[str]:
    """Everything that is wrong with a finished run."""
    return [
        *same_outcome(embedded, outcome(lab.database), DELAY),
        *conserved(lab),
        *topics_hold(lab),
    ]


def test_undisturbed(
    root: Path,
    tmp_path: Path,
    kafka_chaos: tuple[Node, Server],
    chunks: list[list[bytes]],
    embedded: Outcome,
) -> None:
    """One ledger worker and one risk worker come to what one process comes to."""
    lab = lab_of(root, tmp_path, kafka_chaos, "clean")
    try:
        lab.start("ledger-1", "risk-1")
        for chunk in chunks:
            lab.publish(chunk)
            lab.wait_taken()
        lab.wait_done()
        lab.stop()
        assert lab.exits == []
        assert verdict(lab, embedded) == []
    finally:
        lab.destroy()


class Trouble:
    """Hurts the workers and their servers at random moments."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab = lab
        self.rng = random.Random(seed)
        self.paused: dict[str, float] = {}
        lab.meanwhile = self.wake
        self.done: Counter[str] = Counter()
        others = [self.broker, self.broker_killed, self.postgres, self.postgres_killed, self.pause]
        self.plan = [self.kill] * KILLS + others * (KILLS // 20 if LARGE else 1)
        self.rng.shuffle(self.plan)

    def strike(self) -> None:
        """Do the next thing of the plan."""
        self.wake()
        act = self.plan.pop()
        act()
        self.done[act.__name__] += 1

    def kill(self) -> None:
        """SIGKILL a worker."""
        self.lab.kill(self.rng.choice(sorted(self.lab.workers)))

    def broker(self) -> None:
        """Restart the broker in order."""
        self.lab.node.stop()
        self.lab.node.start()

    def broker_killed(self) -> None:
        """Kill the broker, and start it again."""
        self.lab.node.stop(signal.SIGKILL)
        self.lab.node.start()

    def postgres(self) -> None:
        """End all connections to Postgres, and start it again."""
        self.lab.postgres.stop("fast")
        self.lab.postgres.start()

    def postgres_killed(self) -> None:
        """Crash Postgres, and start it again."""
        self.lab.postgres.stop("immediate")
        self.lab.postgres.start()

    def pause(self) -> None:
        """SIGSTOP a worker; it wakes when others have long taken over."""
        name = self.rng.choice(sorted(self.lab.workers))
        self.lab.signal(name, signal.SIGSTOP)
        self.paused[name] = time.monotonic() + (90 if LARGE else 12)

    def wake(self, *, all_: bool = False) -> None:
        """SIGCONT those whose time has come."""
        for name, until in list(self.paused.items()):
            if all_ or time.monotonic() > until:
                del self.paused[name]
                self.lab.signal(name, signal.SIGCONT)


def disturbed(chunk: list[bytes], rng: random.Random) -> list[bytes]:
    """Deliver some messages again, and some out of their order, within what is a moment."""
    out = list(chunk)
    out += rng.sample(chunk, len(chunk) // 20)
    for _ in range(len(out) // 20):
        at = rng.randrange(len(out))
        line = out.pop(at)
        out.insert(min(len(out), at + rng.randrange(1, 10)), line)
    return out


def test_under_trouble(
    root: Path,
    tmp_path: Path,
    kafka_chaos: tuple[Node, Server],
    chunks: list[list[bytes]],
    embedded: Outcome,
) -> None:
    """Kills, restarts, pauses, a rebalance, repeats and disorder change nothing in the end."""
    lab = lab_of(root, tmp_path, kafka_chaos, "trouble")
    trouble = Trouble(lab, seed=11)
    try:
        lab.start("ledger-1", "risk-1", "risk-2")
        per_chunk = len(trouble.plan) / len(chunks)
        owed = 0.0
        for number, chunk in enumerate(chunks):
            if number == len(chunks) // 4:
                lab.start("ledger-2", "ledger-3")
            if number == len(chunks) // 2:
                lab.wait_opened("ledger-2")
                lab.stop("ledger-2")
            owed += per_chunk + 1e-9
            lines = disturbed(chunk, trouble.rng)
            half = len(lines) // 2
            lab.publish(lines[:half])
            while owed >= 1 and trouble.plan:
                trouble.strike()
                owed -= 1
            lab.publish(lines[half:])
            lab.supervise()
            trouble.wake()
            lab.wait_taken()
        trouble.wake(all_=True)
        lab.wait_done()
        lab.stop()
        assert verdict(lab, embedded) == []
        assert not trouble.plan
        assert lab.kills == KILLS
    finally:
        lab.destroy()
        (tmp_path / "done.json").write_bytes(msgspec.json.encode(trouble.done))
        print(f"kills {lab.kills}, {trouble.done}, ended {lab.exits}")  # noqa: T201 - for -s
