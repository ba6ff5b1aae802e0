"""Acknowledgements and late clients, by the commands that people use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.client import KillSwitch
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.outputs import decode_output
from riskwatch.core.enums import State
from riskwatch.core.outputs import AlertRaised, AlertResolved
from riskwatch.store.clients import CLIENT_ACK
from riskwatch.store.engine import open_engine
from riskwatch.store.projections import ALERT
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
