"""The runner: records in, one transaction per batch, publication after it. The same everywhere.

A shell drives it: :meth:`Runner.begin`, then :meth:`Runner.offer` per record and
:meth:`Runner.commit` per batch; what it reads from is acknowledged after `commit` returns.
What is in the database and what is published do not depend on where batches end, nor on where
the worker was stopped or killed. What is *not* guaranteed: that a record is published once
only; a crash between commit and publication repeats some, with the ids they had.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import structlog

from riskwatch.contracts.codec import stamp
from riskwatch.contracts.outputs import encode_internal, encode_output
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.shapes import tag_of
from riskwatch.core.clock import text
from riskwatch.core.dedupe import SeenWindow, digest
from riskwatch.core.events import Tick, identity
from riskwatch.core.outputs import EventRejected, Output
from riskwatch.core.reasons import RejectReason
from riskwatch.errors import StoreError
from riskwatch.shell.pipeline import Effects
from riskwatch.store.batch import (
    Batch,
    Counts,
    DeadLetter,
    JournalEntry,
    OutboxRecord,
    Resumed,
    Sequenced,
    StreamOffset,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.core.events import WireEvent
    from riskwatch.shell.clockwork import Grid
    from riskwatch.shell.pipeline import Pipeline, Reading
    from riskwatch.shell.ports import Store
    from riskwatch.shell.publish import Publisher
    from riskwatch.shell.record import Record

OUTBOX_CHUNK: Final = 1000
"""Records that are published at a time when a worker resumes."""
SEEN: Final = "seen"
GRID: Final = "grid"
FIRST_SEQ: Final = 1
"""Sequence number of a worker's first output: 0 says that nothing was published."""

log = structlog.get_logger("riskwatch.runner")
kind_of = lru_cache(maxsize=64)(tag_of)


