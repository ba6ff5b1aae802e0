"""The broker's time on a real broker: what confirmations tell a worker."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from riskwatch.contracts import heartbeat
from riskwatch.contracts.audit import TOPIC as AUDIT
from riskwatch.contracts.topics import ALERTS
from riskwatch.core.clock import MINUTE, SECOND
from riskwatch.engine.clock import LiveClock, wall_us
from riskwatch.engine.retry import Retry
from riskwatch.kafka.producer import KafkaPublisher, Producer
from riskwatch.kafka.topics import create_topics
from riskwatch.store.batch import OutboxRecord
from riskwatch.worker.metrics import Metrics
from tests.support.cluster import Cluster, cluster

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cluster"]


def publisher(cluster: Cluster, note: Callable[[int], None]) -> tuple[KafkaPublisher, Producer]:
    """Make a publisher that tells the broker's time."""
    metrics = Metrics()
    producer = Producer(cluster.connection, Retry(threading.Event(), metrics), metrics, note)
    made = KafkaPublisher(producer, "prod")
    made.set_leader("risk", 1)
    return made, producer


def test_heartbeats_and_audit_heads_tell_the_brokers_time_and_other_outputs_do_not(
    cluster: Cluster,
) -> None:
    """Their topics keep the broker's times; a topic with the senders' times tells nothing."""
    create_topics(cluster.connection)
    clock, found = LiveClock(SECOND), list[int]()

    def note(us: int) -> None:
        found.append(us)
        clock.note_confirmed(us)

    made, producer = publisher(cluster, note)
    for topic in (ALERTS, AUDIT, heartbeat.TOPIC):
        made.publish([OutboxRecord(1, topic, "firm", b"{}", datetime.now(UTC))])
        if topic == ALERTS:
            assert clock.now() == 0
    producer.close()
    assert found[0] == 0
    # The broker runs on this machine, so its time is ours.
    assert all(abs(us - wall_us()) < MINUTE for us in found[1:])
    assert abs(clock.now() - wall_us()) < MINUTE
