"""The batch: values that the runner and the store exchange in one transaction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from riskwatch.contracts.outputs import encode_output

if TYPE_CHECKING:
    from datetime import datetime

    from riskwatch.core.enums import RejectReason
    from riskwatch.core.outputs import Output
    from riskwatch.core.stage import RowChanges


@dataclass(frozen=True, slots=True)
class StreamOffset:
    """Consumed position of one input stream.

    Attributes
    ----------
    stream : str
        Name of the stream: base name of a file, or ``topic/partition``.
    identity : str
        Identity of the stream: SHA-256 of the consumed prefix of a file, or cluster id, topic id
        and partition count of a topic.
    position : int
        Next byte of a file, or next offset of a partition.
    records : int
        Records consumed so far.
    """

    stream: str
    identity: str
    position: int
    records: int


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One input of a worker, numbered in the order of application.

    `payload` holds the original bytes of a wire event, or the encoded tick or reading.
    """

    seq: int
    us: int
    kind: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused message with its original bytes and the reason.

    `position` is its byte or offset in the stream; (stream, position) is its identity. `us` is
    the event time that its worker had reached, microseconds.
    """

    stream: str
    position: int
    reason: RejectReason
    detail: str
    payload: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    us: int = 0


@dataclass(frozen=True, slots=True)
class SequencedOutput:
    """An output with its sequence number among all outputs of the worker."""

    seq: int
    output: Output


@dataclass(slots=True)
class Counts:
    """Cumulative counts of messages, with ``read == applied + duplicate + rejected``."""

    read: int = 0
    applied: int = 0
    duplicate: int = 0
    rejected: int = 0

    def is_conserved(self) -> bool:
        """Return whether the counts add up."""
        return self.read == self.applied + self.duplicate + self.rejected


@dataclass(slots=True)
class Batch:
    """Everything that one transaction writes.

    Attributes
    ----------
    worker : str
        Worker (and partition) whose lease guards the transaction.
    epoch : int
        Epoch of the lease. The database refuses the batch if it has a newer one.
    rows : dict of str to RowChanges
        Changed state rows by stage.
    offsets : list of StreamOffset
        New offsets; they replace the stored ones.
    journal : list of JournalEntry
        Inputs, in order.
    outputs : list of SequencedOutput
        Outputs to project into tables and, if `relay` is set, into the outbox.
    forwards : list of OutboxRecord
        Readings for another worker, and dead letters for their topics, numbered among the
        outputs. They go to the outbox alone.
    dead_letters : list of DeadLetter
        Refused messages.
    counts : Counts
        Cumulative counts after this batch.
    us : int
        Event time reached, microseconds.
    relay : bool
        Whether outputs go to the outbox for publication.
    published_seq : int
        Outbox rows up to this number have been published; the transaction deletes them.
    """

    worker: str
    epoch: int
    rows: dict[str, RowChanges] = field(default_factory=dict)
    offsets: list[StreamOffset] = field(default_factory=list)
    journal: list[JournalEntry] = field(default_factory=list)
    outputs: list[SequencedOutput] = field(default_factory=list)
    forwards: list[OutboxRecord] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    us: int = 0
    relay: bool = False
    published_seq: int = 0
    _outbox: list[OutboxRecord] | None = field(default=None, init=False, repr=False, compare=False)

    def outbox(self) -> list[OutboxRecord]:
        """Return all records to publish, in order. The list is computed once and cached."""
        if self._outbox is None:
            made = list(self.forwards)
            if self.relay:
                made += [
                    OutboxRecord(s.seq, o.topic, o.key(), encode_output(o), o.ts)
                    for s in self.outputs
                    if (o := s.output).topic is not None
                ]
            self._outbox = sorted(made, key=lambda record: record.seq)
        return self._outbox


@dataclass(slots=True)
class ResumePoint:
    """Stored state of a worker, from which it resumes after taking the lease.

    `rows` have the format of this build. `migrated` holds the rows that differ from the stored
    ones because they were migrated from an older format; the first batch must write them.
    `configured` is the last :class:`~riskwatch.core.outputs.ConfigurationChanged` of the audit
    chain, encoded; ``None`` if there is none.
    """

    epoch: int
    rows: dict[str, dict[str, bytes]]
    offsets: dict[str, StreamOffset]
    counts: Counts
    us: int
    next_seq: int
    next_journal: int
    configured: bytes | None = None
    migrated: dict[str, RowChanges] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """One record that waits for publication.

    A dead letter keeps its original key and headers, which may be any bytes.
    """

    seq: int
    topic: str
    key: str
    value: bytes
    ts: datetime
    raw_key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def key_bytes(self) -> bytes | None:
        """Key of the published record."""
        return self.raw_key if self.headers else self.key.encode()
