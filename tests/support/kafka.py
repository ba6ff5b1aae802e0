"""A real Kafka for tests: the broker that the environment names, or one of our own.

In this order: the address in ``RISKWATCH_TEST_KAFKA``; a running Docker with the official image
at hand; Apache Kafka's own jars by Maven, kept in the user's cache folder, under Java 17 or
newer. A broker of our own is one KRaft node in a folder that goes away with it; the processes
of one test run share it, and the one that started it stops it when no other needs it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from base64 import urlsafe_b64encode
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ENV: Final = "RISKWATCH_TEST_KAFKA"
VERSION: Final = "4.1.1"
IMAGE: Final = f"apache/kafka:{VERSION}"
JAVA: Final = 17
READY_S: Final = 90
_POM: Final = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
<modelVersion>4.0.0</modelVersion>
<groupId>riskwatch</groupId><artifactId>broker</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.kafka</groupId>
<artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency></dependencies>
</project>
"""
_numbers = count()


def properties(port: int, controller: int, folder: Path) -> str:
    """Configure one node that is broker and controller, with nothing to wait for."""
    lines = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": folder / "logs",
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "log.segment.bytes": 16 * 2**20,
        "log.cleaner.dedupe.buffer.size": 8 * 2**20,
        # What a test compares with the journal must all be there, however long the test takes.
        "log.cleaner.min.compaction.lag.ms": 24 * 3_600_000,
    }
    return "".join(f"{name}={value}\n" for name, value in lines.items())


@dataclass
class Node:
    """One KRaft node of our own; it can be stopped, killed and started again on its data.

    Parameters
    ----------
    jars : Path
        Folder with Kafka's jars.
    folder : Path
        Where configuration, data and logs go.
    """

    jars: Path
    folder: Path
    port: int = field(default_factory=free_port)
    controller: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def format(self) -> None:
        """Write configuration and an empty storage."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.properties"
        config.write_text(properties(self.port, self.controller, self.folder))
        (self.folder / "log4j2.yaml").write_text(_LOGGING)
        # An id as Kafka writes it; one that begins with a dash would be taken for an option.
        cluster = "r" + urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")[1:]
        subprocess.run(
            self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config)),
            check=True,
            capture_output=True,
            env=self._environment(),
        )

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises
        ------
        RuntimeError
            If it ends, or does not answer in time.
        """
        with (self.folder / "out.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._java("kafka.Kafka", str(self.folder / "server.properties")),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment(),
                start_new_session=True,
            )  # fmt: skip
        self.wait()

    def wait(self) -> None:
        """Return when it answers."""
        assert self.process is not None
        until = time.monotonic() + READY_S
        while not answers(self.address):
            if self.process.poll() is not None or time.monotonic() > until:
                tail = (self.folder / "out.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the broker did not come up:\n{tail}")
            time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it, orderly or by SIGKILL."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(how)
            self.process.wait(timeout=60)
            self.process = None

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LOG_DIR": str(self.folder)}

    def _java(self, *args: str) -> list[str]:
        return [
            "java", "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.yaml'}",
            "-cp", f"{self.jars}/*", *args,
        ]  # fmt: skip


_LOGGING: Final = """Configuration:
  Appenders:
    Console: {name: out, PatternLayout: {pattern: "[%d] %p %m (%c)%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: [{ref: out}]}
"""


def answers(address: str) -> bool:
    """Whether a broker answers there."""
    host, port = address.split(",", maxsplit=1)[0].rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        admin = KafkaAdminClient(bootstrap_servers=address, request_timeout_ms=5000)
        try:
            return bool(admin.describe_cluster()["brokers"])
        finally:
            admin.close()
    except (OSError, KafkaError):
        return False


def java_major() -> int:
    """Major version of the Java on the path, 0 if there is none."""
    if shutil.which("java") is None:
        return 0
    shown = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', shown.stderr)
    return int(found[1]) if found else 0


