"""The consumer of the topic of alerts: from the stored offset, or from the end if that is gone."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from kafka import TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError, RetriableError

from riskwatch.contracts.kafka_clients import open_consumer
from riskwatch.contracts.outputs import decode_output
from riskwatch.contracts.topics import ALERTS, EPOCH, SEQ, WORKER
from riskwatch.errors import BrokerError
from riskwatch.kafka.topics import topic_identities
from riskwatch.store.batch import StreamOffset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.contracts.connection import KafkaConnection
    from riskwatch.core.outputs import AnyOutput

STREAM: Final = f"{ALERTS}/0"
_POLL_MS: Final = 100
_ASK_MS: Final = 10_000

log = structlog.get_logger("riskwatch.notify")


class AlertRecord(NamedTuple):
    """One record of the topic of alerts."""

    worker: str
    epoch: int
    seq: int
    output: AnyOutput


class AlertConsumer:
    """Reads the topic of alerts.

    Parameters
    ----------
    connection : KafkaConnection
        The broker.
    stored : StreamOffset or None
        Offset up to which the topic was read; ``None`` at first.

    Attributes
    ----------
    anew : bool
        Whether it begins at the end, so that earlier alerts must come from SQL.
    place : StreamOffset
        Offset behind the records that were stored.

    Raises
    ------
    BrokerError
        If the broker does not answer, or the topic is missing.
    """

    def __init__(self, connection: KafkaConnection, stored: StreamOffset | None) -> None:
        self._servers = connection.servers
        identity = str(topic_identities(connection, [ALERTS])[ALERTS])
        self._part = part = TopicPartition(connection.topic(ALERTS), 0)
        self._consumer: Any = open_consumer(connection, _ASK_MS / 1_000)
        try:
            self._consumer.assign([part])
            first = self._consumer.beginning_offsets([part], timeout_ms=_ASK_MS)[part]
            end = self._consumer.end_offsets([part], timeout_ms=_ASK_MS)[part]
        except KafkaError as error:
            raise BrokerError(f"{self._servers}: {error}") from error
        self.anew = (
            stored is None or stored.identity != identity or not first <= stored.position <= end
        )
        if stored is not None and self.anew:
            log.warning("begins anew", stream=STREAM, was=stored.position, first=first, end=end)
        at = end if stored is None or self.anew else stored.position
        self._consumer.seek(part, at)
        self.place = StreamOffset(STREAM, identity, at, 0 if stored is None else stored.records)

    def poll(self) -> tuple[list[AlertRecord], StreamOffset] | None:
        """Return new records and the offset behind them; ``None`` while the broker is down.

        Raises
        ------
        BrokerError
            If the broker refuses, or removed records that were not read. Open a new consumer.
        """
        try:
            polled = self._consumer.poll(_POLL_MS)
        except OffsetOutOfRangeError as error:
            raise BrokerError(f"{STREAM}: what was not read is gone: {error}") from error
        except RetriableError:
            return None
        except KafkaError as error:
            raise BrokerError(f"{self._servers}: {error}") from error
        records = polled.get(self._part, [])
        if not records:
            return [], self.place
        done = self.place.records + len(records)
        place = StreamOffset(STREAM, self.place.identity, records[-1].offset + 1, done)
        return list(_decoded(records)), place

    def close(self) -> None:
        """Close the consumer."""
        with suppress(KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=1_000)


def _decoded(records: list[Any]) -> Iterator[AlertRecord]:
    for record in records:
        headers = dict(record.headers)
        try:
            output = decode_output(record.value or b"")
            worker = headers.get(WORKER, b"").decode()
            yield AlertRecord(
                worker, int(headers.get(EPOCH, b"0")), int(headers.get(SEQ, b"0")), output
            )
        except ValueError as error:
            log.warning("cannot be read", stream=STREAM, offset=record.offset, why=str(error)[:200])
