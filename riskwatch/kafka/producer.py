"""Publication on Kafka: in the order of the outbox, idempotent, at least once, never given up.

A record carries the worker, the epoch under which it was sent and its place in the order of all
that the worker ever put out. The producer keeps one request in flight and tries for ever, so a
broker that is away for an hour changes no order; what ends the waiting is the end of the
process, and then the outbox still has what was not confirmed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kafka.errors import KafkaError, KafkaTimeoutError

from riskwatch.contracts.kafka_clients import open_producer
from riskwatch.contracts.topics import EPOCH, SEQ, WORKER
from riskwatch.errors import BrokerError, StoppedError
from riskwatch.kafka.topics import MAX_RECORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.engine.retry import Retry, RetryMeter
    from riskwatch.store.batch import OutboxRecord

NO_TIMEOUT_MS: Final = 2**31 - 1
LINGER_MS: Final = 100
"""How long a record may wait for those after it; the last one of a batch ends that (a flush)."""
FIRST_ANSWER_S: Final = 30.0
"""How long the broker may take to answer at first, before it is asked anew."""
STOP_CHECK_S: Final = 0.5
"""How long to wait before looking whether the process was asked to stop."""


class Producer:
    """The one producer of a process.

    Parameters
    ----------
    connection : KafkaConnection
        The cluster.
    retry : Patience
        How it is waited for.
    meter : Meter
        Where it is told that it answers.
    """

    def __init__(self, connection: KafkaConnection, patience: Retry, meter: RetryMeter) -> None:
        self._connection = connection
        self._retry = patience
        self._meter = meter
        self._producer: Any = None

    def send(self, records: Sequence[OutboxRecord], headers: Sequence[tuple[str, bytes]]) -> None:
        """Send records, each with `headers` and its own; returns when all are confirmed.

        Raises
        ------
        BrokerError
            If the broker refuses one for good.
        StoppedError
            If the process is asked to stop meanwhile.
        """
        producer = self._open()
        topic = self._connection.topic
        sent = []
        for r in records:
            own = [*r.headers, *headers, (SEQ, str(r.seq).encode())]

            def hand_over(r: OutboxRecord = r, own: list[tuple[str, bytes]] = own) -> Any:
                return producer.send(topic(r.topic), r.value, key=r.key_bytes, headers=own)

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
        self._meter.up("broker", ok=True)

    def close(self) -> None:
        """Let go of the broker, without waiting for it."""
        if self._producer is not None:
            self._producer.close(timeout=0)
            self._producer = None

    def _confirm(self, producer: Any) -> None:
        """Wait until everything is confirmed or refused."""
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
            self._producer = self._retry.ask_broker("publish", self._made)
        return self._producer

    def _made(self) -> Any:
        return open_producer(
            self._connection,
            FIRST_ANSWER_S,
            client_id="riskwatch-relay",
            enable_idempotence=True,
            max_in_flight_requests_per_connection=1,
            delivery_timeout_ms=NO_TIMEOUT_MS,
            max_block_ms=1000,
            max_request_size=MAX_RECORD_BYTES,
            linger_ms=LINGER_MS,
        )


class KafkaPublisher:
    """Publishes what one worker puts out.

    Parameters
    ----------
    producer : Producer
        Shared by the workers of a process.
    """

    relay = True
    dead_letters = True

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._headers: tuple[tuple[str, bytes], ...] = ()

    def set_leader(self, worker: str, epoch: int) -> None:
        """Take note for whom the next records are, and under which epoch."""
        self._headers = ((WORKER, worker.encode()), (EPOCH, str(epoch).encode()))

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Send `records`; an exception leaves them in the outbox."""
        self._producer.send(records, self._headers)
