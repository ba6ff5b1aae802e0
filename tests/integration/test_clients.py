"""Acknowledgements and late clients, by the commands that people use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.client import KillSwitch
from riskwatch.contracts.acks import encode_ack
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.keyfile import create_private_key
from riskwatch.contracts.outputs import decode_output
from riskwatch.contracts.signing import public_key_text
from riskwatch.core.enums import State
from riskwatch.core.outputs import AlertRaised, AlertResolved
from riskwatch.store.clients import CLIENT, CLIENT_ACK
from riskwatch.store.engine import open_engine
from riskwatch.store.projections import ALERT
from riskwatch.store.truth import DEAD_LETTER
from tests.support.cluster import Cluster
from tests.support.gateway import wait
from tests.support.vouching import ROOT, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOPICS: Final = (
    "riskwatch.killswitch", "riskwatch.heartbeat", "riskwatch.drills", "riskwatch.acks",
    "riskwatch.alerts",
)  # fmt: skip
COIN: Final = "asset:USDC"


class Desk:
    """A database, topics, and a worker that vouches."""

    def __init__(self, database: str, connection: KafkaConnection) -> None:
        self.database = database
        self.cluster = Cluster(connection)
        self.cluster.make(*TOPICS)
        self.connection = connection
        self.environment = {
            **os.environ,
            "RISKWATCH_DATABASE": database,
            "RISKWATCH_KAFKA": connection.servers,
            "RISKWATCH_TOPIC_PREFIX": connection.prefix,
            "RISKWATCH_HTTP": "off",
            "PYTHONPATH": str(ROOT),
        }

    def rows(self, query: Any) -> list[Any]:
        """Ask the database."""
        engine = open_engine(self.database)
        try:
            with engine.connect() as conn:
                return list(conn.execute(query).all())
        finally:
            engine.dispose()

    def shown(self, client: str) -> Any:
        """What is shown of a client."""
        rows = map(json.loads, self.run("clients", "--json").stdout.splitlines())
        return next(row for row in rows if row["client"] == client)

    def run(self, *args: str) -> Any:
        """Run a command in this process."""
        return CliRunner().invoke(app, list(args), env=self.environment)


@pytest.fixture
def desk(
    mirror_template: bytes, tmp_path: Path, kafka_broker: str, kafka_prefix: str
) -> Iterator[Desk]:
    """Return a desk."""
    path = tmp_path / "clients.db"
    path.write_bytes(mirror_template)
    made = Desk(f"sqlite:///{path}", KafkaConnection(servers=kafka_broker, prefix=kafka_prefix))
    yield made
    made.cluster.close()


def test_clients_are_heard_and_late_ones_are_alerted(desk: Desk) -> None:
    """Times in SQL, an alert for who does not obey, and its end; all by ``run clients``."""
    c = desk.connection
    with (
        Worker(desk.database, c.servers, prefix=c.prefix) as worker,
        KillSwitch("good", kafka=c) as good,
        KillSwitch("stuck", kafka=c) as stuck,
    ):
        assert good.wait_ready()
        assert stuck.wait_ready()
        command = [sys.executable, "-m", "riskwatch", "run", "clients"]
        listener = subprocess.Popen(command, env=desk.environment, cwd=ROOT)
        try:
            wait(lambda: "good" in desk.run("clients").stdout, "nobody is heard")
            stuck.trust.lock.acquire()  # its threads hang from here on
            try:
                worker.decide(COIN, State.HALT)
                alert = wait(lambda: desk.rows(select(ALERT)), "nobody is alerted")[0]
                assert (alert.alert, alert.resolved_ts) == (f"client:stuck|{COIN}", None)
                times = desk.rows(select(CLIENT_ACK))
                assert [(row.client, row.scope, row.state) for row in times] == [
                    ("good", COIN, "HALT")
                ]
                assert 0 <= times[0].seconds < 2
                wait(lambda: desk.shown("stuck")["late"] == [COIN], "it is not shown")
                assert desk.shown("good")["late"] == []
            finally:
                stuck.trust.lock.release()
            wait(lambda: desk.rows(select(ALERT))[0].resolved_ts, "it applied it after all")
        finally:
            listener.send_signal(signal.SIGTERM)
            assert listener.wait(timeout=30) == 0
    said = [decode_output(record.value) for record in desk.cluster.read("riskwatch.alerts")]
    assert [type(output) for output in said] == [AlertRaised, AlertResolved]
    headers = dict(desk.cluster.read("riskwatch.alerts")[0].headers)
    assert headers["rw-worker"] == b"clients"


def with_key(rules: Path, client: str) -> Path:
    """Copy the shipped rules and name the key of a client there; return the file of the key."""
    shutil.copytree(ROOT / "rules", rules)
    file = rules.parent / f"{client}.pem"
    public = public_key_text(create_private_key(file).public_key())
    with (rules / "policy.toml").open("a") as policy:
        policy.write(f'\n[risk.client_keys]\n{client} = "{public}"\n')
    return file


def hostile(ack: bytes) -> list[tuple[bytes, bytes | None]]:
    """Return records that are no acknowledgement, or not of the client whose name they carry."""
    said = json.loads(ack)
    bad = [{"epoch": 2**63}, {"started": "2023-03-11T03:00:00"}, {"why": "a\0b"}, {"seq": -1}]
    bad += [{"client": "\0"}, {"sources": {"kafka": 7}}, {"sent_ts": "9999-12-31T23:59:59Z"}]
    found: list[tuple[bytes, bytes | None]] = [
        (b"good", json.dumps(said | each).encode()) for each in bad
    ]
    found += [(b"good", b"\xff"), (b"good", None), (b"\0", None), (b"\xff", b"{}")]
    found += [(b"good", json.dumps(said | {"ended": True}).encode())]
    scope = {"state": "HALT", "decision_id": "d", "seq": 1, "applied_ts": said["sent_ts"]}
    for n in range(300):
        flood = {"client": "flood", "scopes": {f"asset:R{n}-{m}": scope for m in range(500)}}
        found.append((b"flood", json.dumps(said | flood).encode()))
    return found


def test_what_clients_write_stops_nobody(desk: Desk, tmp_path: Path) -> None:
    """Hostile records are dead letters; a client with a key is neither ended nor forgotten."""
    c = desk.connection
    key = with_key(tmp_path / "rules", "good")
    desk.environment["RISKWATCH_CONFIG"] = str(tmp_path / "rules")
    with (
        Worker(desk.database, c.servers, prefix=c.prefix) as worker,
        KillSwitch("good", kafka=c, signing_key=key) as good,
    ):
        assert good.wait_ready()
        bad = hostile(encode_ack(good.acknowledgement()))
        for name, value in bad[:6]:
            desk.cluster.write("riskwatch.acks", name, value)
        command = [sys.executable, "-m", "riskwatch", "run", "clients"]
        listener = subprocess.Popen(command, env=desk.environment, cwd=ROOT)
        try:
            wait(lambda: desk.rows(select(CLIENT)), "nobody is heard")
            for name, value in bad[6:]:
                desk.cluster.write("riskwatch.acks", name, value)
            wait(lambda: desk.rows(select(CLIENT).where(CLIENT.c.client == "flood")), "it is down")
            worker.decide(COIN, State.HALT)
            wait(
                lambda: desk.rows(select(CLIENT_ACK).where(CLIENT_ACK.c.client == "good")),
                "a client with a key is not heard any more",
            )
            alerts = wait(lambda: desk.rows(select(ALERT)), "nobody is told")
            assert "client:*|refused" in {alert.alert for alert in alerts}
            assert not desk.shown("good")["ended"]
            assert desk.rows(select(CLIENT_ACK).where(CLIENT_ACK.c.client == "flood")) == []
        finally:
            listener.send_signal(signal.SIGTERM)
            assert listener.wait(timeout=30) == 0
    letters = desk.rows(select(DEAD_LETTER).where(DEAD_LETTER.c.worker == "clients"))
    assert len(letters) == 12
    assert {letter.stream for letter in letters} == {"riskwatch.acks/0"}
    reasons = {letter.reason for letter in letters}
    assert {"SIGNATURE_INVALID", "FIELD_RANGE", "FIELD_TYPE", "KEY_MISMATCH"} <= reasons
