"""A small risk worker in a process of its own, which decides as its input says.

Store, lease, outbox, relay, mirror, table and heartbeat are the real ones; only what decides is
the test, by lines on standard input. A test may stop it by SIGSTOP as it may the real one.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import State
from riskwatch.engine.retry import Retry
from riskwatch.kafka.producer import KafkaPublisher, Producer
from riskwatch.store.batch import Batch, Counts, SequencedOutput
from riskwatch.store.deployment import current_deployment
from riskwatch.store.engine import open_engine
from riskwatch.store.scope_table import scope_table
from riskwatch.store.transaction import commit, take_lease
from riskwatch.worker.metrics import Metrics
from riskwatch.worker.mirror import Mirror
from riskwatch.worker.worker import heartbeat_record, make_heartbeat
from tests.support.mirror import switch

if TYPE_CHECKING:
    from typing import Self

ROOT: Final = Path(__file__).parents[2]
WORKER: Final = "risk"


class Vouching:
    """Decides, publishes, and writes heartbeats."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.stop = threading.Event()
        self.engine = open_engine(given["database"])
        self.every_s: float = given["every_s"]
        self.life_s: float = given["life_s"]
        with self.engine.connect() as conn:
            self.deployment = current_deployment(conn).id
        kept = take_lease(self.engine, WORKER, "test")
        self.epoch, self.seq, self.counts = kept.epoch, kept.next_seq, kept.counts
        metrics = Metrics()
        self.publisher: KafkaPublisher | None = None
        self.mirror: Mirror | None = None
        if given["kafka"]:
            connection = KafkaConnection(servers=given["kafka"], prefix=given["prefix"])
            producer = Producer(connection, Retry(self.stop, metrics), metrics)
            self.publisher = KafkaPublisher(producer, self.deployment)
            self.publisher.set_leader(WORKER, self.epoch)
        if given["redis"]:
            self.mirror = Mirror(given["redis"], metrics, prefix=given["prefix"])
            self.mirror.refresh(self.engine, WORKER, self.epoch)

    def decide(self, scope: str, state: State) -> None:
        """Commit the state of a scope, and publish it."""
        output = switch(scope, state, self.seq)
        self.counts = Counts(self.counts.read + 1, self.counts.applied + 1)
        batch = Batch(
            WORKER,
            self.epoch,
            outputs=[SequencedOutput(self.seq, output)],
            counts=self.counts,
            relay=True,
        )
        commit(self.engine, batch)
        self.seq += 1
        if self.publisher is not None:
            self.publisher.publish(batch.outbox())
        if self.mirror is not None:
            self.mirror.write(WORKER, self.epoch, batch.outbox())

    def beat(self) -> None:
        """Publish a heartbeat for the table."""
        now = time.time_ns() // 1_000
        table = scope_table(self.engine, WORKER, self.epoch)
        made = make_heartbeat(WORKER, self.epoch, table, now, self.deployment)
        until = moment(now + round(self.life_s * SECOND))
        record = heartbeat_record(msgspec.structs.replace(made, valid_until=until))
        if self.publisher is not None:
            self.publisher.publish([record])
        if self.mirror is not None:
            self.mirror.heartbeat(record.value, self.life_s)

    def run(self, lines: queue.Queue[str]) -> None:
        """Execute the lines of the input until it ends."""
        due = 0.0
        while True:
            if time.monotonic() >= due:
                due = time.monotonic() + self.every_s
                self.beat()
            try:
                line = lines.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                continue
            if not line:
                return
            scope, state = json.loads(line)
            self.decide(scope, State(state))
            sys.stdout.write("done\n")
            sys.stdout.flush()


class Worker:
    """A handle on the process of a small risk worker."""

    def __init__(
        self, database: str, kafka: str = "", redis: str = "", prefix: str = "",
        every_s: float = 0.25, life_s: float = 1.0,
    ) -> None:  # fmt: skip
        given = {
            "database": database, "kafka": kafka, "redis": redis, "prefix": prefix,
            "every_s": every_s, "life_s": life_s,
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.vouching", json.dumps(given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip

    def decide(self, scope: str, state: State) -> float:
        """Request the state of a scope; return the time of the request."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        began = time.monotonic()
        self.process.stdin.write(json.dumps([scope, state.value]) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:  # between lines of the log
            if line == "done\n":
                return began
        raise AssertionError("the worker ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def main() -> None:
    """Run the process."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    Vouching(json.loads(sys.argv[1])).run(lines)


if __name__ == "__main__":
    main()
