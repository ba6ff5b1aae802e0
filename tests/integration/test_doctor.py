"""The doctor with real servers: no fault, and each fault that a server can have."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import psycopg
import redis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.signing import public_key_text
from riskwatch.doctor import mirror, store
from riskwatch.doctor.finding import Facts
from riskwatch.kafka import topics
from riskwatch.kafka.acls import NO_AUTHORIZER
from riskwatch.store import migrate
from riskwatch.store.engine import open_engine
from riskwatch.store.transaction import take_lease
from riskwatch.worker.settings import ProcessSettings
from tests.conftest import ROOT
from tests.support.mirror import heartbeat

if TYPE_CHECKING:
    from pathlib import Path


def ask(environment: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Run the command; returns its exit code and what it found by check."""
    ran = CliRunner().invoke(app, ["doctor", "--json"], env=environment)
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    return ran.exit_code, {row["check"]: row for row in rows}


def test_all_is_well_and_then_is_not(
    tmp_path: Path, kafka_broker: str, kafka_prefix: str, redis_url: str
) -> None:
    """Exit code 0 with everything in place; then topics change and records wait."""
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    policy = tmp_path / "rules" / "policy.toml"
    shipped = policy.read_text()
    sources = 'topic_sources = ["court", "regulator", "desk"]'
    public = public_key_text(Ed25519PrivateKey.generate().public_key())
    policy.write_text(
        shipped.replace('# topic_sources = ["desk"]', sources)
        + f'\n[risk.client_keys]\ndesk-1 = "{public}"\n'
    )
    environment = {
        "RISKWATCH_CONFIG": str(tmp_path / "rules"),
        "RISKWATCH_DATABASE": f"sqlite:///{tmp_path / 'risk.db'}",
        "RISKWATCH_KAFKA": kafka_broker,
        "RISKWATCH_TOPIC_PREFIX": kafka_prefix,
        "RISKWATCH_REDIS": redis_url,
    }
    migrate.upgrade(environment["RISKWATCH_DATABASE"])
    code, found = ask(environment)
    assert (code, found["topics"]["status"]) == (1, "fail")
    assert "is missing" in found["topics"]["seen"]
    assert "lag of riskwatch.fills" not in found

    topics.create_topics(KafkaConnection(servers=kafka_broker, prefix=kafka_prefix))
    engine = open_engine(environment["RISKWATCH_DATABASE"])
    take_lease(engine, "risk", "host/7")
    engine.dispose()
    client = redis.Redis.from_url(redis_url)
    client.hset(f"{kafka_prefix}riskwatch:heartbeat", "value", heartbeat(1, 1))
    producer = KafkaProducer(bootstrap_servers=kafka_broker)
    for _ in range(3):
        producer.send(f"{kafka_prefix}riskwatch.pegs", b"x").get(timeout=20)
    producer.close()
    code, found = ask(environment)
    # The broker of the tests checks no rights (tests/integration/test_acls.py has one that does).
    assert found.pop("rights on topics")["seen"] == NO_AUTHORIZER
    assert {row["status"] for row in found.values()} == {"ok"}
    assert code == 0
    assert found["lag of riskwatch.pegs"]["seen"] == "3 records behind"

    admin = KafkaAdminClient(bootstrap_servers=kafka_broker)
    name = f"{kafka_prefix}riskwatch.killswitch"
    wrong = {"cleanup.policy": "delete"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=wrong)])
    admin.close()
    client.config_set("maxmemory-policy", "allkeys-lru")
    code, found = ask(environment)
    client.config_set("maxmemory-policy", "noeviction")
    client.close()
    assert code == 1
    assert "riskwatch.killswitch: cleanup.policy must be compact" in found["topics"]["seen"]
    assert found["mirror's memory"]["status"] == "warn"


def test_postgres(postgres_url: str) -> None:
    """Its clock is compared, and a user that may not write is told apart from one that may."""
    migrate.upgrade(postgres_url)
    settings = ProcessSettings(database=postgres_url, kafka="nowhere")
    found = {x.check: x for x in store.findings(settings, Facts())}
    assert [found[x].status for x in ("clock of the database", "writing")] == ["ok", "ok"]
    with psycopg.connect(postgres_url, autocommit=True) as conn:
        name = conn.execute("SELECT current_database()").fetchone()
        assert name is not None
        conn.execute(f'ALTER DATABASE "{name[0]}" SET default_transaction_read_only = on')
    found = {x.check: x for x in store.findings(settings, Facts())}
    assert found["writing"].status == "warn"
    assert "default_transaction_read_only" in found["writing"].seen
    assert found["schema"].status == "ok"


def test_a_mirror_that_is_gone(redis_own: Any) -> None:
    """It is told in one line; and one that nobody wants is none to miss."""
    settings = ProcessSettings(redis=redis_own.url)
    redis_own.stop()
    (only,) = mirror.findings(settings, Facts())
    assert (only.check, only.status, "\n" in only.seen) == ("mirror", "fail", False)
    (only,) = mirror.findings(ProcessSettings(redis=None), Facts())
    assert only.status == "ok"
