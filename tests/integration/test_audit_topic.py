"""Heads of the audit chain on a real broker: a leader publishes them, and they are read back."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.contracts.audit import TOPIC
from riskwatch.engine.audit_head import head_record, published_heads, read_head
from riskwatch.engine.retry import Retry
from riskwatch.errors import BrokerError
from riskwatch.kafka.producer import KafkaPublisher, Producer
from riskwatch.store.deployment import current_deployment
from riskwatch.worker.metrics import Metrics
from tests.support.audit import WORKER, cut_off, fill_chain, unguarded, write_anew
from tests.support.cluster import Cluster, cluster
from tests.support.sqlite import engine, template, url

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from typer.testing import Result

__all__ = ["cluster", "engine", "template", "url"]
MINUTE = 60_000_000


@pytest.fixture
def published(cluster: Cluster, engine: Engine) -> Cluster:
    """A topic with the heads of three minutes, of a chain of eight rows."""
    cluster.make(TOPIC)
    metrics = Metrics()
    producer = Producer(cluster.connection, Retry(threading.Event(), metrics), metrics)
    with engine.connect() as conn:
        own = current_deployment(conn).id
    publisher = KafkaPublisher(producer, own)
    publisher.set_leader(WORKER, 1)
    publisher.publish([head_record(read_head(engine, WORKER, 1, 0, own), 0)])
    fill_chain(engine, 4)
    for minute in (1, 2):
        now = minute * MINUTE
        publisher.publish([head_record(read_head(engine, WORKER, 1, now, own), now)])
    producer.close()
    return cluster


def verify(cluster: Cluster, url: str) -> Result:
    """Verify against the topic."""
    env = {
        "RISKWATCH_DATABASE": url,
        "RISKWATCH_KAFKA": cluster.connection.servers,
        "RISKWATCH_TOPIC_PREFIX": cluster.connection.prefix,
    }
    return CliRunner().invoke(app, ["audit", "verify", "--from-topic"], env=env)


def test_an_intact_chain_agrees_with_every_head(published: Cluster, url: str) -> None:
    """Also with the one of the empty chain; and the records say who leads."""
    heads = published_heads(published.connection)
    assert [head.seq for head in heads] == [0, 8, 8]
    done = verify(published, url)
    assert done.exit_code == 0, done.output
    assert "8 rows, intact" in done.stdout
    assert "3 heads compared" in done.stdout
    (first, *_) = published.read(TOPIC)
    assert dict(first.headers)["rw-worker"] == WORKER.encode()


@pytest.mark.parametrize("tamper", [cut_off, write_anew])
def test_what_the_rows_alone_hide_shows(
    published: Cluster, engine: Engine, url: str, tamper: type
) -> None:
    """A tail that is gone, and a chain that was written anew, digests and all."""
    with engine.begin() as conn:
        unguarded(conn)
        tamper(conn, random.Random(5))
    done = verify(published, url)
    assert done.exit_code == 1
    assert "cut off" in done.stdout or "written anew" in done.stdout


def test_a_topic_that_is_missing_or_holds_something_else(cluster: Cluster) -> None:
    """Each is said, and is no verdict."""
    with pytest.raises(BrokerError, match="is missing: run `riskwatch topics create`"):
        published_heads(cluster.connection)
    cluster.make(TOPIC)
    assert published_heads(cluster.connection) == []
    cluster.write(TOPIC, b"risk", b'{"type":"heartbeat"}')
    with pytest.raises(BrokerError, match="a record is no head"):
        published_heads(cluster.connection)
