"""The messages of a partition: how one is decoded, and why one is refused in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kafka.partitioner import murmur2

from riskwatch.contracts.codec import decode
from riskwatch.contracts.outputs import decode_internal
from riskwatch.contracts.refusal import Refusal, refuse, shown
from riskwatch.contracts.topics import TOPICS, key_of
from riskwatch.core.readings import CounterpartyReading, Forwarded
from riskwatch.core.reasons import RejectReason
from riskwatch.shell.arrival import FORWARDED, ahead
from riskwatch.shell.dead import topic_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.core.events import WireEvent

Headers = tuple[tuple[str, bytes | None], ...]


class Message(NamedTuple):
    """A message as the broker has it; `arrived_us` by the broker's clock, microseconds."""

    offset: int
    arrived_us: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def partition_of(key: bytes, partitions: int) -> int:
    """Partition that a key belongs in, by the default of Kafka's own producers (murmur2).

    Examples
    --------
    >>> partition_of(b"kraken", 8)
    2
    """
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


class Inbound:
    """Decodes and checks the messages of one partition.

    Parameters
    ----------
    stream : str
        ``topic/partition``, plain.
    partitions : int
        How many the topic has. Where there are several, each message must be where its key
        belongs: one counterparty in two partitions would be two halves of its holdings.

    Attributes
    ----------
    decode : callable
        Bytes to what they say, or why they say nothing; never raises.
    """

    def __init__(self, stream: str, partitions: int) -> None:
        self.stream = stream
        self._partition = int(stream.rpartition("/")[2])
        self._partitions = partitions
        self._homes: dict[str, bool] = {}
        topic = TOPICS[topic_of(stream)]
        self.decode: Callable[[bytes], WireEvent | Forwarded | Refusal] = (
            _decode_reading if CounterpartyReading in topic.carries else decode
        )

    def refusal(self, event: WireEvent, key: bytes | None, arrived_us: int) -> Refusal | None:
        """Why an event may not be in this partition at this time; ``None`` if it may.

        An event that is ahead of the broker's clock must not hold its partition up until then.
        """
        return self._misplaced(event, key) or ahead(event, arrived_us)

    def _misplaced(self, event: WireEvent, key: bytes | None) -> Refusal | None:
        """Whether a message's key is not its event's, or belongs in another partition."""
        if self._partitions == 1:
            return None
        wanted = key_of(event)
        if key is None or key != wanted.encode():
            return refuse(
                RejectReason.KEY_MISMATCH,
                f"the key must be {shown(wanted)}, was {shown(key)}",
            )
        home = self._homes.get(wanted)
        if home is None:
            if len(self._homes) >= _HOMES:
                self._homes.clear()
            home = partition_of(key, self._partitions) == self._partition
            self._homes[wanted] = home
        if home:
            return None
        return refuse(
            RejectReason.KEY_MISMATCH,
            f"key {shown(wanted)} belongs in partition {partition_of(key, self._partitions)} of "
            f"{self._partitions}, was in {self._partition}: partition by murmur2",
        )


def _decode_reading(raw: bytes) -> Forwarded | Refusal:
    """Decode a reading of another worker."""
    try:
        fact = decode_internal(raw)
    except ValueError as error:
        return refuse(RejectReason.FIELD_TYPE, f"not a reading: {error}")
    if not isinstance(fact, FORWARDED):
        return refuse(RejectReason.TYPE_UNKNOWN, f"not a reading: {type(fact).__name__}")
    return fact


_HOMES = 100_000
"""Keys whose partition is remembered."""
