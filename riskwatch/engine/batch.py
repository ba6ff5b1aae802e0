"""The batch builder: it collects and numbers everything that happened since the last commit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from riskwatch.contracts.codec import encode
from riskwatch.contracts.codec import tag_of as kind_of
from riskwatch.contracts.outputs import encode_internal
from riskwatch.contracts.topics import TOPICS
from riskwatch.core.clock import moment, rfc3339
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Command
from riskwatch.core.outputs import Output
from riskwatch.core.readings import CounterpartyReading, PartitionFault
from riskwatch.engine.dead_letters import dead_letter_record, has_dead_letter_topic
from riskwatch.errors import StoreError
from riskwatch.store.batch import (
    Batch,
    Counts,
    DeadLetter,
    JournalEntry,
    OutboxRecord,
    SequencedOutput,
    StreamOffset,
)
from riskwatch.store.truth import TICKS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.stage import RowChanges
    from riskwatch.engine.pipeline import Reading
    from riskwatch.engine.record import InputRecord
    from riskwatch.store.batch import ResumePoint


@dataclass(frozen=True, slots=True)
class CommitResult:
    """The result of one commit.

    Attributes
    ----------
    counts : dict of str to int
        Numbers of records ``read``, ``applied``, ``duplicate`` and ``rejected``.
    rejects : dict
        Number of refused records by (stream, reason).
    records : list of OutboxRecord
        Records of the batch for publication.
    rows : dict of str to RowChanges
        State rows that changed, per stage.
    outputs : list of SequencedOutput
        Outputs that were committed.
    commit_s, publish_s : float
        Duration of the transaction and of the publication, seconds.
    """

    counts: dict[str, int] = field(default_factory=dict)
    rejects: dict[tuple[str, str], int] = field(default_factory=dict)
    records: list[OutboxRecord] = field(default_factory=list)
    rows: dict[str, RowChanges] = field(default_factory=dict)
    outputs: list[SequencedOutput] = field(default_factory=list)
    commit_s: float = 0.0
    publish_s: float = 0.0


def is_empty(batch: Batch) -> bool:
    """Whether a batch writes nothing but the counts."""
    lists = (batch.offsets, batch.journal, batch.outputs, batch.forwards, batch.dead_letters)
    return not (batch.rows or batch.published_seq or any(lists))


FIRST_SEQ: Final = 1
"""Sequence number of a worker's first output. 0 means that nothing was published."""
_READINGS: Final = next(t.name for t in TOPICS.values() if CounterpartyReading in t.carries)


class BatchBuilder:
    """Collects outputs, journal entries and dead letters; numbering continues across batches.

    Parameters
    ----------
    worker : str
        Name of the worker that writes the batches.
    resumed : ResumePoint
        State from which numbers and counts continue.
    relay : bool
        Whether outputs go through the outbox.
    dead_letters : bool
        Whether refused records go through the outbox, too, to the dead-letter topic of their
        stream.

    Attributes
    ----------
    counts : Counts
        Cumulative counts, with records that are not committed yet.
    us : int
        Event time reached, microseconds; 0 before the first event.
    """

    def __init__(
        self, worker: str, resumed: ResumePoint, *, relay: bool, dead_letters: bool = False
    ) -> None:
        self.counts = replace(resumed.counts)
        self.us = resumed.us
        self._worker = worker
        self._epoch = resumed.epoch
        self._relay = relay
        self._dead_letters = dead_letters
        self._seq = max(resumed.next_seq, FIRST_SEQ)
        self._journal_seq = resumed.next_journal
        self._outputs: list[SequencedOutput] = []
        self._forwards: list[OutboxRecord] = []
        self._journal: list[JournalEntry] = []
        self._dead: list[DeadLetter] = []

    @property
    def size(self) -> int:
        """Number of outputs and records in the batch."""
        return len(self._outputs) + len(self._forwards)

    def advance(self, us: int) -> None:
        """Advance the event time to `us`, microseconds. It never moves back."""
        self.us = max(self.us, us)

    def refuse(self, record: InputRecord, reason: RejectReason, detail: str) -> None:
        """Count a record as rejected and store its bytes as a dead letter."""
        self.counts.rejected += 1
        dead_letter = DeadLetter(
            stream=record.stream,
            position=record.position,
            reason=reason,
            detail=detail,
            payload=record.raw,
            key=record.key,
            headers=record.headers,
            us=self.us,
        )
        self._dead.append(dead_letter)
        if self._dead_letters and has_dead_letter_topic(record.stream):
            self._forwards.append(dead_letter_record(dead_letter, self._worker, self._seq, self.us))
            self._seq += 1

    def skip_tick(self, number: int, us: int, why: str) -> None:
        """Keep a dead letter of a tick that is skipped, the `number`-th of its worker.

        It counts as no record. The journal has no entry of such a tick.
        """
        detail = f"the tick at {rfc3339(us)} is skipped: {why}"
        reason = RejectReason.QUARANTINED
        self._dead.append(DeadLetter(TICKS, number, reason, detail, b"", us=us))

    def journal(self, facts: Iterable[Any], record: InputRecord | None) -> None:
        """Add inputs to the journal: the event of `record` by its bytes, all others encoded.

        A command is encoded with its arrival time, because its freshness depends on that time.
        """
        for fact in facts:
            if record is not None and isinstance(fact, Command):
                us, payload = record.us, encode(fact)
            elif record is not None and type(fact) is type(record.event):
                us, payload = record.us, record.raw
            else:
                us, payload = fact.us, encode_internal(fact)
            self._journal.append(JournalEntry(self._journal_seq, us, kind_of(type(fact)), payload))
            self._journal_seq += 1

    def put(self, outputs: Iterable[Output | Reading]) -> None:
        """Number outputs and readings that leave the worker, and add them to the batch.

        Raises
        ------
        StoreError
            If no stage of the worker takes a reading and no topic carries it.
        """
        for output in outputs:
            if isinstance(output, Output):
                self._outputs.append(SequencedOutput(self._seq, output))
            elif isinstance(output, CounterpartyReading | PartitionFault):
                value, ts = encode_internal(output), moment(output.us)
                self._forwards.append(OutboxRecord(self._seq, _READINGS, output.key(), value, ts))
            else:
                raise StoreError(f"no stage of {self._worker} takes a {type(output).__name__}")
            self._seq += 1

    def batch(
        self, rows: dict[str, RowChanges], offsets: list[StreamOffset], published_seq: int
    ) -> Batch:
        """Return a batch of everything since the last one. The builder is empty afterwards."""
        batch = Batch(
            worker=self._worker,
            epoch=self._epoch,
            rows=rows,
            offsets=offsets,
            journal=self._journal,
            outputs=self._outputs,
            forwards=self._forwards,
            dead_letters=self._dead,
            counts=replace(self.counts),
            us=self.us,
            relay=self._relay,
            published_seq=published_seq,
        )
        self._outputs, self._forwards, self._journal, self._dead = [], [], [], []
        return batch


def counts_since(now: Counts, before: Counts) -> dict[str, int]:
    """Return the difference of two cumulative counts.

    Examples
    --------
    >>> counts_since(Counts(read=5, applied=4, rejected=1), Counts(read=2, applied=2))
    {'read': 3, 'applied': 2, 'duplicate': 0, 'rejected': 1}
    """
    return {
        name: getattr(now, name) - getattr(before, name)
        for name in ("read", "applied", "duplicate", "rejected")
    }
