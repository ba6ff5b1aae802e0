"""The merge of the partitions of one worker by event time, and the lane of urgent records.

A record is taken once no other partition can bring an earlier one: each other partition has a
record waiting, or is read to its end. A backlog is therefore processed in the order of event time,
whatever the order of the broker's answers. In live operation every partition is at its end, and
no record waits. Within a partition, the broker's order holds.

A live worker has a *lane*: a HALT, a fault of a ledger worker and news that can only tighten wait
for no other partition. They are handed out as they arrive, and with them the records that are
before them in their own partition. Commands that may loosen wait their turn; while the worker is
catching up they are in the lane, too, so that they are refused at once.

A live worker also merges a record by the time of its arrival, less :data:`LATE_US`, if its own time
is older than that: an old record holds nobody back.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import structlog
from kafka.partitioner import murmur2

from riskwatch.contracts.codec import decode, tag_of
from riskwatch.contracts.naming import EventNamer, refuse_alias
from riskwatch.contracts.outputs import decode_internal
from riskwatch.contracts.record_signing import is_record_signed
from riskwatch.contracts.refusal import Refusal, excerpt, refuse
from riskwatch.contracts.topics import TOPICS, key_of
from riskwatch.contracts.validation import check_command_text, is_halt
from riskwatch.core.clock import MINUTE, micros, moment
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Command, Credit, LegalEntity, NettingSet
from riskwatch.core.names import IDENTITY
from riskwatch.core.readings import CounterpartyReading, LedgerMessage, PartitionFault
from riskwatch.core.risk.credit import TIGHTENING_KINDS
from riskwatch.core.risk.gate import MAY_LOOSEN
from riskwatch.engine.dead_letters import topic_of
from riskwatch.engine.record import (
    FORWARDED,
    NO_EVENT_TIME,
    InputRecord,
    event_time,
    refuse_future,
    refuse_old,
)
from riskwatch.errors import FetchGapError, StreamIdentityError
from riskwatch.store.batch import StreamOffset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from riskwatch.core.events import WireEvent
    from riskwatch.core.names import NameTable
    from riskwatch.core.policy import IntakeConfig
    from riskwatch.engine.clock import LiveClock


Headers = tuple[tuple[str, bytes | None], ...]
LATE_US: Final = MINUTE
"""A live worker merges a record by a time that is at most this long before its arrival."""
_LANE: Final = frozenset(
    topic.name
    for topic in TOPICS.values()
    if any(kind in topic.carries for kind in (Command, Credit, PartitionFault))
)
"""Topics that carry urgent records."""


def is_urgent(event: WireEvent | LedgerMessage | Refusal) -> bool:
    """Whether a live worker hands out a record at once, however long its backlog is."""
    if isinstance(event, Credit):
        return event.kind in TIGHTENING_KINDS
    if isinstance(event, Command):
        return event.action not in MAY_LOOSEN
    return isinstance(event, PartitionFault)


class InboundMessage(NamedTuple):
    """A message as the broker has it. `arrived_us` is the broker's time, microseconds."""

    offset: int
    arrived_us: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key, by the default of Kafka's own producers (murmur2).

    Examples
    --------
    >>> partition_of(b"kraken", 8)
    2
    """
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


class SourceProofs:
    """Checks that the source of a record with a key signed it.

    Parameters
    ----------
    keys : mapping of str to str
        Public keys by source.
    topic : callable
        Returns the name of a topic on the broker, which signatures cover.
    deployment : str
        The deployment for which a source must have signed.
    """

    def __init__(
        self, keys: Mapping[str, str], topic: Callable[[str], str], deployment: str
    ) -> None:
        self._keys = keys
        self._topic = topic
        self._deployment = deployment

    def refusal(self, event: WireEvent, stream: str, message: InboundMessage) -> Refusal | None:
        """Return why a record of credit news is forged; ``None`` if nothing says so."""
        if not isinstance(event, Credit | LegalEntity | NettingSet):
            return None
        public = self._keys.get(event.source)
        if public is None:
            return None
        topic = self._topic(topic_of(stream))
        signed = message.key, message.value, message.headers
        if is_record_signed(public, self._deployment, topic, *signed):
            return None
        return refuse(
            RejectReason.SIGNATURE_INVALID,
            f"source {excerpt(event.source)} has a key, and did not sign this for {topic} "
            f"of deployment {self._deployment}",
        )


class PartitionDecoder:
    """Decodes and checks the messages of one partition.

    Parameters
    ----------
    stream : str
        Name of the stream, ``topic/partition``, without a topic prefix.
    partitions : int
        Number of partitions of the topic. With more than one, each message must be in the
        partition of its key, because one counterparty in two partitions would have its holdings
        split.
    clock : LiveClock, optional
        The clocks of a live worker.
    proofs : SourceProofs, optional
        Signatures of sources of credit news.
    intake : IntakeConfig, optional
        How old a fact may be; without it, the age of a fact does not matter.
    names : NameTable, optional
        Canonical names; a ledger record under another spelling of its counterparty is refused.

    Attributes
    ----------
    decode : callable
        Converts bytes to an event or reading, or to a refusal; never raises.
    """

    def __init__(
        self,
        stream: str,
        partitions: int,
        clock: LiveClock | None = None,
        proofs: SourceProofs | None = None,
        intake: IntakeConfig | None = None,
        names: NameTable = IDENTITY,
    ) -> None:
        self.stream = stream
        self._namer = EventNamer(names)
        self._proofs = proofs
        self._clock = clock
        self._intake = intake
        self._partition = int(stream.rpartition("/")[2])
        self._partitions = partitions
        self._homes: dict[str, bool] = {}
        topic = TOPICS[topic_of(stream)]
        self._carries = topic.carries
        self.decode: Callable[[bytes], WireEvent | LedgerMessage | Refusal] = (
            _decode_reading if CounterpartyReading in topic.carries else decode
        )

    def forgery(self, event: WireEvent, message: InboundMessage) -> Refusal | None:
        """Return why a record is not of the source that it names; ``None`` if nothing says so."""
        return None if self._proofs is None else self._proofs.refusal(event, self.stream, message)

    def refusal(self, event: WireEvent, key: bytes | None, arrived_us: int) -> Refusal | None:
        """Return why an event is refused in this partition at this time; ``None`` if it is not.

        An event that is ahead of the broker's clock must not block its partition until its time.
        """
        if type(event) not in self._carries:
            # Rights on a topic are rights to say what the topic carries, and nothing else.
            detail = f"type={tag_of(type(event))} is not of {topic_of(self.stream)}"
            return refuse(RejectReason.NOT_ROUTED, detail)
        return (
            self._misplaced(event, key)
            or self._alias(event)
            or check_command_text(event)
            or self._from_future(event, arrived_us)
            or self._too_old(event, arrived_us)
        )

    def arrival(self, event: WireEvent, arrived_us: int) -> int:
        """Return when an event arrived: the broker's time, or 0.

        A HALT arrived at the latest now by the clock of this machine. It must not be refused as
        too old because the broker's clock is ahead.
        """
        return self.latest_arrival(arrived_us) if is_halt(event) else arrived_us

    def latest_arrival(self, arrived_us: int) -> int:
        """Return the broker's time of arrival, at the latest now by the clock of this machine."""
        return arrived_us if self._clock is None else min(arrived_us, self._clock.wall())

    def restated_arrival(self, event: WireEvent, arrived_us: int) -> datetime | None:
        """Return the arrival of an event where that which it states, or the broker's, is wrong.

        A recording states arrivals of its own time; with them, old facts would not look old. A
        broker whose clock is ahead makes fresh facts look old.
        """
        if isinstance(event, Command) or arrived_us <= 0:
            return None
        latest_us = self.latest_arrival(arrived_us)
        stated_us = arrived_us if event.arrived is None else micros(event.arrived)
        return None if abs(latest_us - stated_us) <= LATE_US else moment(latest_us)

    def _too_old(self, event: WireEvent, arrived_us: int) -> Refusal | None:
        """Refuse a price or snapshot that arrived too late. A broker's clock ahead makes none."""
        if self._intake is None:
            return None
        return refuse_old(event, self.latest_arrival(arrived_us), self._intake)

    def _from_future(self, event: WireEvent, arrived_us: int) -> Refusal | None:
        """Refuse an event of the future. A broker whose clock was set back makes none."""
        refusal = refuse_future(event, arrived_us)
        if refusal is None or self._clock is None or isinstance(event, Command):
            return refusal
        return refuse_future(event, max(arrived_us, self._clock.now()))

    def _alias(self, event: WireEvent) -> Refusal | None:
        """Refuse a ledger record that is keyed under another spelling of its counterparty."""
        if self._partitions == 1:
            return None
        found = self._namer.changed(event)
        if found is None or isinstance(found, Refusal):
            return None  # what cannot be scaled is refused when it is applied
        return refuse_alias(event, found, self._partitions)

    def _misplaced(self, event: WireEvent, key: bytes | None) -> Refusal | None:
        """Refuse a message whose key is not that of its event or is in another partition."""
        if self._partitions == 1:
            return None
        expected = key_of(event)
        if key is None or key != expected.encode():
            return refuse(
                RejectReason.KEY_MISMATCH,
                f"the key must be {excerpt(expected)}, was {excerpt(key)}",
            )
        is_home = self._homes.get(expected)
        if is_home is None:
            if len(self._homes) >= _HOMES:
                self._homes.clear()
            is_home = partition_of(key, self._partitions) == self._partition
            self._homes[expected] = is_home
        if is_home:
            return None
        return refuse(
            RejectReason.KEY_MISMATCH,
            f"key {excerpt(expected)} belongs in partition {partition_of(key, self._partitions)} "
            f"of {self._partitions}, was in {self._partition}: partition by murmur2",
        )


