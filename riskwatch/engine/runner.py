"""The runner: records in, one transaction per batch, publication after it. The same everywhere.

A shell drives it: :meth:`Runner.begin`, then :meth:`Runner.offer` per record and
:meth:`Runner.commit` per batch; what it reads from is acknowledged after `commit` returns.
What is in the database and what is published do not depend on where batches end, nor on where
the worker was stopped or killed. What is *not* guaranteed: that a record is published once
only; a crash between commit and publication repeats some, with the ids they had.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from riskwatch.contracts.codec import tag_of as kind_of
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.clock import rfc3339
from riskwatch.core.dedupe import DedupeWindow, identity_digest
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Command, Tick
from riskwatch.core.migration import overlay
from riskwatch.core.outputs import EventRejected
from riskwatch.engine.batch import BatchBuilder, CommitResult, counts_since, is_empty
from riskwatch.engine.pipeline import Effects
from riskwatch.engine.record import FORWARDED, arrival_time, cause_of
from riskwatch.errors import BatchRefusedError, RiskwatchError, StoreError
from riskwatch.store.batch import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from riskwatch.core.outputs import Output
    from riskwatch.core.stage import RowChanges
    from riskwatch.engine.clock import TickGrid
    from riskwatch.engine.pipeline import Pipeline, Reading
    from riskwatch.engine.ports import Store
    from riskwatch.engine.publish import OutputPublisher
    from riskwatch.engine.record import InputRecord
    from riskwatch.store.batch import Batch, OutboxRecord, ResumePoint, StreamOffset

OUTBOX_CHUNK: Final = 1000
"""Records that are published at a time when a worker resumes."""
SEEN: Final = "seen"
GRID: Final = "grid"

log = structlog.get_logger("riskwatch.runner")


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
    declares : callable, optional
        What is to be put out first, given what the store knew.
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
        declares: Callable[[ResumePoint], Iterable[Output]] | None = None,
    ) -> None:
        self.worker = worker
        self.grid = grid
        self._store = store
        self._pipeline = pipeline
        self._publisher = publisher
        self._holder = holder
        self._window = window or DedupeWindow()
        self._declares = declares
        self._effects = Effects()
        self._draft: BatchBuilder
        self._epoch = 0
        self._ready = False
        self._hold = False
        self._published = 0
        self._acknowledged = 0
        self._told = Counts()
        self._rejects: dict[tuple[str, str], int] = {}
        self._migrated: dict[str, RowChanges] = {}
        self.on_tick: Callable[[int], None] = self.tick
        """Lets a tick pass that is due before a record; between records a commit is possible."""

    @property
    def epoch(self) -> int:
        """Epoch of the lease; 0 before :meth:`begin`."""
        return self._epoch

    @property
    def counts(self) -> Counts:
        """Cumulative counts, with what is not committed yet."""
        return replace(self._draft.counts)

    @property
    def us(self) -> int:
        """Event time reached, microseconds; 0 before the first event."""
        return self._draft.us

    def begin(self, *, hold: bool = False) -> ResumePoint:
        """Take the lease, load the state, publish what a crash left unpublished.

        Parameters
        ----------
        hold : bool
            Begin with publication held back; see :meth:`let_go`.

        Raises
        ------
        StoreError
            If the database cannot be used, or holds state that this worker does not run.
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
        if self.grid is not None:
            self.grid.load(resumed.rows.get(GRID, {}))
        self._migrated = resumed.migrated
        publisher = self._publisher
        publisher.set_leader(self.worker, resumed.epoch)
        self._draft = BatchBuilder(
            self.worker, resumed, relay=publisher.relay, dead_letters=publisher.dead_letters
        )
        if self._declares is not None:
            self._draft.put(self._declares(resumed))
        self._epoch = resumed.epoch
        self._told = self.counts
        self._ready = True
        self._hold = hold
        if publisher.relay and not hold:
            self._empty_outbox()
        return resumed

    @property
    def pipeline(self) -> Pipeline:
        """The stages that it runs."""
        return self._pipeline

    def emit(self, outputs: Iterable[Output | Reading]) -> None:
        """Put out what no input brought about; the next commit makes it true."""
        self._require_ready()
        self._draft.put(outputs)

    def hold(self) -> None:
        """Hold publication back again; see :meth:`let_go`."""
        self._hold = True

    def release_outputs(self, *, latest_only: bool) -> None:
        """Publish what was held back, and everything at once from now on.

        Parameters
        ----------
        latest_only : bool
            Of each key, the last record alone: what was decided while a stream was caught up
            is in SQL, and on the topics it would look like news. Dead letters all go.
        """
        self._require_ready()
        if self._hold:
            self._hold = False
            self._empty_outbox(latest_only=latest_only)

    def apply(self, record: InputRecord) -> None:
        """Apply one record, with the ticks that are due before it.

        An exception of a stage is a bug: it is logged with the place of the record and raised
        again. Nothing of the batch was written, and this runner accepts nothing more.
        """
        self._require_ready()
        self._ready = False
        draft, event = self._draft, record.event
        try:
            if isinstance(event, Refusal):
                draft.counts.read += 1
                self._refuse(record, event.reason, event.detail)
            elif not self._pipeline.takes(type(event)):
                draft.counts.read += 1
                self._refuse(record, RejectReason.NOT_ROUTED, f"type={kind_of(type(event))}")
            else:
                cause = cause_of(event)
                # A command that comes again is for the stage to refuse and to tell of.
                mark = None if isinstance(event, Command) else identity_digest(cause)
                if mark is not None and self._window.contains(mark):
                    draft.counts.read += 1
                    draft.counts.duplicate += 1
                else:
                    self._bring_ticks(record)
                    draft.counts.read += 1
                    if not isinstance(event, FORWARDED):
                        arrived = arrival_time(event, record.arrived_us)
                        if arrived is not event.arrived:
                            event = msgspec.structs.replace(event, arrived=arrived)
                    self._pipeline.apply(event, self._effects)
                    self._reach(record.us, record)
                    self._conclude(record, cause, mark)
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
        """Let time pass: hand a tick to every stage that takes ticks."""
        self._require_ready()
        self._ready = False
        self._tick(us)
        self._ready = True

    def skip_tick(self, us: int, number: int, why: str) -> None:
        """Let the time pass to `us` without a tick; a dead letter says why."""
        self._require_ready()
        self._draft.skip_tick(number, us, why)
        self._draft.advance(us)

    def refuse(self, record: InputRecord, reason: RejectReason, detail: str) -> None:
        """Put a record into the dead letters unread."""
        self._require_ready()
        self._draft.counts.read += 1
        self._refuse(record, reason, detail)

    def commit(self, offsets: list[StreamOffset]) -> CommitResult:
        """Make everything since the last commit true in one transaction, then publish it.

        Parameters
        ----------
        offsets : list of StreamOffset
            New offsets of the streams, behind the records that were offered.

        Returns
        -------
        Done
            What it was; empty if there was nothing to commit.

        Raises
        ------
        FencedError
            If another process took the lease: this one must stop.
        BatchRefusedError
            If something in the batch cannot be encoded or stored; nothing of it was written.
        StoreError
            If the database refuses; nothing of the batch was written.
        """
        self._require_ready()
        started = perf_counter()
        with self._refusing_content():
            batch = self._draft.batch(self._rows(), offsets, self._to_acknowledge())
            if is_empty(batch) and batch.counts == self._told:
                return CommitResult()
            self._ready = False
            self._store.commit(batch)
        committed = perf_counter()
        self._acknowledged = max(self._acknowledged, batch.published_seq)
        records = batch.outbox()
        if not self._hold:
            self._publish(records)
        self._ready = True
        done = CommitResult(
            counts=counts_since(batch.counts, self._told),
            rejects=self._rejects,
            records=records,
            rows=batch.rows,
            commit_s=committed - started,
            publish_s=perf_counter() - committed,
        )
        self._told, self._rejects = batch.counts, {}
        self._log(batch, done)
        return done

    @contextmanager
    def _refusing_content(self) -> Iterator[None]:
        """Turn what an encoder or a driver raises against the content of a batch into our error."""
        try:
            yield
        except (RiskwatchError, OSError, MemoryError):
            raise
        except Exception as error:
            self._ready = False
            detail = f"{type(error).__name__}: {error}"
            raise BatchRefusedError(f"{self.worker}: batch refused: {detail}") from error

    def _bring_ticks(self, record: InputRecord) -> None:
        """Let the time pass that is due before a record."""
        if self.grid is None:
            return
        # A sender whose clock is ahead moves nobody's time beyond the broker's.
        early = record.us > record.arrived_us > 0
        for us in self.grid.before(record.arrived_us if early else record.us):
            self._ready = True
            self.on_tick(us)
            self._ready = False

    def _conclude(self, record: InputRecord, cause: str, mark: bytes | None) -> None:
        """Put out what a record brought about; remember it, or refuse it as its stage did."""
        refusal = self._settle(cause)
        if refusal is None:
            if mark is not None:
                self._window.remember(mark)
            self._draft.counts.applied += 1
        else:
            # Not remembered: it had no effect, and may be sent again once the reason is gone.
            self._refuse(record, refusal.reason, refusal.detail)

    def _refuse(self, record: InputRecord, reason: RejectReason, detail: str) -> None:
        self._draft.refuse(record, reason, detail)
        place = (record.stream, reason.value)
        self._rejects[place] = self._rejects.get(place, 0) + 1

    def _tick(self, us: int) -> None:
        if self._pipeline.takes(Tick):
            self._pipeline.apply(Tick(us), self._effects)
            self._reach(us, None)
            self._settle(None)
        self._draft.advance(us)

    def _reach(self, us: int, record: InputRecord | None) -> None:
        """Take note of the time of an input, and keep what of it is for the journal."""
        self._draft.advance(us)
        if self._effects.inputs:
            self._draft.journal(self._effects.inputs, record)
            self._effects.inputs.clear()

    def _settle(self, cause: str | None) -> EventRejected | None:
        """Number what was put out; returns the refusal of the event `cause` itself, if any."""
        outputs = self._effects.outputs
        if not outputs:
            return None
        own = [o for o in outputs if isinstance(o, EventRejected) and o.cause_id == cause]
        self._draft.put([o for o in outputs if o not in own] if own else outputs)
        outputs.clear()
        return own[0] if own else None

    def _rows(self) -> dict[str, RowChanges]:
        rows = self._pipeline.drain()
        if seen := self._window.drain():
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
        """Publish what is pending, and tell the store after each chunk."""
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