def cache() -> Path:
    """Folder of the jars, outside of any source tree."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "riskwatch" / f"kafka-{VERSION}"


def fetch_jars() -> Path:
    """Have Maven bring Kafka's jars, once per machine; returns their folder.

    Raises
    ------
    RuntimeError
        If Maven fails.
    """
    folder = cache()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        try:
            if not folder.is_dir():
                _fetch(folder)
        finally:
            flock(lock, LOCK_UN)
    return folder


def _fetch(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        pom, jars = Path(made) / "pom.xml", Path(made) / "jars"
        pom.write_text(_POM)
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies",
             f"-DoutputDirectory={jars}"],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"Maven could not bring Kafka: {done.stdout.strip()[-1000:]}")
        jars.rename(folder)


@contextmanager
def _docker() -> Iterator[str]:
    """Run the official image; gives the broker's address."""
    port = free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    options = [part for name, value in settings.items() for part in ("-e", f"{name}={value}")]
    started = subprocess.run(
        ["docker", "run", "-d", "--rm", "-p", f"127.0.0.1:{port}:{port}", *options, IMAGE],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + READY_S
        while not answers(f"127.0.0.1:{port}"):
            if time.monotonic() > until:
                raise RuntimeError("the broker in Docker did not come up")
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run(["docker", "stop", started.stdout.strip()], check=False, capture_output=True)


def _docker_has_image() -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, check=False)
    return asked.returncode == 0


def jars_or_skip() -> Path:
    """Jars of a broker of our own; skips where it cannot be had."""
    if java_major() < JAVA:
        pytest.skip(f"no Kafka: {ENV} is not set, and there is no Java {JAVA} or newer")
    if not cache().is_dir() and shutil.which("mvn") is None:
        pytest.skip(f"no Kafka: {ENV} is not set, and there is no Maven to bring its jars")
    return fetch_jars()


@contextmanager
def own_node() -> Iterator[Node]:
    """Run a broker for one test alone, which may then stop and kill it."""
    folder = Path(tempfile.mkdtemp(prefix="riskwatch-kafka-"))
    node = Node(jars_or_skip(), folder)
    try:
        node.format()
        node.start()
        yield node
    finally:
        node.stop(signal.SIGKILL)
        shutil.rmtree(folder)


@contextmanager
def _shared(folder: Path) -> Iterator[str]:
    """Share one broker among the processes of a test run; gives its address.

    The first process starts it, and stops it once no other uses it. A lock on ``door`` is held
    while a process comes, and while the broker ends; a lock on ``users`` while it is used.
    """
    known = folder / "kafka.address"
    with (folder / "kafka.door").open("w") as door, (folder / "kafka.users").open("w") as users:
        flock(door, LOCK_EX)
        if known.exists():
            flock(users, LOCK_SH)
            flock(door, LOCK_UN)
            yield known.read_text()
            return
        with _broker() as address:
            known.write_text(address)
            flock(door, LOCK_UN)
            try:
                yield address
            finally:
                flock(door, LOCK_EX)
                known.unlink()
                flock(users, LOCK_EX)


@contextmanager
def _broker() -> Iterator[str]:
    """Run a broker in Docker where its image is at hand, and one of Kafka's own jars elsewhere."""
    if _docker_has_image():
        with _docker() as address:
            yield address
    else:
        with own_node() as node:
            yield node.address


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a broker that this process may make topics on; skips where there is none."""
    given = os.environ.get(ENV)
    if given:
        yield given
        return
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # that of the whole run
    with _shared(folder) as address:
        yield address


@pytest.fixture
def kafka_prefix() -> str:
    """Prefix of topic names that no other test uses on this broker."""
    return f"t{os.getpid()}-{next(_numbers)}."


@pytest.fixture
def kafka_node() -> Iterator[Node]:
    """A broker for one test alone, which may stop and kill it."""
    with own_node() as node:
        yield node