def _decode_reading(raw: bytes) -> LedgerMessage | Refusal:
    """Decode a reading that another worker sent."""
    try:
        fact = decode_internal(raw)
    except ValueError as error:
        return refuse(RejectReason.FIELD_TYPE, f"not a reading: {error}")
    if not isinstance(fact, FORWARDED):
        return refuse(RejectReason.TYPE_UNKNOWN, f"not a reading: {type(fact).__name__}")
    return fact


_HOMES = 100_000
"""Number of keys whose partition is cached."""


@dataclass(slots=True)
class PartitionCursor:
    """The offsets of one partition, and its records that wait to be taken.

    Attributes
    ----------
    identity : str
        Identity of the partition; another partition of the same name has another identity.
    fetched : int
        Offset behind the last record that was fetched.
    taken : int
        Offset behind the last record that was taken, and behind the offsets without a record
        (ends of transactions) that follow it.
    records : int
        Number of records taken since the partition began.
    end : int
        Offset behind the last record that the broker is known to have.
    urgent : int
        Offset of the last urgent record that was fetched; -1 if there was none.
    command : int
        The same of the last command of any kind.
    waiting : deque of InputRecord
        Records that were fetched and not taken.
    """

    identity: str
    fetched: int
    taken: int
    records: int
    end: int
    urgent: int = -1
    command: int = -1
    waiting: deque[InputRecord] = field(default_factory=deque)

    @property
    def behind(self) -> bool:
        """Whether the broker has records that were not fetched yet."""
        return self.fetched < self.end

    @property
    def may_precede(self) -> bool:
        """Whether the next record of the partition is unknown, and may be earlier than others."""
        return self.behind and not self.waiting

    def skip_gap(self) -> None:
        """Move `taken` beyond offsets without a record, if no record waits before them."""
        if not self.waiting:
            self.taken = max(self.taken, self.fetched)


