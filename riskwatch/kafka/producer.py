"""The Kafka producer: it publishes records in the order of the outbox, at least once.

A record carries the deployment, the worker, the epoch under which it was sent, and its sequence
number among all outputs of the worker. The producer is idempotent, keeps one request in flight and
retries without end, so a broker that is away for an hour does not change the order. Only the end of
the process ends the wait; the outbox then still holds the records that were not confirmed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from kafka.errors import KafkaError, KafkaTimeoutError

from riskwatch.contracts.kafka_clients import open_producer
from riskwatch.contracts.topics import DEPLOYMENT, EPOCH, SEQ, WORKER
from riskwatch.errors import BrokerError, StoppedError
from riskwatch.kafka.topics import MAX_RECORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.engine.retry import Retry, RetryMeter
    from riskwatch.store.batch import OutboxRecord

NO_TIMEOUT_MS: Final = 2**31 - 1
LINGER_MS: Final = 100
"""Longest wait of a record for later ones, milliseconds; the flush of a batch ends the wait."""
IN_ORDER: Final[dict[str, Any]] = {
    "enable_idempotence": True,
    "max_in_flight_requests_per_connection": 1,
}
"""Settings under which a record that is sent again neither overtakes another nor counts twice."""
FIRST_ANSWER_S: Final = 30.0
"""Longest wait for the first answer of the broker before a new attempt, seconds."""
STOP_CHECK_S: Final = 0.5
"""Interval between two checks for a stop request, seconds."""


class Producer:
    """The Kafka producer of a process; there is one per process.

    Parameters
    ----------
    connection : KafkaConnection
        The cluster.
    retry : Retry
        How calls to the broker are retried.
    meter : RetryMeter
        Metrics of retries, and of whether the broker answers.
    note_broker : callable, optional
        Called with the broker's time of records that it confirmed, microseconds.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        retry: Retry,
        meter: RetryMeter,
        note_broker: Callable[[int], None] | None = None,
    ) -> None:
        self._connection = connection
        self._retry = retry
        self._meter = meter
        self._note_broker = note_broker
        self._producer: Any = None

    def send(self, records: Sequence[OutboxRecord], headers: Sequence[tuple[str, bytes]]) -> None:
        """Send records, each with `headers` and its own, and return when all are confirmed.

        Raises
        ------
        BrokerError
            If the broker refuses a record for good.
        StoppedError
            If the process is asked to stop meanwhile.
        """
        producer = self._open()
        topic = self._connection.topic
        sent, made_ms = [], time.time_ns() // 1_000_000
        for r in records:
            own = [*r.headers, *headers, (SEQ, str(r.seq).encode())]

            def hand_over(r: OutboxRecord = r, own: list[tuple[str, bytes]] = own) -> Any:
                return producer.send(
                    topic(r.topic), r.value, key=r.key_bytes, headers=own, timestamp_ms=made_ms
                )

            try:
                wait = self._retry.until_done
                sent.append(wait("publish", "broker", hand_over, KafkaTimeoutError))
            except KafkaError as error:
                raise BrokerError(f"{r.topic}: record {r.seq} was refused: {error}") from error
        self._confirm(producer)
        for record, future in zip(records, sent, strict=True):
            if not future.succeeded():
                raise BrokerError(
                    f"{record.topic}: record {record.seq} was refused: {future.exception}"
                )
        self._note_times(sent, made_ms)
        self._meter.up("broker", ok=True)

    def close(self) -> None:
        """Close the producer without waiting for the broker."""
        if self._producer is not None:
            self._producer.close(timeout=0)
            self._producer = None

    def _note_times(self, sent: Sequence[Any], made_ms: int) -> None:
        """Note the broker's time of the confirmed records.

        On a topic that keeps the producer's times, a record comes back with the time that we gave
        it, and tells nothing about the broker.
        """
        if self._note_broker is not None:
            times = {future.value.timestamp for future in sent} - {made_ms}
            self._note_broker(1_000 * max(times, default=0))

    def _confirm(self, producer: Any) -> None:
        """Wait until every record is confirmed or refused."""
        while True:
            try:
                producer.flush(timeout=STOP_CHECK_S)
            except KafkaTimeoutError as error:
                self._meter.retried("publish")
                self._meter.up("broker", ok=False)
                if self._retry.stop.is_set():
                    raise StoppedError("stopped while the broker was waited for") from error
            else:
                return

    def _open(self) -> Any:
        if self._producer is None:
            self._producer = self._retry.ask_broker("publish", self._new_producer)
        return self._producer

    def _new_producer(self) -> Any:
        return open_producer(
            self._connection,
            FIRST_ANSWER_S,
            client_id="riskwatch-relay",
            **IN_ORDER,
            delivery_timeout_ms=NO_TIMEOUT_MS,
            max_block_ms=1000,
            max_request_size=MAX_RECORD_BYTES,
            linger_ms=LINGER_MS,
        )


class KafkaPublisher:
    """Publishes the outputs of one worker on Kafka.

    Parameters
    ----------
    producer : Producer
        The producer, which the workers of a process share.
    deployment : str
        Deployment that every record names.
    """

    relay = True
    dead_letters = True

    def __init__(self, producer: Producer, deployment: str) -> None:
        self._producer = producer
        self._deployment = deployment
        self._headers: tuple[tuple[str, bytes], ...] = ()

    def set_leader(self, worker: str, epoch: int) -> None:
        """Set the worker whose records come next, and the epoch of its lease."""
        self._headers = (
            (WORKER, worker.encode()),
            (EPOCH, str(epoch).encode()),
            (DEPLOYMENT, self._deployment.encode()),
        )

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Send `records` and return when they are out. An exception leaves them in the outbox."""
        self._producer.send(records, self._headers)