class Runner:
    """Applies records to a pipeline and makes the result true.

    Parameters
    ----------
    store : Store
        Where truth lives.
    pipeline : Pipeline
        The stages of this worker.
    publisher : Publisher
        Where outputs go after the commit.
    worker : str
        Name of the worker (and partition): whose lease, rows and offsets.
    holder : str
        Who runs it, for people to read.
    grid : Grid, optional
        Ticks by event time. Without it, ticks come through :meth:`tick` alone.
    window : SeenWindow, optional
        Identities of applied events.

    Attributes
    ----------
    counts : Counts
        Cumulative, with what is not committed yet.
    us : int
        Event time reached, microseconds; 0 before the first event.
    """

    def __init__(
        self,
        store: Store,
        pipeline: Pipeline,
        publisher: Publisher,
        *,
        worker: str,
        holder: str,
        grid: Grid | None = None,
        window: SeenWindow | None = None,
    ) -> None:
        self.worker = worker
        self.grid = grid
        self.counts = Counts()
        self.us = 0
        self._store = store
        self._pipeline = pipeline
        self._publisher = publisher
        self._holder = holder
        self._window = window or SeenWindow()
        self._effects = Effects()
        self._ready = False
        self._epoch = 0
        self._seq = FIRST_SEQ
        self._journal_seq = 0
        self._published = 0
        self._acknowledged = 0
        self._committed = Counts()
        self._outputs: list[Sequenced] = []
        self._journal: list[JournalEntry] = []
        self._dead: list[DeadLetter] = []

    def begin(self) -> Resumed:
        """Take the lease, load the state, publish what a crash left unpublished.

        Raises
        ------
        StoreError
            If the database cannot be used, or holds state that this worker does not run.
        """
        resumed = self._store.take_lease(self.worker, self._holder)
        mine = [slot.stage.name for slot in self._pipeline.slots] + [SEEN, GRID]
        foreign = [name for name in resumed.rows if name not in mine]
        if foreign:
            raise StoreError(
                f"{self.worker}: the database holds state of {', '.join(foreign)}, "
                f"this worker runs {', '.join(mine[:-2])}"
            )
        self._pipeline.load(resumed.rows)
        self._window.load(resumed.rows.get(SEEN, {}))
        if self.grid is not None:
            self.grid.load(resumed.rows.get(GRID, {}))
        self._epoch = resumed.epoch
        self.counts, self._committed = replace(resumed.counts), replace(resumed.counts)
        self.us = resumed.us
        self._seq = max(resumed.next_seq, FIRST_SEQ)
        self._journal_seq = resumed.next_journal
        if self._publisher.relay:
            self._empty_outbox()
        self._ready = True
        return resumed

    def offer(self, record: Record) -> None:
        """Apply one record, with the ticks that are due before it.

        An exception of a stage is a bug: it is logged with the place of the record and raised
        again. Nothing of the batch was written, and this runner accepts nothing more.
        """
        assert self._ready, "a runner begins, and ends with its first failure"
        try:
            self._offer(record)
        except BaseException as error:
            self._ready = False
            event = record.event
            log.error(
                "record failed, nothing of its batch was written",
                worker=self.worker,
                stream=record.stream,
                position=record.position,
                type=None if isinstance(event, Refusal) else kind_of(type(event)),
                error=f"{type(error).__name__}: {error}",
            )
            raise

    def tick(self, us: int) -> None:
        """Let time pass: hand a tick to every stage that takes ticks."""
        assert self._ready, "a runner begins, and ends with its first failure"
        self._pass(us)

    def commit(self, offsets: list[StreamOffset]) -> None:
        """Make everything since the last commit true in one transaction, then publish it.

        Parameters
        ----------
        offsets : list of StreamOffset
            New offsets of the streams, behind the records that were offered.

        Raises
        ------
        FencedError
            If another process took the lease: this one must stop.
        StoreError
            If the database refuses; nothing of the batch was written.
        """
        assert self._ready, "a runner begins, and ends with its first failure"
        started = perf_counter()
        batch = self._batch(offsets)
        if not (offsets or batch.outputs or batch.rows or batch.published_seq):
            return
        self._ready = False
        self._store.commit(batch)
        self._acknowledged = batch.published_seq or self._acknowledged
        self._outputs, self._journal, self._dead = [], [], []
        if batch.relay:
            self._publish([_outbox(s) for s in batch.outputs if s.output.topic is not None])
        self._ready = True
        self._log_batch(batch, perf_counter() - started)

    def finish(self) -> None:
        """Tell the store that all is published. Called once, after the last commit."""
        self.commit([])

    def _offer(self, record: Record) -> None:
        self.counts.read += 1
        event = record.event
        if isinstance(event, Refusal):
            self._refuse(record, event.reason, event.detail)
            return
        kind = type(event)
        if not self._pipeline.takes(kind):
            self._refuse(record, RejectReason.NOT_ROUTED, f"type={kind_of(kind)}")
            return
        mark = digest(identity(event))
        if self._window.knows(mark):
            self.counts.duplicate += 1
            return
        if self.grid is not None:
            for us in self.grid.before(record.us):
                self._pass(us)
        self._apply(record, event, mark)

    def _apply(self, record: Record, event: WireEvent, mark: bytes) -> None:
        effects = self._effects
        # Replay has no clock: what was not stamped at its first hop arrived when it happened.
        self._pipeline.apply(stamp(event, event.ts), effects)
        if record.us > self.us:
            self.us = record.us
        if effects.inputs:
            self._keep(effects.inputs, record)
        if effects.outputs and self._rejected(record, event):
            return
        # A refused event had no effect, so it may be sent again once the reason is gone.
        self._window.remember(mark)
        self.counts.applied += 1

    def _rejected(self, record: Record, event: WireEvent) -> bool:
        """Sequence what an event brought about; whether a stage refused the event itself."""
        outputs, cause = self._effects.outputs, identity(event)
        refusals = [o for o in outputs if isinstance(o, EventRejected) and o.cause_id == cause]
        if refusals:
            self._refuse(record, refusals[0].reason, refusals[0].detail)
        self._sequence([o for o in outputs if o not in refusals] if refusals else outputs)
        outputs.clear()
        return bool(refusals)

    def _pass(self, us: int) -> None:
        """Apply a tick."""
        effects = self._effects
        if self._pipeline.takes(Tick):
            self._pipeline.apply(Tick(us), effects)
        if us > self.us:
            self.us = us
        if effects.inputs:
            self._keep(effects.inputs, None)
        if effects.outputs:
            self._sequence(effects.outputs)
            effects.outputs.clear()

    def _refuse(self, record: Record, reason: RejectReason, detail: str) -> None:
        self.counts.rejected += 1
        self._dead.append(
            DeadLetter(
                stream=record.stream,
                position=record.position,
                reason=reason,
                detail=detail,
                payload=record.raw,
                key=record.key,
                headers=record.headers,
            )
        )

    def _keep(self, inputs: list[Any], record: Record | None) -> None:
        """Journal inputs: a record by its bytes, ticks and readings as they are encoded."""
        for fact in inputs:
            if record is not None and type(fact) is type(record.event):
                us, payload = record.us, record.raw
            else:
                us, payload = fact.us, encode_internal(fact)
            self._journal.append(
                JournalEntry(self._journal_seq, us, kind_of(type(fact)), payload)
            )
            self._journal_seq += 1
        inputs.clear()

    def _sequence(self, outputs: Sequence[Output | Reading]) -> None:
        for output in outputs:
            if not isinstance(output, Output):
                raise StoreError(f"no stage of {self.worker} takes a {type(output).__name__}")
            if isinstance(output, EventRejected):
                log.warning("reading refused", worker=self.worker, detail=output.detail)
            self._outputs.append(Sequenced(self._seq, output))
            self._seq += 1

    def _batch(self, offsets: list[StreamOffset]) -> Batch:
        rows = self._pipeline.drain()
        if seen := self._window.drain():
            rows[SEEN] = seen
        if self.grid is not None and (grid := self.grid.drain()):
            rows[GRID] = grid
        news = self._published > self._acknowledged
        return Batch(
            worker=self.worker,
            epoch=self._epoch,
            rows=rows,
            offsets=offsets,
            journal=self._journal,
            outputs=self._outputs,
            dead_letters=self._dead,
            counts=replace(self.counts),
            us=self.us,
            relay=self._publisher.relay,
            published_seq=self._published if news else 0,
        )

    def _publish(self, records: list[OutboxRecord]) -> None:
        if records:
            self._publisher.publish(records)
            self._published = records[-1].seq

    def _empty_outbox(self) -> None:
        """Publish what is pending, and tell the store after each chunk."""
        while records := self._store.pending(self.worker, OUTBOX_CHUNK):
            self._publish(records)
            self._store.commit(
                Batch(
                    worker=self.worker,
                    epoch=self._epoch,
                    counts=replace(self.counts),
                    us=self.us,
                    published_seq=self._published,
                )
            )
            self._acknowledged = self._published

    def _log_batch(self, batch: Batch, seconds: float) -> None:
        now, before = batch.counts, self._committed
        self._committed = batch.counts
        log.debug(
            "batch",
            worker=self.worker,
            read=now.read - before.read,
            applied=now.applied - before.applied,
            duplicate=now.duplicate - before.duplicate,
            rejected=now.rejected - before.rejected,
            outputs=len(batch.outputs),
            journal=len(batch.journal),
            rows=sum(len(changes) for changes in batch.rows.values()),
            reached=text(batch.us),
            commit_ms=round(1e3 * seconds, 2),
        )


def _outbox(sequenced: Sequenced) -> OutboxRecord:
    output = sequenced.output
    assert output.topic is not None, "only what has a topic is published"
    return OutboxRecord(
        sequenced.seq, output.topic, output.key(), encode_output(output), output.ts
    )