class EventTimeMerge:
    """Decodes messages per partition into records, and returns them in order of event time.

    Parameters
    ----------
    cursors : dict of str to PartitionCursor
        Cursors by the name of the stream, ``topic/partition``.
    decoders : mapping of str to PartitionDecoder
        Decoders by the name of the stream.
    live : bool
        Whether the unit runs on the wall clock: urgent records have their lane, and old ones are
        merged by their arrival. Otherwise the order depends on event times alone.
    """

    def __init__(
        self,
        cursors: dict[str, PartitionCursor],
        decoders: Mapping[str, PartitionDecoder],
        *,
        live: bool = False,
    ) -> None:
        self._cursors = dict(sorted(cursors.items()))
        self._decoders = decoders
        self._live = live
        self._lane = [
            cursor for name, cursor in self._cursors.items() if live and topic_of(name) in _LANE
        ]
        self._reported: dict[str, int] = {name: c.taken for name, c in self._cursors.items()}

    def __len__(self) -> int:
        return sum(len(cursor.waiting) for cursor in self._cursors.values())

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the partitions."""
        return tuple(self._cursors)

    def cursor(self, stream: str) -> PartitionCursor:
        """Return the cursor of one partition."""
        return self._cursors[stream]

    def put(
        self, stream: str, messages: Sequence[InboundMessage], next_offset: int
    ) -> list[InputRecord]:
        """Decode and check the messages of a fetch, and return the records made of them.

        Only this method makes a record of a message of the broker. The record holds the refusal
        of a message that is wrong or misplaced, and no later step checks it again.

        Parameters
        ----------
        stream : str
            Name of the partition's stream.
        messages : sequence of InboundMessage
            The messages, in the order of their offsets. Offsets without a message may be missing.
        next_offset : int
            Offset behind the fetch.

        Raises
        ------
        StreamIdentityError
            If the offsets run backwards: the partition is not the same as before.
        """
        cursor = self._cursors[stream]
        if messages and messages[0].offset < cursor.fetched:
            raise StreamIdentityError(
                f"{stream}: offset {messages[0].offset} came after offset {cursor.fetched - 1}: "
                "the topic was recreated or truncated (see docs/operations.md)"
            )
        decoder, records = self._decoders[stream], []
        for message in messages:
            offset, arrived_us, key, value, headers = message
            raw = value or b""
            event, us = decoder.decode(raw), NO_EVENT_TIME
            if isinstance(event, FORWARDED):
                us = event_time(event, arrived_us)
            elif not isinstance(event, Refusal):
                arrived_us = decoder.arrival(event, arrived_us)
                refusal = decoder.refusal(event, key, arrived_us)
                refusal = refusal or decoder.forgery(event, message)
                if refusal is None:
                    us = event_time(event, arrived_us)
                    stated = decoder.restated_arrival(event, arrived_us) if self._live else None
                    if stated is not None:
                        event = msgspec.structs.replace(event, arrived=stated)
                else:
                    event = refusal
            if self._live and NO_EVENT_TIME != us < arrived_us - LATE_US:
                us = max(us, decoder.latest_arrival(arrived_us) - LATE_US)
            if is_urgent(event):
                cursor.urgent = offset
            if isinstance(event, Command):
                cursor.command = offset
            # A header may have no value; the store does not distinguish that from an empty one.
            values = tuple((name, text or b"") for name, text in headers)
            records.append(InputRecord(stream, offset, raw, event, us, key, values, arrived_us))
        cursor.waiting.extend(records)
        cursor.fetched = max(cursor.fetched, next_offset)
        cursor.end = max(cursor.end, cursor.fetched)
        cursor.skip_gap()
        return records

    def check_continuity(self, stream: str, start: int) -> None:
        """Check that a fetch begins where the last one ended, or before.

        Raises
        ------
        FetchGapError
            If it begins later: the messages between were fetched and lost.
        """
        fetched = self._cursors[stream].fetched
        if start > fetched:
            raise FetchGapError(
                f"{stream}: a fetch began at offset {start}, and what came in ends before offset "
                f"{fetched}: started again, the worker reads on from there"
            )

    def note_end(self, stream: str, offset: int) -> None:
        """Record the broker's high watermark of a partition."""
        cursor = self._cursors[stream]
        cursor.end = max(cursor.end, offset)

    def missing(self) -> list[str]:
        """Return the partitions that block the merge: they have records that were not fetched."""
        return [name for name, cursor in self._cursors.items() if cursor.may_precede]

    @property
    def is_fetched(self) -> bool:
        """Whether every record that the broker is known to have was fetched."""
        return not any(cursor.behind for cursor in self._cursors.values())

    @property
    def idle(self) -> bool:
        """Whether every record that the broker is known to have was taken."""
        return not any(cursor.behind or cursor.waiting for cursor in self._cursors.values())

    def take(self, limit: int, *, force: bool = False) -> list[InputRecord]:
        """Take at most `limit` records, earliest first.

        Parameters
        ----------
        limit : int
            Largest number of records.
        force : bool
            Do not wait for partitions that are :meth:`missing`.
        """
        cursors = self._cursors.values()
        out: list[InputRecord] = []
        while len(out) < limit:
            if not force and any(cursor.may_precede for cursor in cursors):
                break
            ready = [cursor for cursor in cursors if cursor.waiting]
            if not ready:
                break
            if len(ready) == 1:
                cursor, until = ready[0], None
            else:
                ready.sort(key=_head)
                cursor, until = ready[0], ready[1].waiting[0].us
            # Take records of this partition until another partition has an earlier one.
            waiting, first = cursor.waiting, True
            while waiting and len(out) < limit:
                if not first and until is not None and waiting[0].us > until:
                    break
                record = waiting.popleft()
                out.append(record)
                cursor.taken = record.position + 1
                cursor.records += 1
                first = False
            cursor.skip_gap()
        return out

    def take_urgent(self, limit: int, *, commands: bool = False) -> list[InputRecord]:
        """Take at most `limit` records that wait for no other partition, live.

        These are the urgent records, and those before them in their partition. A partition of the
        lane also waits for nobody while the broker has records of it that were not fetched, because
        one of them may be urgent. A record that is the next by event time, too, is left to
        :meth:`take`: it overtakes nothing.

        Parameters
        ----------
        limit : int
            Largest number of records.
        commands : bool
            Every command is urgent, also one that may loosen.
        """
        out: list[InputRecord] = []
        for cursor in self._lane:
            last = max(cursor.urgent, cursor.command) if commands else cursor.urgent
            while len(out) < limit and self._overtakes(cursor, last):
                record = cursor.waiting.popleft()
                out.append(record)
                cursor.taken = record.position + 1
                cursor.records += 1
            cursor.skip_gap()
        return out

    def _overtakes(self, cursor: PartitionCursor, last: int) -> bool:
        """Whether the first record of a partition, up to offset `last`, overtakes others."""
        if not cursor.waiting:
            return False
        first = cursor.waiting[0]
        if first.position > last and not cursor.behind:
            return False
        return any(
            other.may_precede or (other.waiting and other.waiting[0].us <= first.us)
            for other in self._cursors.values()
            if other is not cursor
        )

    def offsets(self) -> list[StreamOffset]:
        """Return the offsets behind the taken records that changed since the last call."""
        out = []
        for name, cursor in self._cursors.items():
            if cursor.taken != self._reported[name]:
                self._reported[name] = cursor.taken
                out.append(StreamOffset(name, cursor.identity, cursor.taken, cursor.records))
        return out

    def lag(self) -> dict[str, int]:
        """Return the number of records that the broker has and that were not taken, per stream."""
        return {name: cursor.end - cursor.taken for name, cursor in self._cursors.items()}


