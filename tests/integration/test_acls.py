"""Rights on topics, on a real broker that is configured as compose.yaml configures its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from kafka.errors import KafkaError, TopicAuthorizationFailedError
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.kafka_clients import login_fault, open_producer
from riskwatch.contracts.topics import TOPICS
from riskwatch.errors import BrokerError, ConfigError
from riskwatch.kafka.acls import ROLES, grant_role, topic_writers, unexpected_writers
from riskwatch.kafka.topics import admin, topic_differences
from tests.conftest import ROOT
from tests.support import batches
from tests.support.cluster import Cluster
from tests.support.kafka import READY_S, Node, jars_or_skip
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

yaml = pytest.importorskip("yaml", reason="no PyYAML to read compose.yaml with")

COMPOSE: Final = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
PASSWORD: Final = "secret-of-a-test"
PREFIX: Final = "uat."
POLLS: Final = 8


@dataclass
class ComposeNode(Node):
    """A broker with the configuration of compose.yaml, but for its ports and its folder.

    Attributes
    ----------
    host : int
        Port of the listener for clients outside of the stack.
    """

    host: int = field(default_factory=free_port)

    def format(self) -> None:
        """Write the configuration as the image does, and an empty storage."""
        self.folder.mkdir(parents=True, exist_ok=True)
        given = COMPOSE["kafka"]["environment"]
        lines = {
            name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
            for name, value in given.items()
            if name.startswith("KAFKA_") and name != "KAFKA_HEAP_OPTS"
        }
        ports = {"9092": self.port, "9094": self.host, "9093": self.controller}
        for name, value in lines.items():
            filled = re.sub(r"\$\{\w*PASSWORD[^}]*\}", PASSWORD, value)
            filled = re.sub(r"\$\{KAFKA_PORT:-(\d+)\}", r"\1", filled)
            for before, port in ports.items():
                filled = re.sub(rf":{before}\b", f":{port}", filled)
            lines[name] = filled.replace("://:", "://127.0.0.1:").replace("kafka:", "127.0.0.1:")
        lines["log.dirs"] = str(self.folder / "logs")
        config = self.folder / "server.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        (self.folder / "log4j2.yaml").write_text(
            "Configuration:\n  Appenders:\n    Console: {name: out}\n"
            "  Loggers:\n    Root: {level: WARN, AppenderRef: [{ref: out}]}\n"
        )
        cluster = "r" + urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")[1:]
        subprocess.run(
            self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config)),
            check=True,
            capture_output=True,
            env=self._environment(),
        )

    def wait(self) -> None:
        """Return when it answers the super user."""
        until = time.monotonic() + READY_S
        while True:
            assert self.process is not None
            tail = (self.folder / "out.log").read_text(errors="replace")[-3000:]
            assert self.process.poll() is None, tail
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                with admin(self.as_user("riskwatch")) as client:
                    if client.describe_cluster()["brokers"]:
                        return
            except (BrokerError, KafkaError, OSError):
                assert time.monotonic() < until, tail
                time.sleep(0.1)

    def as_user(self, user: str) -> KafkaConnection:
        """Return the connection of a user of the broker."""
        return KafkaConnection(
            servers=f"127.0.0.1:{self.port}", prefix=PREFIX, protocol="SASL_PLAINTEXT",
            username=user, password=PASSWORD,
        )  # fmt: skip

    def environment(self, user: str) -> dict[str, str]:
        """Return the environment of a command of a user."""
        return {
            "RISKWATCH_KAFKA": f"127.0.0.1:{self.port}",
            "RISKWATCH_TOPIC_PREFIX": PREFIX,
            "RISKWATCH_KAFKA_PROTOCOL": "SASL_PLAINTEXT",
            "RISKWATCH_KAFKA_USERNAME": user,
            "RISKWATCH_KAFKA_PASSWORD": PASSWORD,
        }


@pytest.fixture(scope="module")
def node() -> Iterator[ComposeNode]:
    """A broker with the topics, users and rights of compose.yaml."""
    made = ComposeNode(jars_or_skip(), Path(tempfile.mkdtemp(prefix="riskwatch-kafka-")))
    try:
        made.format()
        made.start()
        command = COMPOSE["topics"]["command"]
        done = CliRunner().invoke(app, command, env=made.environment("riskwatch"))
        assert done.exit_code == 0, done.output
        yield made
    finally:
        made.stop(signal.SIGKILL)
        shutil.rmtree(made.folder)


def writes(connection: KafkaConnection, topic: str) -> bool:
    """Return whether a user may write a topic."""
    producer: Any = KafkaProducer(
        **connection.options(), enable_idempotence=False, allow_auto_create_topics=False,
        max_block_ms=10_000,
    )  # fmt: skip
    try:
        producer.send(connection.topic(topic), b"x", key=b"k").get(timeout=20)
    except TopicAuthorizationFailedError:
        return False
    finally:
        producer.close(timeout=1)
    return True


def reads(connection: KafkaConnection, topic: str) -> bool:
    """Return whether a user is given a record of a topic that has one."""
    consumer: Any = KafkaConsumer(
        **connection.options(), group_id=None, enable_auto_commit=False,
        auto_offset_reset="earliest", allow_auto_create_topics=False,
    )  # fmt: skip
    try:
        consumer.assign([TopicPartition(connection.topic(topic), 0)])
        return any(consumer.poll(timeout_ms=500) for _ in range(POLLS))
    except TopicAuthorizationFailedError:
        return False
    finally:
        consumer.close(autocommit=False)


@pytest.mark.parametrize("role", ROLES)
def test_a_user_writes_what_its_role_allows_and_nothing_else(node: ComposeNode, role: str) -> None:
    """Every topic is tried with the password of the user, on the real broker."""
    connection = node.as_user(role)
    assert {name for name in TOPICS if writes(connection, name)} == set(ROLES[role].writes)


@pytest.mark.parametrize("topic", ["riskwatch.killswitch", "riskwatch.commands", "riskwatch.acks"])
def test_a_client_reads_the_switch_only(node: ComposeNode, topic: str) -> None:
    """It reads what it obeys, and neither commands nor what other clients say."""
    allowed = topic in ROLES["client"].reads
    assert writes(node.as_user("riskwatch"), topic)
    assert reads(node.as_user("riskwatch"), topic)
    assert reads(node.as_user("client"), topic) is allowed


def test_topics_are_as_they_must_be_and_rights_are_checked(node: ComposeNode) -> None:
    """The super user sees everything in order; a grant twice changes nothing."""
    connection = node.as_user("riskwatch")
    assert topic_differences(connection) == []
    found = topic_writers(connection)
    assert found is not None
    assert unexpected_writers(found) == []
    assert found["riskwatch.acks"] == ["User:client"]
    assert [grant_role(connection, role, role) for role in ROLES] == [(0, 0)] * len(ROLES)


def test_the_doctor_names_who_may_write_too_much(node: ComposeNode) -> None:
    """Nothing is wrong with the rights of the roles; a user who may write switches is named."""

    def rights() -> Any:
        environment = node.environment("riskwatch") | {"RISKWATCH_DATABASE": "sqlite:////none"}
        lines = CliRunner().invoke(app, ["doctor", "--json"], env=environment).stdout.splitlines()
        return next(row for row in map(json.loads, lines) if row["check"] == "rights on topics")

    assert rights()["status"] == "ok"
    connection = node.as_user("riskwatch")
    topic = connection.topic("riskwatch.killswitch")
    right = ACL(
        "User:mallory", "*", ACLOperation.WRITE, ACLPermissionType.ALLOW,
        ResourcePattern(ResourceType.TOPIC, topic),
    )  # fmt: skip
    with admin(connection) as client:
        client.create_acls([right])
    found = rights()
    assert (found["status"], found["seen"]) == (
        "warn",
        "User:mallory may write riskwatch.killswitch",
    )
    assert grant_role(connection, "client", "mallory")[1] == 1
    assert rights()["status"] == "ok"


def test_a_grant_takes_away_what_a_role_does_not_have(node: ComposeNode) -> None:
    """A user with another role, or rights of another deployment, ends with those of the role."""
    connection = node.as_user("riskwatch")
    other = msgspec.structs.replace(connection, prefix="prod.")
    assert grant_role(connection, "reader", "eve")[1] == 0
    assert grant_role(other, "desk", "eve") == (2, 0)
    added, dropped = grant_role(connection, "feed", "eve")
    assert (added, dropped) == (2, len(ROLES["reader"].reads))
    ours, theirs = topic_writers(connection), topic_writers(other)
    assert ours is not None
    assert theirs is not None
    assert [n for n, users in ours.items() if "User:eve" in users] == list(ROLES["feed"].writes)
    assert [n for n, users in theirs.items() if "User:eve" in users] == list(ROLES["desk"].writes)
    for role, user in (("king", "eve"), ("feed", "*"), ("feed", "")):
        with pytest.raises(ConfigError):
            grant_role(connection, role, user)


def test_without_an_authorizer_that_is_told(kafka_broker: str, kafka_prefix: str) -> None:
    """Topics are made all the same, and nobody believes that rights are checked."""
    connection = KafkaConnection(servers=kafka_broker, prefix=kafka_prefix)
    assert topic_writers(connection) is None
    with pytest.raises(BrokerError, match="checks no rights"):
        grant_role(connection, "client", "client")
    environment = {"RISKWATCH_KAFKA": kafka_broker, "RISKWATCH_TOPIC_PREFIX": kafka_prefix}
    done = CliRunner().invoke(app, COMPOSE["topics"]["command"], env=environment)
    assert done.exit_code == 0
    assert "checks no rights" in done.output


def test_the_examples_of_the_readme_run_by_their_roles(node: ComposeNode) -> None:
    """The code blocks run unchanged with the variables of ``host.env``, one user for each role."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    environment = {**os.environ, **node.environment("reader"), "PYTHONPATH": str(ROOT)}
    environment |= {f"RISKWATCH_KAFKA_{role.upper()}_PASSWORD": PASSWORD for role in ROLES}
    (read,) = [block for block in blocks if "alerts(" in block]
    (write,) = [block for block in blocks if "publish(" in block]
    assert {read, write} == set(blocks)
    options: Any = {"env": environment, "text": True, "stdout": subprocess.PIPE}
    done = subprocess.run([sys.executable, "-c", write], timeout=120, check=True, **options)
    assert done.stdout == "{'riskwatch.fills': 1} 0\n"
    cluster = Cluster(node.as_user("riskwatch"))
    cluster.tell(batches.alert(1), 1)
    with subprocess.Popen([sys.executable, "-c", read], **options) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline().startswith("REDUCE asset:USDC ")
        finally:
            reader.kill()
    cluster.close()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"password": "wrong"}, "refuses the username or the password of 'desk' by PLAIN"),
        ({"mechanism": "SCRAM-SHA-256"}, "has no mechanism SCRAM-SHA-256"),
        ({"protocol": "PLAINTEXT"}, "does not answer in PLAINTEXT; if it asks for a login"),
    ],
)
def test_a_refused_login_says_so(node: ComposeNode, change: dict[str, str], text: str) -> None:
    """A wrong password, mechanism or protocol is named; an absent broker is not called wrong."""
    connection = msgspec.structs.replace(node.as_user("desk"), **change)
    with pytest.raises(BrokerError, match=re.escape(text)) as caught:
        open_producer(connection, 2.0)
    assert "wrong" not in str(caught.value)
    assert login_fault(node.as_user("desk")) is None
    absent = msgspec.structs.replace(connection, servers=f"127.0.0.1:{free_port()}")
    assert login_fault(absent) is None
