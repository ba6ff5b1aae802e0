"""A producer written by hand, which takes records as kafka-python's does."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka.errors import KafkaTimeoutError

from riskwatch.contracts.connection import KafkaConnection
from riskwatch.engine.retry import Retry
from riskwatch.errors import BrokerError
from riskwatch.kafka import producer
from riskwatch.worker.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Metadata:
    """What the broker says about a record: its time, milliseconds."""

    timestamp: int


class Future:
    """What became of one record."""

    def __init__(self, exception: Exception | None = None, timestamp: int = 0) -> None:
        self.exception = exception
        self.value = Metadata(timestamp)

    def succeeded(self) -> bool:
        """Whether the broker has it."""
        return self.exception is None


@dataclass
class FakeKafka:
    """Takes records as kafka-python's producer does, and fails as the test sets."""

    sent: list[tuple[str, bytes | None, bytes, list[tuple[str, bytes]]]] = field(
        default_factory=list
    )
    busy: int = 0
    slow: int = 0
    refuse: dict[int, Exception] = field(default_factory=dict)
    closed: list[float] = field(default_factory=list)
    clock: Callable[[], int] | None = None
    """The broker's time, microseconds; without it, records keep the time of their sender."""

    def send(
        self, topic: str, value: bytes, *, key: Any, headers: Any, timestamp_ms: int
    ) -> Future:
        """Take a record, unless there is no room."""
        if self.busy:
            self.busy -= 1
            raise KafkaTimeoutError("no room")
        self.sent.append((topic, key, value, headers))
        at = timestamp_ms if self.clock is None else self.clock() // 1_000
        return Future(self.refuse.get(len(self.sent)), at)

    def flush(self, timeout: float) -> None:
        """Wait until all is confirmed."""
        assert timeout <= 1
        if self.slow:
            self.slow -= 1
            raise KafkaTimeoutError("not yet")

    def close(self, timeout: float) -> None:
        """Note it."""
        self.closed.append(timeout)


class Local(producer.Producer):
    """A producer on a fake, which may be absent at first."""

    def __init__(
        self,
        kafka: FakeKafka,
        absent: int = 0,
        note_broker: Callable[[int], None] | None = None,
    ) -> None:
        self.kafka = kafka
        self.absent = absent
        self.stop = threading.Event()
        self.metrics = Metrics()
        patience = Retry(self.stop, self.metrics)
        super().__init__(KafkaConnection(prefix="p."), patience, self.metrics, note_broker)

    def _new_producer(self) -> Any:
        if self.absent:
            self.absent -= 1
            raise BrokerError("nobody")
        return self.kafka

    def told(self, name: str, **labels: str) -> float | None:
        """Read a metric."""
        return self.metrics.registry.get_sample_value(name, labels)
