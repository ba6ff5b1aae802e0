"""Workers on a real broker whose offsets are not those in SQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from sqlalchemy import select

from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.validation import MAX_AHEAD
from riskwatch.kafka import topics
from riskwatch.store import migrate
from riskwatch.store.engine import open_engine
from riskwatch.store.truth import STREAM_OFFSET
from streams.host import SESSION_S
from tests.support.ports import free_port
from tests.support.toy import quote_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
PATIENCE_S: Final = 40
QUOTES: Final = "riskwatch.quotes"


@dataclass
class Place:
    """Topics, a database, and where a worker says how it is."""

    connection: KafkaConnection
    folder: Path
    root: Path
    port: int
    count: int = 0

    @property
    def database(self) -> str:
        """URL of the database."""
        return f"sqlite:///{self.folder / 'risk.db'}"

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run a risk worker until the block ends."""
        environment = {
            **os.environ,
            "RISKWATCH_DATABASE": self.database,
            "RISKWATCH_KAFKA": self.connection.servers,
            "RISKWATCH_TOPIC_PREFIX": self.connection.prefix,
            "RISKWATCH_HTTP": f"127.0.0.1:{self.port}",
        }
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "riskwatch", "run", "risk"],
                cwd=self.root, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            try:
                process.wait(timeout=20)
            finally:
                process.kill()
                process.wait()

    def ready(self) -> bool:
        """Whether the worker says that it does its work."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except URLError:
            return False

    def quote(self) -> bytes:
        """Write a quote of now."""
        self.count += 1
        now = (datetime.now(UTC) - MAX_AHEAD / 5).isoformat()
        return quote_line(self.count, 0, ts=now)

    def send(self, count: int) -> None:
        """Send quotes as anybody does."""
        producer = KafkaProducer(**self.connection.options())
        for _ in range(count):
            producer.send(self.connection.topic(QUOTES), self.quote(), key=b"USDC")
        producer.flush()
        producer.close()

    def send_as_transaction(self, count: int) -> None:
        """Send quotes in a transaction, whose end takes an offset."""
        producer = KafkaProducer(
            **self.connection.options(), transactional_id=f"{self.connection.prefix}feed"
        )
        producer.init_transactions()
        producer.begin_transaction()
        for _ in range(count):
            producer.send(self.connection.topic(QUOTES), self.quote(), key=b"USDC")
        producer.commit_transaction()
        producer.close()

    def position(self) -> int:
        """Offset of the quotes in SQL."""
        engine = open_engine(self.database)
        query = select(STREAM_OFFSET.c.position).where(STREAM_OFFSET.c.stream == f"{QUOTES}/0")
        with engine.connect() as conn:
            found = conn.execute(query).scalar()
        engine.dispose()
        return found or 0

    def log(self) -> str:
        """What the worker wrote."""
        return (self.folder / "worker.log").read_text()


@pytest.fixture
def place(kafka_broker: str, kafka_prefix: str, tmp_path: Path, root: Path) -> Place:
    """Topics and a database of this test's own."""
    connection = KafkaConnection(servers=kafka_broker, prefix=kafka_prefix)
    found = Place(connection, tmp_path, root, free_port())
    topics.create_topics(connection)
    migrate.upgrade(found.database)
    return found


def wait_for(place: Place, what: Callable[[], bool], why: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, f"{why}: {place.log()[-3000:]}"
        time.sleep(0.1)


def test_the_end_of_a_transaction_holds_nothing_up(place: Place) -> None:
    """It is an offset that no message will ever come for: at the start, and while it works."""
    place.send_as_transaction(3)
    with place.worker():
        wait_for(place, place.ready, "it never caught up")
        assert place.position() == 4
        place.send_as_transaction(2)
        wait_for(place, lambda: place.position() == 7, "it stands before the end of a transaction")
        assert place.ready()


def test_a_worker_that_slept_past_its_session_goes_on(place: Place) -> None:
    """Its group gave it up and takes it back; the offsets are in SQL, so nothing else is asked."""
    place.send(1)
    with place.worker() as process:
        wait_for(place, lambda: place.ready() and place.position() == 1, "it does not begin")
        for nap in range(2):
            process.send_signal(signal.SIGSTOP)
            time.sleep(SESSION_S + 2)  # what is tested is the sleep
            process.send_signal(signal.SIGCONT)
            place.send(5)
            at = 1 + 5 * (nap + 1)
            wait_for(place, lambda at=at: place.position() == at, "it does not go on")  # type: ignore[misc]
            assert process.poll() is None, place.log()


def test_messages_that_are_gone_unread_stop_the_worker(place: Place) -> None:
    """The consumer does not go on behind the hole as if there had been nothing."""
    place.send(1)
    with place.worker() as process:
        wait_for(place, lambda: place.ready() and place.position() == 1, "it does not begin")
        process.send_signal(signal.SIGSTOP)
        for _ in range(3):
            place.send(20)
        admin = KafkaAdminClient(**place.connection.options())
        admin.delete_records({TopicPartition(place.connection.topic(QUOTES), 0): 60})
        admin.close()
        place.send(1)
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=PATIENCE_S) == 2, place.log()
    assert place.position() < 60
    assert f"{QUOTES}/0" in place.log()
    with place.worker() as process:
        assert process.wait(timeout=PATIENCE_S) == 2
    assert "are gone from the broker and were never read" in place.log()
