"""The partitions of one worker, merged by event time as far as it can be known.

A record is handed out once no other partition can still bring an earlier one: each has a record
waiting, or is read to its end. So a backlog is worked off in the order in which things happened,
whatever order the broker answers in; and live, where every partition is at its end, nothing
waits for anything. Within a partition the order is the broker's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import structlog
from kafka.partitioner import murmur2

from riskwatch.contracts.codec import decode
from riskwatch.contracts.outputs import decode_internal
from riskwatch.contracts.refusal import Refusal, excerpt, refuse
from riskwatch.contracts.topics import TOPICS, key_of
from riskwatch.contracts.validation import check_command_text
from riskwatch.core.clock import micros
from riskwatch.core.enums import RejectReason
from riskwatch.core.readings import CounterpartyReading, LedgerMessage
from riskwatch.engine.dead_letters import topic_of
from riskwatch.engine.record import FORWARDED, NO_EVENT_TIME, InputRecord, refuse_future
from riskwatch.errors import FetchGapError, StreamIdentityError
from riskwatch.store.batch import StreamOffset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from riskwatch.core.events import WireEvent


# The messages of a partition: how one is decoded, and why one is refused in its place.

Headers = tuple[tuple[str, bytes | None], ...]


class InboundMessage(NamedTuple):
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


class PartitionDecoder:
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
        self.decode: Callable[[bytes], WireEvent | LedgerMessage | Refusal] = (
            _decode_reading if CounterpartyReading in topic.carries else decode
        )

    def refusal(self, event: WireEvent, key: bytes | None, arrived_us: int) -> Refusal | None:
        """Why an event may not be in this partition at this time; ``None`` if it may.

        An event that is ahead of the broker's clock must not hold its partition up until then.
        """
        return (
            self._misplaced(event, key)
            or check_command_text(event)
            or refuse_future(event, arrived_us)
        )

    def _misplaced(self, event: WireEvent, key: bytes | None) -> Refusal | None:
        """Whether a message's key is not its event's, or belongs in another partition."""
        if self._partitions == 1:
            return None
        wanted = key_of(event)
        if key is None or key != wanted.encode():
            return refuse(
                RejectReason.KEY_MISMATCH,
                f"the key must be {excerpt(wanted)}, was {excerpt(key)}",
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
            f"key {excerpt(wanted)} belongs in partition {partition_of(key, self._partitions)} of "
            f"{self._partitions}, was in {self._partition}: partition by murmur2",
        )


def _decode_reading(raw: bytes) -> LedgerMessage | Refusal:
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


@dataclass(slots=True)
class PartitionCursor:
    """One partition.

    Attributes
    ----------
    identity : str
        What makes it this partition and no other of its name.
    fetched : int
        Offset behind the last record that came in.
    taken : int
        Offset behind the last record that was handed out, and behind those without a record (ends
        of transactions) that followed it.
    records : int
        Records handed out since the beginning of time.
    end : int
        Offset behind the last record that the broker is known to have.
    waiting : deque of Record
        In between.
    """

    identity: str
    fetched: int
    taken: int
    records: int
    end: int
    waiting: deque[InputRecord] = field(default_factory=deque)

    @property
    def behind(self) -> bool:
        """Whether the broker has records that did not come in yet."""
        return self.fetched < self.end

    def skip_gap(self) -> None:
        """Leave offsets without a record behind, once nothing before them waits."""
        if not self.waiting:
            self.taken = max(self.taken, self.fetched)


class EventTimeMerge:
    """Reads messages per partition into records, and hands them out in order of event time.

    Parameters
    ----------
    lanes : dict of str to Lane
        Partitions by the name of their stream, ``topic/partition``.
    inbound : mapping of str to Inbound
        How the messages of each are decoded and checked.
    """

    def __init__(
        self, lanes: dict[str, PartitionCursor], inbound: Mapping[str, PartitionDecoder]
    ) -> None:
        self._lanes = dict(sorted(lanes.items()))
        self._inbound = inbound
        self._told: dict[str, int] = {name: lane.taken for name, lane in self._lanes.items()}

    def __len__(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes.values())

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the partitions."""
        return tuple(self._lanes)

    def cursor(self, stream: str) -> PartitionCursor:
        """Look at one partition."""
        return self._lanes[stream]

    def put(
        self, stream: str, messages: Sequence[InboundMessage], next_offset: int
    ) -> list[InputRecord]:
        """Decode and check what a fetch brought; returns the records that it made of them.

        This is the one place where a message of the broker becomes a record: what is wrong with
        it, or with its place, is said in the record, and nobody asks again.

        Parameters
        ----------
        stream : str
            Which partition.
        messages : sequence of Message
            In the order of their offsets; offsets that hold no message may be missing.
        next_offset : int
            Offset behind the fetch.

        Raises
        ------
        StreamIdentityError
            If the offsets run backwards: this is not the partition that it was.
        """
        lane = self._lanes[stream]
        if messages and messages[0].offset < lane.fetched:
            raise StreamIdentityError(
                f"{stream}: offset {messages[0].offset} came after offset {lane.fetched - 1}: the "
                "topic was recreated or truncated (see docs/operations.md)"
            )
        inbound, records = self._inbound[stream], []
        for offset, arrived_us, key, value, headers in messages:
            raw = value or b""
            event, us = inbound.decode(raw), NO_EVENT_TIME
            if isinstance(event, FORWARDED):
                us = event.us
            elif not isinstance(event, Refusal):
                refusal = inbound.refusal(event, key, arrived_us)
                if refusal is None:
                    us = micros(event.ts)
                else:
                    event = refusal
            # A header may have no value; what keeps them does not tell that from an empty one.
            kept = tuple((name, text or b"") for name, text in headers)
            records.append(InputRecord(stream, offset, raw, event, us, key, kept, arrived_us))
        lane.waiting.extend(records)
        lane.fetched = max(lane.fetched, next_offset)
        lane.end = max(lane.end, lane.fetched)
        lane.skip_gap()
        return records

    def check_continuity(self, stream: str, start: int) -> None:
        """Make sure that a fetch begins where the last one ended, or before.

        Raises
        ------
        FetchGapError
            If it does not: what lies between was fetched, and lost on its way here.
        """
        fetched = self._lanes[stream].fetched
        if start > fetched:
            raise FetchGapError(
                f"{stream}: a fetch began at offset {start}, and what came in ends before offset "
                f"{fetched}: started again, the worker reads on from there"
            )

    def note_end(self, stream: str, offset: int) -> None:
        """Take note of the broker's high watermark."""
        lane = self._lanes[stream]
        lane.end = max(lane.end, offset)

    def missing(self) -> list[str]:
        """Partitions that hold everything up: they have more, and it did not come in yet."""
        return [n for n, lane in self._lanes.items() if lane.behind and not lane.waiting]

    @property
    def idle(self) -> bool:
        """Whether everything that the broker is known to have was handed out."""
        return not any(lane.behind or lane.waiting for lane in self._lanes.values())

    def take(self, limit: int, *, force: bool = False) -> list[InputRecord]:
        """Hand out at most `limit` records, earliest first.

        Parameters
        ----------
        limit : int
            At most so many.
        force : bool
            Do not wait for partitions that are :meth:`missing`.
        """
        lanes = self._lanes.values()
        out: list[InputRecord] = []
        while len(out) < limit:
            if not force and any(lane.behind and not lane.waiting for lane in lanes):
                break
            ready = [lane for lane in lanes if lane.waiting]
            if not ready:
                break
            if len(ready) == 1:
                lane, until = ready[0], None
            else:
                ready.sort(key=_head)
                lane, until = ready[0], ready[1].waiting[0].us
            # A run of one partition goes out: as long as nothing of another is earlier.
            waiting, first = lane.waiting, True
            while waiting and len(out) < limit:
                if not first and until is not None and waiting[0].us > until:
                    break
                record = waiting.popleft()
                out.append(record)
                lane.taken = record.position + 1
                lane.records += 1
                first = False
            lane.skip_gap()
        return out

    def offsets(self) -> list[StreamOffset]:
        """Offsets that are new since the last call, behind what was handed out."""
        out = []
        for name, lane in self._lanes.items():
            if lane.taken != self._told[name]:
                self._told[name] = lane.taken
                out.append(StreamOffset(name, lane.identity, lane.taken, lane.records))
        return out

    def lag(self) -> dict[str, int]:
        """Records that the broker has and that were not handed out, per partition."""
        return {name: lane.end - lane.taken for name, lane in self._lanes.items()}


