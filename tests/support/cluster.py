"""Topics of one test on a real broker, and a hand that writes what a worker would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from riskwatch.contracts.codec import SIZE_LIMIT
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.outputs import encode_output
from riskwatch.contracts.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import Output

WAIT_S: Final = 30.0


class Cluster:
    """Topics of one test, and a hand that writes what a worker would."""

    def __init__(self, connection: KafkaConnection) -> None:
        self.connection = connection
        self._producer: Any = None

    def make(self, *names: str, **configs: str) -> None:
        """Create topics as the contract lays them out; in names of `configs`, ``_`` is ``.``."""
        wanted = {
            self.connection.topic(name): {
                "num_partitions": TOPICS[name].partitions,
                "replication_factor": 1,
                "configs": {
                    "cleanup.policy": "compact" if TOPICS[name].compacted else "delete",
                    "max.message.bytes": str(2 * SIZE_LIMIT),
                    **{key.replace("_", "."): value for key, value in configs.items()},
                },
            }
            for name in names
        }
        admin = KafkaAdminClient(**self.connection.options())
        try:
            admin.create_topics(wanted, wait_for_metadata=True)
        finally:
            admin.close()

    def write(self, topic: str, key: bytes | None, value: bytes | None, **headers: str) -> None:
        """Write one record; in names of headers, ``_`` is ``-``."""
        if self._producer is None:
            self._producer = KafkaProducer(
                **self.connection.options(), reconnect_backoff_max_ms=500
            )
        self._producer.send(
            self.connection.topic(topic),
            key=key,
            value=value,
            headers=[(name.replace("_", "-"), text.encode()) for name, text in headers.items()],
        ).get(timeout=WAIT_S)

    def tell(self, output: Output, seq: int, *, epoch: int = 1, worker: str = "risk") -> None:
        """Write an output as a worker does."""
        self.write(
            output.topic or "", output.key().encode(), encode_output(output),
            rw_worker=worker, rw_epoch=str(epoch), rw_seq=str(seq),
        )  # fmt: skip

    def read(self, topic: str) -> list[Any]:
        """Return all records of a topic."""
        name = self.connection.topic(topic)
        consumer = KafkaConsumer(**self.connection.options(), auto_offset_reset="earliest")
        try:
            parts = [TopicPartition(name, n) for n in range(TOPICS[topic].partitions)]
            consumer.assign(parts)
            left = sum(consumer.end_offsets(parts).values())
            found: list[Any] = []
            while len(found) < left:
                for records in consumer.poll(1000).values():
                    found += records
            return found
        finally:
            consumer.close()

    def close(self) -> None:
        """Let go of the broker."""
        if self._producer is not None:
            self._producer.close(timeout=5)


@pytest.fixture
def cluster(kafka_broker: str, kafka_prefix: str) -> Iterator[Cluster]:
    """Give a cluster whose topics are this test's alone."""
    made = Cluster(KafkaConnection(servers=kafka_broker, prefix=kafka_prefix))
    yield made
    made.close()
