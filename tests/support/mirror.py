"""A database with content and a mirror of it, for the tests of both ends."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import redis

from riskwatch.client.mirror import MirrorReader
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.outputs import KillSwitchChanged
from riskwatch.store import migrate
from riskwatch.store.batch import Batch, Counts, OutboxRecord, SequencedOutput
from riskwatch.store.engine import open_engine
from riskwatch.store.transaction import commit, take_lease
from riskwatch.worker.metrics import Metrics
from riskwatch.worker.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from riskwatch.core.outputs import Output

WORKER = "risk"
PATIENCE_S = 15.0
COIN = "asset:USDC"


@pytest.fixture(scope="session")
def mirror_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One migrated database, to copy."""
    path = tmp_path_factory.mktemp("mirror") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def mirror_db(mirror_template: bytes, tmp_path: Path) -> Iterator[Engine]:
    """Database of its own, that a mirror is filled from."""
    path = tmp_path / "mirrored.db"
    path.write_bytes(mirror_template)
    opened = open_engine(f"sqlite:///{path}")
    yield opened
    opened.dispose()


@pytest.fixture
def redis_plain(redis_url: str) -> Iterator[Any]:
    """Redis as anybody sees it."""
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


def until(holds: Callable[[], Any], why: str = "") -> Any:
    """Ask until something holds; returns it."""
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < end, why or "it never came to hold"
        time.sleep(0.01)
    return found


def switch(scope: str, state: State, n: int = 0) -> KillSwitchChanged:
    """Switch of a scope, the `n`-th."""
    ts = datetime(2023, 3, 11, 3, 0, tzinfo=UTC) + timedelta(seconds=n)
    return KillSwitchChanged(
        id=f"{scope}-{n}",
        cause_id=f"tick/{n}",
        ts=ts,
        scope=scope,
        state=state,
        effective=state,
        quality=Quality.GOOD,
        reasons=["180 bp under the peg"],
        cause=Cause.ISSUER,
        decision_id=f"decision-{n}",
        generation="rules",
        valid_until=ts + timedelta(minutes=1),
    )


def record(seq: int, output: Output) -> OutboxRecord:
    """What the outbox holds of an output."""
    return OutboxRecord(seq, str(output.topic), output.key(), encode_output(output), output.ts)


def heartbeat(
    epoch: int,
    seq: int,
    valid_s: float = 60.0,
    worker: str = WORKER,
    ticked_s: float | None = None,
) -> bytes:
    """Heartbeat that is valid for so long from now; its last tick was so long ago."""
    now = datetime.now(UTC)
    ticked = {} if ticked_s is None else {"reached": now - timedelta(seconds=ticked_s)}
    return msgspec.json.encode(
        ticked
        | {
            "type": "heartbeat",
            "worker": worker,
            "epoch": epoch,
            "seq": seq,
            "digest": "00",
            "scopes": 1,
            "valid_until": now + timedelta(seconds=valid_s),
            "ts": now,
            "engine": "0.1.0",
        }
    )


@dataclass
class Desk:
    """A small risk worker: it commits outputs, then writes them to the mirror."""

    engine: Engine
    mirror: Mirror
    reader: MirrorReader
    metrics: Metrics
    epoch: int = 0
    seq: int = 0
    counts: Counts = field(default_factory=Counts)

    def lead(self) -> None:
        """Take the lease."""
        self.epoch = take_lease(self.engine, WORKER, "test").epoch
        self.mirror.refresh(self.engine, WORKER, self.epoch)

    def commit(self, *outputs: Output) -> list[OutboxRecord]:
        """Commit outputs without writing them to the mirror."""
        places = [SequencedOutput(self.seq + n, o) for n, o in enumerate(outputs, 1)]
        self.seq += len(outputs)
        self.counts.read += 1
        self.counts.applied += 1
        commit(self.engine, Batch(WORKER, self.epoch, outputs=places, counts=self.counts))
        return [record(place.seq, place.output) for place in places]

    def decide(self, *outputs: Output) -> None:
        """Commit outputs, and write them to the mirror."""
        self.mirror.write(WORKER, self.epoch, self.commit(*outputs))

    def beat(self, valid_s: float = 60.0) -> None:
        """Send a heartbeat."""
        self.mirror.heartbeat(heartbeat(self.epoch, self.seq, valid_s), 60.0)

    def value(self, name: str) -> float | None:
        """Read a metric of the mirror."""
        return self.metrics.registry.get_sample_value(name, {"what": "mirror"})


@contextmanager
def desk(engine: Engine, url: str, prefix: str = "", **options: Any) -> Iterator[Desk]:
    """Run a small risk worker with a mirror and a reader."""
    metrics = Metrics()
    mirror = Mirror(url, metrics, prefix=prefix, **options)
    made = Desk(engine, mirror, MirrorReader(url, prefix), metrics)
    try:
        made.lead()
        yield made
    finally:
        mirror.close()
        made.reader.close()


def steady(d: Desk) -> None:
    """Wait until the reader has a valid row of the mirror."""
    d.decide(switch(COIN, State.HALT))
    d.beat()
    until(lambda: d.reader.killswitch(COIN).kind == "row")