def _head(lane: PartitionCursor) -> int:
    return lane.waiting[0].us


# A partition as the cluster has it, and whether the stored offsets still belong to it.

log = structlog.get_logger("riskwatch.placement")


@dataclass(frozen=True, slots=True)
class PartitionMetadata:
    """One partition as the cluster has it when a unit opens.

    Attributes
    ----------
    identity : str
        Of its topic.
    partitions : int
        Of its topic.
    first, end : int
        First offset that the broker still has, and the one behind its last.
    """

    identity: str
    partitions: int
    first: int
    end: int


def resume_cursor(
    stream: str, placed: PartitionMetadata, known: StreamOffset | None
) -> PartitionCursor:
    """Say where to go on in a partition, or why that cannot be said."""
    if known is None:
        if placed.first:
            log.warning("begins after what the broker dropped", stream=stream, first=placed.first)
        return PartitionCursor(placed.identity, placed.first, placed.first, 0, placed.end)
    if known.identity != placed.identity:
        raise StreamIdentityError(
            f"{stream}: the topic is {placed.identity}, the offsets are of {known.identity}: it "
            "was recreated or repartitioned (see docs/operations.md)"
        )
    if placed.first > known.position:
        raise StreamIdentityError(
            f"{stream}: offsets {known.position} to {placed.first - 1} are gone from the broker "
            "and were never read: restore them, or accept the gap (see docs/operations.md)"
        )
    if known.position > placed.end:
        raise StreamIdentityError(
            f"{stream}: read up to offset {known.position}, but the broker ends at {placed.end}: "
            "it lost what it had confirmed (see docs/operations.md)"
        )
    return PartitionCursor(
        placed.identity, known.position, known.position, known.records, placed.end
    )
