"""What one transaction carries: the values that pass between the runner and the store."""

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
    """How far one input stream is consumed.

    Attributes
    ----------
    stream : str
        Name of the stream: a file's base name, or ``topic/partition``.
    identity : str
        What makes it *this* stream: SHA-256 of the consumed prefix of a file, or cluster id,
        topic id and partition count of a topic.
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
    """One input of a worker, in the order in which it was applied.

    `payload` is the original bytes of a wire event, or the encoded tick or reading.
    """

    seq: int
    us: int
    kind: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refused message with its original bytes and the reason.

    `position` is where its stream had it (byte or offset); (stream, position) is its identity.
    `us` is the event time that its worker had reached, microseconds.
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
    """An output with its place in the order of everything the worker ever put out."""

    seq: int
    output: Output


@dataclass(slots=True)
class Counts:
    """Conservation: ``read == applied + duplicate + rejected``, always. Cumulative."""

    read: int = 0
    applied: int = 0
    duplicate: int = 0
    rejected: int = 0

    def is_conserved(self) -> bool:
        """Whether nothing was lost or made up."""
        return self.read == self.applied + self.duplicate + self.rejected


@dataclass(slots=True)
class Batch:
    """Everything that becomes true together.

    Attributes
    ----------
    worker : str
        Worker (and partition) whose lease guards the transaction.
    epoch : int
        The lease's epoch; a newer one in the database refuses the batch.
    rows : dict of str to RowChanges
        Dirty state rows per stage.
    offsets : list of StreamOffset
        New offsets (replacing).
    journal : list of JournalEntry
        Inputs, in order.
    outputs : list of Sequenced
        Outputs to project into tables and, where `relay` is set, into the outbox.
    forwards : list of OutboxRecord
        Readings for another worker, and dead letters for their topics, numbered among the
        outputs; they go to the outbox alone.
    dead_letters : list of DeadLetter
        Refused messages.
    counts : Counts
        Cumulative counts after this batch.
    us : int
        Event time reached.
    relay : bool
        Whether outputs go to the outbox for publication.
    published_seq : int
        Outbox rows up to here have been published and are deleted.
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
        """Everything that is to be published, in order; made once, for it is asked for twice."""
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
    """What the store knew of a worker when it took the lease.

    `rows` have the format of this build. `migrated` are those that differ from what is stored,
    for they were migrated from an older format: the first batch must carry them. `configured` is
    the last :class:`~riskwatch.core.outputs.ConfigurationChanged` of its audit chain, encoded;
    ``None`` if there is none.
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
    """One record waiting for publication.

    A dead letter keeps the key and the headers that it came with, which may be anything.
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
        """Key on the wire."""
        return self.raw_key if self.headers else self.key.encode()
