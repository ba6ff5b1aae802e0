"""Two deployments at one broker: commands, tables, acknowledgements and workers keep apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select, update

from riskwatch.client import KillSwitch
from riskwatch.contracts.acks import encode_ack
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.heartbeat import decode_heartbeat
from riskwatch.core.enums import State
from riskwatch.errors import RiskwatchError
from riskwatch.kafka.topics import cluster_id
from riskwatch.store.deployment import current_deployment
from riskwatch.store.engine import open_engine
from riskwatch.store.truth import DEAD_LETTER, DEPLOYMENT
from tests.support.drills import ack
from tests.support.gateway import wait
from tests.support.office import ROOT, Office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COIN: Final = "asset:USDC"
ORDER: Final[dict[str, Any]] = {"counterparty": "kraken", "asset": "USDC"}
HALT: Final = ("halt", COIN, "--yes", "--reason", "try")


@pytest.fixture
def office(
    mirror_template: bytes, tmp_path: Path, kafka_broker: str, kafka_prefix: str
) -> Iterator[Office]:
    """Return an office on the shared broker."""
    path = tmp_path / "office.db"
    path.write_bytes(mirror_template)
    connection = KafkaConnection(servers=kafka_broker, prefix=kafka_prefix)
    with closing(Office(tmp_path, f"sqlite:///{path}", connection)) as made:
        yield made


def own(office: Office) -> str:
    """Return the deployment of the office."""
    engine = open_engine(office.database, readonly=True)
    try:
        with engine.connect() as conn:
            return current_deployment(conn).id
    finally:
        engine.dispose()


def start(office: Office) -> subprocess.CompletedProcess[str]:
    """Start the risk worker, which is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "riskwatch", "run", "risk"],
        env={**os.environ, **office.environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_crosses_deployments_is_refused_and_told(office: Office) -> None:
    """Commands, the table, and acknowledgements; what is of the own deployment has its effect."""
    name, c = own(office), office.connection
    with office.worker(), office.worker("clients"):
        with KillSwitch("one", kafka=c, deployment=name) as one:
            assert one.wait_ready(30), one.allows().reason
            crossed = office.turn(*HALT, "--deployment", "staging")
            assert isinstance(crossed.exception, RiskwatchError)
            assert "refused: DEPLOYMENT_FOREIGN" in str(crossed.exception)
            assert "signed for deployment staging" in str(crossed.exception)
            assert one.allows(**ORDER)
            done = office.turn(*HALT)
            assert done.exit_code == 0, (done.output, done.exception)
            assert f"sent to deployment {name}" in done.stderr
            wait(lambda: not one.allows(**ORDER), "the HALT is not applied")
            with KillSwitch("two", kafka=c, deployment="staging") as two:
                wait(lambda: name in two.allows().reason, "nothing is refused")
                assert two.allows().state is State.HALT
                assert "this guard obeys deployment staging" in two.allows().reason
            with KillSwitch("three", kafka=c) as three:
                assert three.wait_ready(30), three.allows().reason
                assert three.deployment == name
                assert not three.allows(**ORDER)
        office.cluster.write("riskwatch.acks", b"x", encode_ack(ack("x", deployment="staging")))
        letters = wait(
            lambda: [r for r in office.rows(select(DEAD_LETTER)) if "obeys deployment" in r.detail],
            "no letter",
        )
        assert {row.reason for row in letters} == {"DEPLOYMENT_FOREIGN"}
    shown = [(h["refusal"], h["outcome"]) for h in office.history()]
    assert shown == [("DEPLOYMENT_FOREIGN", "refused"), (None, "applied")]
    for topic in ("riskwatch.killswitch", "riskwatch.heartbeat", "riskwatch.audit"):
        for record in office.cluster.read(topic):
            assert dict(record.headers)["rw-deployment"] == name.encode()
    beats = [decode_heartbeat(r.value) for r in office.cluster.read("riskwatch.heartbeat")]
    assert {beat.deployment for beat in beats} == {name}
    heads = [json.loads(r.value) for r in office.cluster.read("riskwatch.audit")]
    assert {head["deployment"] for head in heads} == {name}


def test_a_worker_refuses_another_broker(office: Office) -> None:
    """In one line, until the database is said to have moved; then the table is published there."""
    with office.worker():
        assert office.turn(*HALT).exit_code == 0
    before = len(office.cluster.read("riskwatch.killswitch"))
    engine = open_engine(office.database)
    with engine.begin() as conn:
        conn.execute(update(DEPLOYMENT).values(cluster="elsewhere"))
    engine.dispose()
    done = start(office)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "elsewhere" in line]
    cluster = cluster_id(office.connection)
    for words in (own(office), f"is cluster {cluster}", "RISKWATCH_KAFKA", "riskwatch db adopt"):
        assert words in line
    assert "belongs to cluster elsewhere" in office.run("doctor").stdout
    adopt = ("db", "adopt", "--reason", "a copy", "--deployment", "staging")
    assert office.run(*adopt).exit_code == 0
    with office.worker():
        c = office.connection
        with KillSwitch("one", kafka=c, deployment="staging") as one:
            assert one.wait_ready(30), one.allows().reason
            assert one.allows(**ORDER).state is State.HALT
            assert one.allows(counterparty="kraken", asset="BTC")
    records = office.cluster.read("riskwatch.killswitch")[before:]
    assert {dict(r.headers)["rw-deployment"] for r in records} == {b"staging"}