def _head(cursor: PartitionCursor) -> int:
    return cursor.waiting[0].us


log = structlog.get_logger("riskwatch.placement")


@dataclass(frozen=True, slots=True)
class PartitionMetadata:
    """One partition as the cluster has it when a unit opens.

    Attributes
    ----------
    identity : str
        Identity of its topic.
    partitions : int
        Number of partitions of its topic.
    first, end : int
        First offset that the broker still has, and the offset behind its last record.
    """

    identity: str
    partitions: int
    first: int
    end: int


def resume_cursor(
    stream: str, found: PartitionMetadata, known: StreamOffset | None
) -> PartitionCursor:
    """Return a cursor that continues at the stored offset of a partition.

    Raises
    ------
    StreamIdentityError
        If the partition is not the one of the stored offset, or has lost messages.
    """
    if known is None:
        if found.first:
            log.warning("begins after what the broker dropped", stream=stream, first=found.first)
        return PartitionCursor(found.identity, found.first, found.first, 0, found.end)
    if known.identity != found.identity:
        raise StreamIdentityError(
            f"{stream}: the topic is {found.identity}, the offsets are of {known.identity}: it "
            "was recreated or repartitioned (see docs/operations.md)"
        )
    if found.first > known.position:
        raise StreamIdentityError(
            f"{stream}: offsets {known.position} to {found.first - 1} are gone from the broker "
            "and were never read: restore them, or accept the gap (see docs/operations.md)"
        )
    if known.position > found.end:
        raise StreamIdentityError(
            f"{stream}: read up to offset {known.position}, but the broker ends at {found.end}: "
            "it lost what it had confirmed (see docs/operations.md)"
        )
    return PartitionCursor(found.identity, known.position, known.position, known.records, found.end)
