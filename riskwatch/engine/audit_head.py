"""The head of a worker's audit chain: it is read, logged and published, to detect a cut chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog
from kafka import TopicPartition
from kafka.errors import KafkaError

from riskwatch.contracts.audit import TOPIC, Head, decode_head, encode_head
from riskwatch.contracts.kafka_clients import open_consumer
from riskwatch.core.clock import MINUTE, moment, rfc3339
from riskwatch.errors import BrokerError
from riskwatch.store.audit import chain_tail
from riskwatch.store.batch import OutboxRecord
from riskwatch.store.engine import translate_errors
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.contracts.connection import KafkaConnection

HEAD_INTERVAL_US: Final = MINUTE
WAIT_MS: Final = 10_000
"""Longest wait for an answer of the broker while heads are read, milliseconds."""

log = structlog.get_logger("riskwatch.audit")


def read_head(engine: Engine, worker: str, epoch: int, now_us: int, deployment: str) -> Head:
    """Read the sequence number and digest of the last entry of a worker's audit chain.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    with (
        translate_errors(f"{worker}: the head of the audit chain cannot be read"),
        engine.connect() as conn,
    ):
        seq, digest = chain_tail(conn, worker)
    return Head(
        worker=worker,
        epoch=epoch,
        seq=seq,
        digest=digest,
        ts=rfc3339(now_us),
        engine=ENGINE,
        deployment=deployment,
    )


def head_record(head: Head, now_us: int) -> OutboxRecord:
    """Return the record of a head. It is published without the outbox, as a heartbeat is."""
    return OutboxRecord(head.seq, TOPIC, head.worker, encode_head(head), moment(now_us))


def log_head(head: Head) -> None:
    """Write a head to the log."""
    log.info("audit head", worker=head.worker, epoch=head.epoch, seq=head.seq, digest=head.digest)


def published_heads(connection: KafkaConnection) -> list[Head]:
    """Return every head that the topic still holds, in the order of publication.

    Raises
    ------
    BrokerError
        If the broker cannot be reached, the topic is missing, or a record is not a head.
    """
    wait_s = WAIT_MS / 1_000
    consumer = open_consumer(
        connection, wait_s, client_id="riskwatch-audit", request_timeout_ms=WAIT_MS
    )
    try:
        return [decode_head(value) for value in _values(consumer, connection.topic(TOPIC))]
    except (KafkaError, OSError) as error:
        raise BrokerError(f"{connection.servers}: heads cannot be read: {error}") from error
    except ValueError as error:
        raise BrokerError(f"{TOPIC}: a record is no head: {error}") from error
    finally:
        consumer.close()


def _values(consumer: Any, topic: str) -> list[bytes]:
    """Read the single partition of a topic from its beginning to its present end."""
    if topic not in consumer.topics():
        raise BrokerError(f"{topic} is missing: run `riskwatch topics create`")
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    values = []
    while consumer.position(partition) < end:
        fetched = consumer.poll(timeout_ms=WAIT_MS)
        if not fetched:
            raise BrokerError(f"{topic}: the broker sent nothing for {WAIT_MS // 1000} s")
        values += [record.value for records in fetched.values() for record in records]
    return values
