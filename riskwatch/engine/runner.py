"""The runner: it applies records, commits one transaction per batch and publishes after it.

Replay and workers use the same runner. The caller calls :meth:`Runner.begin` once, then
:meth:`Runner.apply` per record and :meth:`Runner.commit` per batch. It acknowledges the source
after `commit` returns. The content of the database and the published records do not depend on
where batches end, nor on where the worker was stopped or killed. The runner does *not* guarantee
that a record is published only once: a crash between commit and publication repeats some records,
with the same ids.
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from riskwatch.contracts.codec import decode
from riskwatch.contracts.codec import tag_of as kind_of
from riskwatch.contracts.naming import EventNamer
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.topics import key_of
from riskwatch.contracts.validation import EARLIEST
from riskwatch.core.clock import moment, rfc3339
from riskwatch.core.conflicts import ConflictTracker
from riskwatch.core.dedupe import DedupeWindow
from riskwatch.core.enums import QualityIssue, RejectReason
from riskwatch.core.events import Command, Event, Tick, identity
from riskwatch.core.migration import overlay
from riskwatch.core.outputs import EventRejected, Origin
from riskwatch.engine.batch import BatchBuilder, CommitResult, counts_since, is_empty
from riskwatch.engine.pipeline import Effects
from riskwatch.engine.record import FORWARDED, arrival_time, cause_of, input_identity
from riskwatch.errors import RiskwatchError, StoreError
from riskwatch.store.batch import Counts
from riskwatch.store.engine import refusing_content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from riskwatch.core.outputs import Output
    from riskwatch.core.stage import RowChanges
    from riskwatch.engine.clock import TickGrid
    from riskwatch.engine.pipeline import Pipeline, Reading
    from riskwatch.engine.ports import Store
    from riskwatch.engine.publish import OutputPublisher
    from riskwatch.engine.record import InputIdentity, InputRecord
    from riskwatch.store.batch import Batch, OutboxRecord, ResumePoint, StreamOffset

OUTBOX_CHUNK: Final = 1000
"""Records per chunk when a worker empties its outbox."""
SEEN: Final = "seen"
GRID: Final = "grid"

log = structlog.get_logger("riskwatch.runner")


class Runner:
    """Applies records to a pipeline, and commits and publishes the results.

    Parameters
    ----------
    store : Store
        Stores batches and resume points.
    pipeline : Pipeline
        The stages of this worker.
    publisher : OutputPublisher
        Publishes outputs after the commit.
    worker : str
        Name of the worker (and partition); lease, rows and offsets are stored under it.
    holder : str
        Name of this process, for people to read.
    grid : TickGrid, optional
        Ticks by event time. Without it, ticks come through :meth:`tick` alone.
    window : DedupeWindow, optional
        Identities of applied events.
    recorder : callable, optional
        Returns the outputs that come first, given the resume point; see
        :class:`~riskwatch.config.recorder.ConfigurationRecorder`.
    """

    def __init__(
        self,
        store: Store,
        pipeline: Pipeline,
        publisher: OutputPublisher,
        *,
        worker: str,
        holder: str,
        grid: TickGrid | None = None,
        window: DedupeWindow | None = None,
        recorder: Callable[[ResumePoint], Iterable[Output]] | None = None,
    ) -> None:
        self.worker = worker
        self.grid = grid
        self._store = store
        self._pipeline = pipeline
        self._publisher = publisher
        self._holder = holder
        self._namer = EventNamer(pipeline.names)
        self._window = window or DedupeWindow()
        self._conflicts = ConflictTracker()
        self._recorder = recorder
        self._effects = Effects()
        self._builder: BatchBuilder
        self._epoch = 0
        self._ready = False
        self._hold = False
        self._published = 0
        self._acknowledged = 0
        self._reported = Counts()
        self._rejects: dict[tuple[str, str], int] = {}
        self._migrated: dict[str, RowChanges] = {}
        self.on_tick: Callable[[int], None] = self.tick
        """Applies a tick that is due before a record; a commit is possible after it."""

    @property
    def epoch(self) -> int:
        """Epoch of the lease; 0 before :meth:`begin`."""
        return self._epoch

    @property
    def counts(self) -> Counts:
        """Cumulative counts, with what is not committed yet."""
        return replace(self._builder.counts)

    @property
    def uncommitted(self) -> int:
        """Number of outputs that wait for the next commit."""
        return self._builder.size

    @property
    def us(self) -> int:
        """Event time reached, microseconds; 0 before the first event."""
        return self._builder.us

    def begin(self, *, hold: bool = False) -> ResumePoint:
        """Take the lease, load the state, and publish what a crash left unpublished.

        Parameters
        ----------
        hold : bool
            Begin with outputs held; see :meth:`release_outputs`.

        Raises
        ------
        StoreError
            If the database cannot be used, or holds state of a stage that this worker does not
            run.
        """
        resumed = self._store.take_lease(self.worker, self._holder)
        stages = [slot.stage.name for slot in self._pipeline.slots]
        foreign = [name for name in resumed.rows if name not in (*stages, SEEN, GRID)]
        if foreign:
            raise StoreError(
                f"{self.worker}: the database holds state of {', '.join(foreign)}, "
                f"this worker runs {', '.join(stages)}"
            )
        self._pipeline.load(resumed.rows)
        self._window.load(resumed.rows.get(SEEN, {}))
        self._conflicts.load(resumed.rows.get(SEEN, {}))
        if self.grid is not None:
            self.grid.load(resumed.rows.get(GRID, {}))
        self._migrated = resumed.migrated
        publisher = self._publisher
        publisher.set_leader(self.worker, resumed.epoch)
        self._builder = BatchBuilder(
            self.worker, resumed, relay=publisher.relay, dead_letters=publisher.dead_letters
        )
        if self._recorder is not None:
            self._builder.put(self._recorder(resumed))
        self._epoch = resumed.epoch
        self._reported = self.counts
        self._ready = True
        self._hold = hold
        if publisher.relay and not hold:
            self._empty_outbox()
        return resumed

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of this worker."""
        return self._pipeline

    def emit(self, outputs: Iterable[Output | Reading]) -> None:
        """Add outputs that no input caused. The next commit stores them."""
        self._require_ready()
        self._builder.put(outputs)

    def hold(self) -> None:
        """Hold outputs again; see :meth:`release_outputs`."""
        self._hold = True

    def release_outputs(self, *, latest_only: bool) -> None:
        """Publish the held outputs, and publish at once from now on.

        Parameters
        ----------
        latest_only : bool
            Publish only the last record of each key. Decisions that were made while the worker
            caught up are in SQL; on the topics they would look like news. All dead letters are
            published.
        """
        self._require_ready()
        if self._hold:
            self._hold = False
            self._empty_outbox(latest_only=latest_only)

    def apply(self, record: InputRecord, *, overtakes: bool = False, behind: bool = False) -> None:
        """Apply one record, and the ticks that are due before it.

        An exception of a stage is a bug. It is logged with the position of the record and raised
        again. No part of the batch was written, and this runner refuses further calls.

        Parameters
        ----------
        record : InputRecord
            The record.
        overtakes : bool
            The record goes before records of earlier event times. It causes no tick, and does not
            advance the event time. The journal has it under the time reached.
        behind : bool
            The worker has not read everything before it: a command carries the event time reached.
        """
        self._require_ready()
        self._ready = False
        builder, event = self._builder, record.event
        if overtakes and builder.us:
            record = msgspec.structs.replace(record, us=min(record.us, builder.us))
        try:
            event = self._namer.changed(event) or event
            if isinstance(event, Refusal):
                builder.counts.read += 1
                self._refuse(record, event.reason, event.detail)
            elif not self._pipeline.takes(type(event)):
                builder.counts.read += 1
                self._refuse(record, RejectReason.NOT_ROUTED, f"type={kind_of(type(event))}")
            else:
                cause = cause_of(event)
                # The stage itself refuses and reports a command that comes again.
                own = None if isinstance(event, Command) else input_identity(event, cause)
                if own is None or self._is_new(record, own, cause):
                    self._apply_due_ticks(record, overtakes=overtakes)
                    builder.counts.read += 1
                    if not isinstance(event, FORWARDED):
                        arrived = arrival_time(event, record.arrived_us)
                        if arrived is not event.arrived:
                            event = msgspec.structs.replace(event, arrived=arrived)
                    if isinstance(event, Command) and record.arrived_us:
                        # Without a broker's clock, a journal is read again: its value counts.
                        reached = max(moment(builder.us), EARLIEST) if behind else None
                        event = msgspec.structs.replace(event, reached=reached)
                    self._pipeline.apply(event, self._effects)
                    if not overtakes:
                        builder.advance(record.us)
                    self._add_to_journal(record)
                    self._finish(record, cause, own)
        except Exception as error:
            event = record.event
            log.error(  # noqa: TRY400 - one line; the traceback travels with the exception
                "record failed, nothing of its batch was written",
                worker=self.worker,
                stream=record.stream,
                position=record.position,
                type=None if isinstance(event, Refusal) else kind_of(type(event)),
                error=f"{type(error).__name__}: {error}",
            )
            raise
        self._ready = True

    def tick(self, us: int) -> None:
        """Advance the time to `us`: pass a tick to every stage that takes ticks."""
        self._require_ready()
        self._ready = False
        self._tick(us)
        self._ready = True

    def skip_tick(self, us: int, number: int, why: str) -> None:
        """Advance the time to `us` without a tick. A dead letter states why."""
        self._require_ready()
        self._builder.skip_tick(number, us, why)
        self._builder.advance(us)

    def refuse(self, record: InputRecord, reason: RejectReason, detail: str) -> None:
        """Make a record a dead letter without applying it."""
        self._require_ready()
        self._builder.counts.read += 1
        self._refuse(record, reason, detail)

    def commit(self, offsets: list[StreamOffset]) -> CommitResult:
        """Commit everything since the last commit in one transaction, then publish it.

        Parameters
        ----------
        offsets : list of StreamOffset
            New offsets of the streams, behind the applied records.

        Returns
        -------
        CommitResult
            The result; empty if there was nothing to commit.

        Raises
        ------
        FencedError
            If another process took the lease. This process must stop.
        BatchRefusedError
            If an output or a row cannot be encoded or stored. No part of the batch was written.
        StoreError
            If the database refuses. No part of the batch was written.
        """
        self._require_ready()
        started = perf_counter()
        self._ready = False
        with refusing_content(f"{self.worker}: batch refused"):
            batch = self._builder.batch(self._rows(), offsets, self._to_acknowledge())
        if is_empty(batch) and batch.counts == self._reported:
            self._ready = True
            return CommitResult()
        self._store.commit(batch)
        committed = perf_counter()
        self._acknowledged = max(self._acknowledged, batch.published_seq)
        records = batch.outbox()
        if not self._hold:
            self._publish(records)
        self._ready = True
        done = CommitResult(
            counts=counts_since(batch.counts, self._reported),
            rejects=self._rejects,
            records=records,
            rows=batch.rows,
            outputs=batch.outputs,
            commit_s=committed - started,
            publish_s=perf_counter() - committed,
        )
        self._reported, self._rejects = batch.counts, {}
        self._log(batch, done)
        return done

    def _apply_due_ticks(self, record: InputRecord, *, overtakes: bool) -> None:
        """Apply the ticks that are due before a record, unless it overtakes earlier ones."""
        if self.grid is None or overtakes:
            return
        # A sender whose clock is ahead must not advance the time beyond that of the broker.
        early = record.us > record.arrived_us > 0
        for us in self.grid.before(record.arrived_us if early else record.us):
            self._ready = True
            self.on_tick(us)
            self._ready = False

    def _is_new(self, record: InputRecord, own: InputIdentity, cause: str) -> bool:
        """Whether no event of this identity was applied; else count a repeat or refuse a conflict.

        A repeat says the same again. Another event under a known identity is a dead letter.
        """
        window = self._window
        known = window.content(own.mark)
        if known is None and not (window.has_older and window.contains_older(cause)):
            return True
        self._builder.counts.read += 1
        if known is None or known == own.content:
            self._builder.counts.duplicate += 1
            return False
        event = record.event
        assert isinstance(event, Event), "messages between workers have no content to compare"
        detail = f"event_id={event.event_id} of {event.source} had other content on {own.topic}"
        self._refuse(record, RejectReason.FACT_CONFLICT, detail)
        subject = f"{record.stream}|{event.source}"
        said = (
            f"{event.source} sent another event under event_id={event.event_id}, which it has used "
            f"on {own.topic}. Such events are not applied: they are dead letters with reason "
            "FACT_CONFLICT. If a counter of ids restarted, give the source ids that never return"
        )
        self._report(QualityIssue.IDENTITY_REUSED, subject, said, record, event)
        return False

    def _report_alias(self, record: InputRecord, detail: str) -> None:
        """Raise an alert about a record that is keyed under another spelling."""
        event = decode(record.raw)
        assert not isinstance(event, Refusal), "its names were read"
        subject = f"{record.stream}|{event.source}|{key_of(event)}"
        said = f"{event.source} sends what no worker applies: {detail}"
        self._report(QualityIssue.NAME_ALIAS, subject, said, record, event)

    def _report(
        self, issue: QualityIssue, subject: str, detail: str, record: InputRecord, event: Event
    ) -> None:
        """Put out the alert about a refused record, if it is new."""
        place = f"{record.stream}/{record.position}"
        origin = Origin(identity(event), moment(self._builder.us), f"{identity(event)}/{place}")
        alert = self._conflicts.note(issue, subject, detail, origin, self._builder.us)
        if alert is not None:
            self._builder.put([alert])

    def _finish(self, record: InputRecord, cause: str, own: InputIdentity | None) -> None:
        """Add the outputs of a record, and count it as applied or as refused by its stage."""
        refusal = self._put_outputs(cause)
        if refusal is None:
            if own is not None:
                self._window.remember(own.mark, own.content)
            self._builder.counts.applied += 1
        else:
            # Its identity is not stored: it had no effect, and may be sent again later.
            self._refuse(record, refusal.reason, refusal.detail)

    def _refuse(self, record: InputRecord, reason: RejectReason, detail: str) -> None:
        self._builder.refuse(record, reason, detail)
        place = (record.stream, reason.value)
        self._rejects[place] = self._rejects.get(place, 0) + 1
        if reason is RejectReason.NAME_ALIAS:
            self._report_alias(record, detail)

    def _tick(self, us: int) -> None:
        if self._pipeline.takes(Tick):
            self._pipeline.apply(Tick(us), self._effects)
            self._builder.advance(us)
            self._add_to_journal(None)
            self._put_outputs(None)
        self._builder.advance(us)
        self._builder.put(self._conflicts.expire(us))

    def _add_to_journal(self, record: InputRecord | None) -> None:
        """Add the inputs of the stages to the journal."""
        if self._effects.inputs:
            self._builder.journal(self._effects.inputs, record)
            self._effects.inputs.clear()

    def _put_outputs(self, cause: str | None) -> EventRejected | None:
        """Add the outputs to the batch; return the refusal of the event `cause`, if any."""
        outputs = self._effects.outputs
        if not outputs:
            return None
        own = [o for o in outputs if isinstance(o, EventRejected) and o.cause_id == cause]
        self._builder.put([o for o in outputs if o not in own] if own else outputs)
        outputs.clear()
        return own[0] if own else None

    def _rows(self) -> dict[str, RowChanges]:
        rows = self._pipeline.drain()
        if seen := self._window.drain() | self._conflicts.drain():
            rows[SEEN] = seen
        if self.grid is not None and (grid := self.grid.drain()):
            rows[GRID] = grid
        if self._migrated:
            rows, self._migrated = overlay(self._migrated, rows), {}
        return rows

    def _publish(self, records: list[OutboxRecord]) -> None:
        if records:
            self._publisher.publish(records)
            self._published = records[-1].seq

    def _to_acknowledge(self) -> int:
        return self._published if self._published > self._acknowledged else 0

    def _empty_outbox(self, *, latest_only: bool = False) -> None:
        """Publish the pending records, and record that in the store after each chunk."""
        while records := self._store.pending(self.worker, OUTBOX_CHUNK, latest_only=latest_only):
            self._publish(records)
            self.commit([])

    def _require_ready(self) -> None:
        if not self._ready:
            raise RiskwatchError(
                f"{self.worker}: a runner works after begin() and until its first failure"
            )

    def _log(self, batch: Batch, done: CommitResult) -> None:
        log.debug(
            "batch",
            worker=self.worker,
            **done.counts,
            outputs=len(batch.outputs),
            journal=len(batch.journal),
            rows=sum(len(changes) for changes in batch.rows.values()),
            reached=rfc3339(batch.us),
            commit_ms=round(1e3 * done.commit_s, 2),
            publish_ms=round(1e3 * done.publish_s, 2),
        )
