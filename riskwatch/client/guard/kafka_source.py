"""The guard's subscription to Kafka: switch table, heartbeats and drills."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from kafka import TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError, RetriableError

from riskwatch.client.errors import BrokerError, HistoryError, TopicError, UnreadableError
from riskwatch.client.guard.source import SwitchSource, row_of
from riskwatch.client.message import read
from riskwatch.client.stream import KILLSWITCH
from riskwatch.contracts.acks import DRILLS
from riskwatch.contracts.heartbeat import TOPIC as HEARTBEAT
from riskwatch.contracts.heartbeat import decode_heartbeat
from riskwatch.contracts.kafka_clients import TIMEOUT_S, open_consumer
from riskwatch.core.outputs import DrillSignalled, KillSwitchChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.client.guard.trust import TrustState
    from riskwatch.contracts.connection import KafkaConnection

_POLL_MS: Final = 50
_PROBE_S: Final = 1.0
_PROBE_MS: Final = 1_000
_BACK: Final = 8
"""Heartbeats to read before the end of the topic, since the last may be of an invalid worker."""


class KafkaSource(SwitchSource):
    """Reads the switches from the first record on, the newest heartbeats, and new drills.

    Parameters
    ----------
    trust : TrustState
        State that receives the messages.
    connection : KafkaConnection
        The broker.
    drilled : callable
        Called with each drill.
    """

    def __init__(
        self,
        trust: TrustState,
        connection: KafkaConnection,
        drilled: Callable[[DrillSignalled], None],
    ) -> None:
        super().__init__("kafka", trust)
        self._connection = connection
        self._drilled = drilled
        self._consumer: Any = None
        self._ends: dict[TopicPartition, int] = {}
        self._plain: dict[str, str] = {}

    def follow(self) -> None:
        """Read until the source stops, an error occurs, or the table must be read again."""
        generation = self.trust.generation
        self._open()
        try:
            probed = self.trust.clock()
            every = min(_PROBE_S, self.trust.terms.lost_s / 4)
            while not self.stop.is_set() and generation == self.trust.generation:
                self._poll()
                if self.trust.clock() - probed >= every:
                    self._probe()
                    probed = self.trust.clock()
                self.trust.settle()
        finally:
            with suppress(KafkaError):  # the consumer is dropped in any case
                self._consumer.close(autocommit=False, timeout_ms=_PROBE_MS)

    def _open(self) -> None:
        self._consumer = consumer = open_consumer(self._connection, error=BrokerError)
        ms = int(TIMEOUT_S * 1000)
        try:
            parts = {name: self._partitions(name) for name in (KILLSWITCH, HEARTBEAT, DRILLS)}
            everything = [part for found in parts.values() for part in found]
            consumer.assign(everything)
            first = consumer.beginning_offsets(everything, timeout_ms=ms)
            ends = consumer.end_offsets(everything, timeout_ms=ms)
        except KafkaError as error:
            consumer.close(autocommit=False, timeout_ms=_PROBE_MS)
            raise BrokerError(f"{self._connection.servers}: {error}") from error
        except BaseException:
            consumer.close(autocommit=False, timeout_ms=_PROBE_MS)
            raise
        for part in parts[KILLSWITCH]:
            consumer.seek(part, first[part])
        for part in parts[HEARTBEAT]:
            consumer.seek(part, max(first[part], ends[part] - _BACK))
        for part in parts[DRILLS]:
            consumer.seek(part, ends[part])
        self._ends = dict.fromkeys(everything, 0)

    def _partitions(self, name: str) -> list[TopicPartition]:
        topic = self._connection.topic(name)
        self._plain[topic] = name
        found = self._consumer.partitions_for_topic(topic)
        if not found:
            if name == DRILLS:
                return []  # a cluster that is older than drills
            raise TopicError(
                f"topic {topic} does not exist at {self._connection.servers}: "
                "run `riskwatch topics create`"
            )
        return [TopicPartition(topic, number) for number in sorted(found)]

    def _poll(self) -> None:
        try:
            polled = self._consumer.poll(_POLL_MS)
        except OffsetOutOfRangeError as error:
            raise HistoryError(f"records were removed before they were read: {error}") from error
        except RetriableError:
            self.stop.wait(
                _POLL_MS / 1000
            )  # the broker is unavailable: do not poll in a tight loop
            return
        except KafkaError as error:
            raise BrokerError(f"{self._connection.servers}: {error}") from error
        if not polled:
            return
        with self.trust.lock:  # records of one poll become visible together
            for part, records in polled.items():
                take = self._takers[self._plain[part.topic]]
                for record in records:
                    take(self, record)

    def _probe(self) -> None:
        """Ask the broker for end offsets, since quiet topics look like an unavailable broker."""
        try:
            ends = self._consumer.end_offsets(list(self._ends), timeout_ms=_PROBE_MS)
        except (RetriableError, TimeoutError) as error:
            self.trust.mark_lost(self.name, f"the broker does not answer: {error}")
            return
        except KafkaError as error:
            raise BrokerError(f"{self._connection.servers}: {error}") from error
        for part, end in self._ends.items():
            at = self._consumer.position(part, timeout_ms=0)
            if at is None or at < end:  # the previous probe saw records that have not been read
                self.trust.mark_lost(self.name, f"behind on {part.topic}")
                break
        else:
            self.trust.mark_answered(self.name)
        self._ends = dict(ends)

    def _switch(self, record: Any) -> None:
        try:
            message = read(KILLSWITCH, record)
        except UnreadableError as error:
            self.trust.mark_unreadable(error.key)
            return
        assert isinstance(message.output, KillSwitchChanged)
        place = (message.worker, message.epoch, message.seq)
        applied = self.trust.calendar.wall()
        self.trust.row(row_of(message.output, place, applied), message.deployment)

    def _heartbeat(self, record: Any) -> None:
        try:
            self.trust.beat(decode_heartbeat(record.value or b""))
        except ValueError as error:
            # It verifies nothing; the last valid heartbeat expires at its own time.
            self.trust.note = f"a heartbeat cannot be read: {error}"

    def _drill(self, record: Any) -> None:
        try:
            message = read(DRILLS, record)
        except UnreadableError as error:
            self.trust.note = f"a drill cannot be read: {error}"
            return
        assert isinstance(message.output, DrillSignalled)
        if self.trust.refuses_drill(message.output.deployment or ""):
            return
        self._drilled(message.output)

    _takers: Final = {KILLSWITCH: _switch, HEARTBEAT: _heartbeat, DRILLS: _drill}
