"""The chaos laboratory: a real broker, a real Postgres, worker processes, and faults for all."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psycopg
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from riskwatch.contracts.codec import decode
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.topics import TOPICS, key_of, topic_of
from riskwatch.kafka import topics as kafka_topics
from riskwatch.store import migrate
from riskwatch.worker.worker import LEDGER_TOPICS, RISK_TOPICS
from tests.support.kafka import Node, own_node
from tests.support.postgres import Server, own_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


PATIENCE_S: Final = 180
"""How long anything may take before the laboratory gives up."""
YOUNG_S: Final = 40
"""How long a process may take to import everything, on a busy machine."""
QUIET_S: Final = 2.5
"""How long nothing may change before it is believed that all is done."""
OUTPUT_TOPICS: Final = tuple(
    t.name for t in TOPICS.values() if t.role == "output" and t.name != "riskwatch.audit"
)


@dataclass
class Sent:
    """What was published: how much on which topic."""

    by_topic: dict[str, int] = field(default_factory=dict)

    def count(self, topics: Iterable[str]) -> int:
        """Messages on some topics."""
        return sum(self.by_topic.get(topic, 0) for topic in topics)


@dataclass
class Published:
    """One record of an output topic."""

    topic: str
    worker: str
    epoch: int
    seq: int
    key: str
    value: bytes


@dataclass
class Lab:
    """Servers and workers of one run.

    Parameters
    ----------
    root : Path
        The source tree.
    folder : Path
        Logs go there.
    """

    root: Path
    folder: Path
    node: Node
    postgres: Server
    name: str
    module: tuple[str, ...] = ("riskwatch", "run")
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    born: dict[str, float] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    exits: list[tuple[str, int]] = field(default_factory=list)
    sent: Sent = field(default_factory=Sent)
    fences: list[tuple[int, int]] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    @property
    def connection(self) -> KafkaConnection:
        """The broker, with topics of this run's own."""
        return KafkaConnection(servers=self.node.address, prefix=f"{self.name}.")

    @property
    def database(self) -> str:
        """The database of this run."""
        return self.postgres.url.rsplit("/", 1)[0] + f"/{self.name}"

    def set_up(self) -> None:
        """Make database and topics."""
        with psycopg.connect(self.postgres.url, autocommit=True) as conn:
            conn.execute(f'CREATE DATABASE "{self.name}"'.encode())
        migrate.upgrade(self.database)
        kafka_topics.create_topics(self.connection)

    def start(self, *names: str) -> None:
        """Start workers: ``ledger-1``, ``risk-2`` and so on."""
        for name in names:
            environment = {
                **os.environ,
                "RISKWATCH_DATABASE": self.database,
                "RISKWATCH_KAFKA": self.node.address,
                "RISKWATCH_TOPIC_PREFIX": f"{self.name}.",
                "RISKWATCH_CLOCK": "event",
                "RISKWATCH_TICK": "60s",
                "RISKWATCH_LEASE": "5s",
                "RISKWATCH_BATCH": "200",
                "RISKWATCH_HTTP": "off",
                "RISKWATCH_LOG_FORMAT": "json",
                **self.extra,
            }
            kind = name.partition("-")[0]
            self.born[name] = time.monotonic()
            path = self.folder / f"{self.name}-{name}.log"
            self.marks[name] = path.stat().st_size if path.exists() else 0
            with (self.folder / f"{self.name}-{name}.log").open("ab") as log:
                self.workers[name] = subprocess.Popen(
                    [sys.executable, "-m", *self.module, kind],
                    cwd=self.root, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=log,
                )  # fmt: skip

    def supervise(self) -> None:
        """Start again what ended, as a supervisor does; and let trouble take its course."""
        self.meanwhile()
        for name, process in list(self.workers.items()):
            if process.poll() is not None:
                self.exits.append((name, process.returncode))
                self.start(name)

    def kill(self, name: str) -> None:
        """SIGKILL a worker; its supervisor will start it again."""
        self.workers[name].kill()
        self.workers[name].wait()
        self.kills += 1

    def signal(self, name: str, what: signal.Signals) -> None:
        """Send a signal to a worker."""
        self.workers[name].send_signal(what)

    def fence(self) -> None:
        """Note where the risk leader stands, who was paused and will not be the leader again."""
        wait_for(lambda: self._leader() == self._leader(), "the leader to stand", self.folder)
        self.fences += self._leader()

    def _leader(self) -> list[tuple[int, int]]:
        rows = self.asked(
            "SELECT epoch, next_seq FROM lease JOIN worker_progress USING (worker) "
            "WHERE worker = 'risk'"
        )
        return [(int(str(epoch)), int(str(seq))) for epoch, seq in rows]

    def stop(self, *names: str) -> None:
        """Stop workers in order (all, if none is named); none may need force."""
        self.supervise()
        leaving = {name: self.workers.pop(name) for name in names or list(self.workers)}
        for process in leaving.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        codes = {name: process.wait(timeout=60) for name, process in leaving.items()}
        for name, code in codes.items():
            # One that was only just started may not have said yet that it ends in order.
            young = time.monotonic() - self.born[name] < YOUNG_S
            allowed = (0, -signal.SIGTERM) if young else (0,)
            assert code in allowed, f"{name} ended with {code}: see {self.folder}"

    def wait_opened(self, name: str) -> None:
        """Wait until a worker that was started has partitions to work on."""
        log = self.folder / f"{self.name}-{name}.log"

        def opened() -> bool:
            self.meanwhile()
            return b'"opened"' in log.read_bytes()

        wait_for(opened, f"{name} to open", self.folder)

    def destroy(self) -> None:
        """Leave no process behind, and no client whose broker went away under it."""
        gc.collect()
        for process in self.workers.values():
            if process.poll() is None:
                process.kill()
            process.wait()

    def publish(self, lines: Iterable[bytes]) -> None:
        """Send lines to the topics that they belong to; rubbish goes to the topic of fills."""
        producer = KafkaProducer(
            bootstrap_servers=self.node.address, acks="all", linger_ms=5, max_block_ms=60_000,
        )  # fmt: skip
        try:
            for line in lines:
                event = decode(line)
                bad = isinstance(event, Refusal)
                topic = "riskwatch.fills" if isinstance(event, Refusal) else topic_of(event)
                key = None if isinstance(event, Refusal) else key_of(event).encode()
                place = {"partition": 0} if bad else {}
                producer.send(self.connection.topic(topic), line, key=key, **place)
                self.sent.by_topic[topic] = self.sent.by_topic.get(topic, 0) + 1
            producer.flush()
        finally:
            producer.close()

    def asked(self, query: str) -> list[tuple[object, ...]]:
        """Ask the database; nothing while it does not answer."""
        try:
            with psycopg.connect(self.database, connect_timeout=2) as conn:
                return conn.execute(query.encode()).fetchall()
        except psycopg.OperationalError:
            return []

    def read(self) -> dict[str, int]:
        """Messages that each kind of worker has taken."""
        rows = self.asked("SELECT split_part(worker, '/', 1), sum(read) FROM worker_progress "
                          "GROUP BY 1")  # fmt: skip
        return {str(kind): int(str(n)) for kind, n in rows}

    def ends(self, topics: Iterable[str]) -> int:
        """Messages that the broker has on some topics."""
        places = [(t, p) for t in topics for p in range(TOPICS[t].partitions)]
        return sum(last for _, last in kafka_topics.offset_bounds(self.connection, places).values())

    def wait_taken(self) -> None:
        """Wait until everything that was published is taken, starting again what ended."""

        def taken() -> bool:
            self.supervise()
            read = self.read()
            return (
                read.get("ledger", 0) >= self.sent.count(LEDGER_TOPICS)
                and read.get("risk", 0) >= self.ends(RISK_TOPICS)
            )  # fmt: skip

        try:
            wait_for(taken, "all messages to be taken", self.folder)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.behind()}") from error

    def behind(self) -> str:
        """Say where each partition stands in SQL, and where at the broker; for a run that hangs."""
        known = {
            str(stream): (str(worker), taken, records)
            for worker, stream, taken, records in self.asked(
                "SELECT worker, stream, position, records FROM stream_offset"
            )
        }
        places = [(t, p) for t in (*LEDGER_TOPICS, *RISK_TOPICS)
                  for p in range(TOPICS[t].partitions)]  # fmt: skip
        lines = [f"{self.read()} read, {self.sent.by_topic} sent"]
        for (topic, number), (_, end) in kafka_topics.offset_bounds(
            self.connection, places
        ).items():
            who, taken, records = known.get(f"{topic}/{number}", ("nobody", 0, 0))
            lines.append(f"{topic}/{number}: {who} took {taken} ({records} records) of {end}")
        return "\n".join(lines)

    def ready(self) -> bool:
        """Whether every worker has begun to work, or to stand by, since it was last started."""
        for name in self.workers:
            log = (self.folder / f"{self.name}-{name}.log").read_bytes()[self.marks[name] :]
            if b'"opened"' not in log and b'"stands by"' not in log:
                return False
        return True

    def settle(self, seconds: float) -> None:
        """Wait until nothing has changed for so long, whether or not everything was taken."""
        last: object = None
        since = time.monotonic()

        def still() -> bool:
            nonlocal last, since
            self.supervise()
            now = (
                self.asked("SELECT worker, read, us, next_seq FROM worker_progress ORDER BY 1"),
                self.asked("SELECT worker, count(*) FROM outbox GROUP BY worker ORDER BY 1"),
            )
            if now != last or not now[0] or not self.ready():
                last, since = now, time.monotonic()
            return time.monotonic() - since > seconds

        wait_for(still, "nothing to change", self.folder)

    def wait_done(self) -> None:
        """Wait until nothing changes any more."""
        last: object = None
        since = time.monotonic()

        def done() -> bool:
            nonlocal last, since
            self.supervise()
            now = self.asked(
                "SELECT worker, read, us, next_seq FROM worker_progress UNION ALL "
                "SELECT worker, count(*), 0, 0 FROM outbox GROUP BY worker ORDER BY 1, 2, 3, 4"
            )
            waiting = [row for row in now if row[3] == 0]
            if now != last or waiting or not now or not self.ready():
                last, since = now, time.monotonic()
            return time.monotonic() - since > QUIET_S

        self.wait_taken()
        wait_for(done, "everything to be at rest", self.folder)
        self.wait_taken()

    def published(self, topics: Iterable[str] = OUTPUT_TOPICS) -> list[Published]:
        """Everything on some topics, as it lies there."""
        consumer = KafkaConsumer(bootstrap_servers=self.node.address)
        try:
            places = [TopicPartition(self.connection.topic(t), 0) for t in topics]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            ends = consumer.end_offsets(places)
            out = []
            while any(consumer.position(p) < ends[p] for p in places):
                for batch in consumer.poll(timeout_ms=500).values():
                    for r in batch:
                        said = {name: bytes(v).decode() for name, v in r.headers}
                        out.append(
                            Published(
                                self.connection.plain(r.topic), said["rw-worker"],
                                int(said["rw-epoch"]), int(said["rw-seq"]),
                                (r.key or b"").decode(), r.value,
                            )
                        )  # fmt: skip
            return out
        finally:
            consumer.close()


def wait_for(done: object, what: str, folder: Path) -> None:
    """Look again and again until something is so."""
    assert callable(done)
    until = time.monotonic() + PATIENCE_S
    while not done():
        if time.monotonic() > until:
            raise AssertionError(f"waited too long for {what}: see the logs in {folder}")
        time.sleep(0.05)


@contextmanager
def servers() -> Iterator[tuple[Node, Server]]:
    """A broker and a Postgres that may be killed."""
    with own_node() as node, own_server() as postgres:
        yield node, postgres
