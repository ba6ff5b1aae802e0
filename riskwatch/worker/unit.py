"""The unit of a stream worker: one runner with its partitions, its ticks and its metrics.

Ledger workers have one unit per partition, named ``ledger/<n>``. The risk worker is one unit,
``risk``. One thread drives a unit: it calls :meth:`Unit.open`, then :meth:`Unit.put` and
:meth:`Unit.work` repeatedly. Each :meth:`Unit.work` commits at most one transaction.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from riskwatch.contracts.codec import tag_of as kind_of
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.clock import SECOND, rfc3339
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Command, Credit
from riskwatch.core.policy import IntakeConfig
from riskwatch.core.readings import PartitionFault
from riskwatch.core.risk.state import scorer_rows
from riskwatch.engine.dead_letters import topic_of
from riskwatch.errors import (
    BatchRefusedError,
    FencedError,
    RiskwatchError,
    StageFaultError,
    StreamIdentityError,
)
from riskwatch.models.state import model_records, models_learned
from riskwatch.store.batch import StreamOffset
from riskwatch.store.truth import COMMITS
from riskwatch.worker.crashes import stop_reason
from riskwatch.worker.logs import log_outputs
from riskwatch.worker.merge import EventTimeMerge, PartitionDecoder, resume_cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from riskwatch.core.stage import Row
    from riskwatch.engine.batch import CommitResult
    from riskwatch.engine.clock import LiveClock
    from riskwatch.engine.record import InputRecord
    from riskwatch.engine.runner import Runner
    from riskwatch.store.batch import OutboxRecord
    from riskwatch.store.faults import FaultPlace
    from riskwatch.worker.crashes import CrashTracker
    from riskwatch.worker.merge import InboundMessage, PartitionMetadata, SourceProofs
    from riskwatch.worker.metrics import Metrics


URGENT: Final = (Command, Credit, PartitionFault)
"""Events that cause a tick at once, instead of the next tick of the grid."""
MERGE_WAIT_US: Final = 2 * SECOND
"""Longest wait for a partition that has more records according to the broker, microseconds."""
SILENCE_US: Final = SECOND
"""Time without messages after which a unit on the event clock makes the closing tick."""
LINGER_US: Final = 50_000
"""Longest wait for a fuller batch: a transaction costs as much for one record as for many."""
SLICE: Final = 100
"""Number of records between two looks at the clock."""
MAX_BATCH_S: Final = 0.5
"""Time after which a batch is closed, however few records it has, seconds."""
CAUGHT_UP_US: Final = 2 * SECOND
"""A worker whose event time lags less than this has caught up, and publishes at once."""
HISTORY_US: Final = 30 * SECOND
"""When the worker has caught up, of outputs older than this only the last per key are published."""


@dataclass(frozen=True, slots=True)
class UnitTiming:
    """The clock, the batch size and the intervals of a unit.

    Attributes
    ----------
    clock : {"wall", "event"}
        Whether the time is that of the wall clock, or that of the events.
    batch : int
        Most records in one transaction.
    renew_us : int
        Time without a commit after which the lease is renewed, microseconds.
    alone : bool
        Whether the lease decides which process works, and not the assignment of partitions. Such
        a unit never takes a lease that another process holds.
    linger_us : int
        Time that the next batch may wait to fill up, unless it holds an urgent event,
        microseconds.
    lag_us : int
        Most microseconds beside the interval of ticks between the clock and the last tick, in
        either direction, of a unit whose time passes.
    """

    clock: Literal["wall", "event"] = "wall"
    batch: int = 2_000
    renew_us: int = 3 * SECOND
    alone: bool = False
    linger_us: int = 0
    lag_us: int = 10 * SECOND


log = structlog.get_logger("riskwatch.unit")


class PublicationHold:
    """Holds the outputs of a live runner while it catches up, and releases them afterwards.

    Decisions of the missed time are history, and in SQL. On the topics they would look like news.
    The hold therefore publishes only the last record of each key once the worker has caught up.

    Parameters
    ----------
    runner : Runner
        The runner whose outputs are held.
    live : bool
        Whether the unit runs on the wall clock. Without it, outputs are never held.

    Attributes
    ----------
    on : bool
        Whether outputs are held.
    """

    def __init__(self, runner: Runner, *, live: bool) -> None:
        self.on = False
        self._runner = runner
        self._live = live
        self._since_us = 0

    def begin(self, us: int) -> None:
        """Begin with outputs held, if live. `us` is the stored event time, microseconds."""
        self.on, self._since_us = self._live, us

    def note_records(self, records: Iterable[InputRecord]) -> None:
        """Record the first event time of the hold, before ticks advance to the present."""
        self._since_us = self._since_us or next((r.us for r in records if r.us > 0), 0)

    def hold(self) -> None:
        """Hold outputs from now on, if live, because the worker was interrupted."""
        if self._live and not self.on:
            self.on, self._since_us = True, self._runner.us
            self._runner.hold()

    def hold_if_behind(self, now_us: int, *, idle: bool) -> None:
        """Hold outputs if the event time lags the present by an outage."""
        if self._live and not self.on and not idle and 0 < self._runner.us < now_us - HISTORY_US:
            log.warning("behind", worker=self._runner.worker, reached=rfc3339(self._runner.us))
            self.hold()

    def is_over(self, now_us: int, *, idle: bool) -> bool:
        """Whether the hold ends: no record waits, or the event time is near the present."""
        return self.on and (idle or now_us - self._runner.us < CAUGHT_UP_US)

    def publish_urgent(self) -> None:
        """Publish the outputs of an urgent record at once, although outputs are held.

        The outputs before them go first, because readers drop a lower sequence number: the last
        record of each key. Later outputs are held on.
        """
        if self.on:
            self._runner.release_outputs(latest_only=True)
            self._runner.hold()

    def release_outputs(self, now_us: int) -> None:
        """Publish the held outputs: all if they are recent, else the last record of each key."""
        if self.on:
            self.on = False
            self._runner.release_outputs(latest_only=0 < self._since_us < now_us - HISTORY_US)


class Linger:
    """Decides whether the next batch waits to fill up.

    A transaction costs as much for one record as for many.

    Parameters
    ----------
    timing : UnitTiming
        Longest wait, and number of records of a full batch.
    """

    def __init__(self, timing: UnitTiming) -> None:
        self._timing = timing
        self._urgent = False
        self._began_us = 0

    def note_records(self, records: Iterable[InputRecord]) -> None:
        """Record whether fetched records are urgent."""
        self._urgent = self._urgent or any(isinstance(r.event, URGENT) for r in records)

    def should_wait(self, now_us: int, waiting: int) -> bool:
        """Whether the next batch waits: it is neither urgent nor full, and the last was recent."""
        return (
            not self._urgent
            and waiting < self._timing.batch
            and 0 <= now_us - self._began_us < self._timing.linger_us
        )

    def note_batch(self, now_us: int, left: int) -> None:
        """Record that a batch began, and how many records were left for the next."""
        self._began_us = now_us
        self._urgent = self._urgent and left > 0


class BatchMetrics:
    """Updates the metrics after each batch of one runner."""

    def __init__(self, metrics: Metrics, runner: Runner) -> None:
        self._metrics = metrics
        self._runner = runner
        self._models: dict[tuple[str, str], int] = {}
        self._scores_models = False

    def batch(
        self, records: list[InputRecord], done: CommitResult, apply_s: float, now_us: int
    ) -> None:
        """Update the metrics after the commit of a batch."""
        m, name = self._metrics, self._runner.worker
        m.batch(name, done.counts, len(records), apply_s, done.commit_s, done.publish_s)
        for (stream, reason), n in done.rejects.items():
            m.rejected(topic_of(stream), reason, n)
        m.event_time(name, self._runner.us)
        changed = done.rows.get("risk", {})
        for model in models_learned(scorer_rows(changed)):
            self._models[model] = self._runner.us
        self.model_authorities(changed)
        for (target, generation), us in self._models.items():
            m.model_age(target, generation, (self._runner.us - us) / SECOND)
        took_us = int(1e6 * (apply_s + done.commit_s + done.publish_s))
        for kind, arrived in _oldest(records).items():
            m.latency(name, kind, max(0, now_us + took_us - arrived) / SECOND)

    def model_authorities(self, rows: Mapping[str, Row | None]) -> None:
        """Update the authority and loss of models from changed state rows of the risk stage."""
        for found in model_records(scorer_rows(rows)):
            rank = None if found.authority is None else found.authority.rank
            self._metrics.model_authority(found.target, found.generation, rank, found.log_loss)
            self._scores_models = True

    def forget(self) -> None:
        """Drop the series of models, because they learn in another process now."""
        if self._scores_models:
            self._metrics.forget_models()
            self._scores_models = False
            self._models.clear()

    def lag(self, records: Mapping[str, int]) -> None:
        """Set how many records of each partition are not applied yet."""
        for stream, n in records.items():
            self._metrics.lag(topic_of(stream), int(stream.rpartition("/")[2]), n)


def _oldest(records: list[InputRecord]) -> dict[str, int]:
    """Return the arrival time of the longest-waiting event of each type, microseconds."""
    out: dict[str, int] = {}
    for record in records:
        if isinstance(record.event, Refusal) or not record.arrived_us:
            continue
        kind = kind_of(type(record.event))
        out[kind] = min(record.arrived_us, out.get(kind, record.arrived_us))
    return out


class Unit:
    """One runner on Kafka with its partitions.

    Parameters
    ----------
    runner : Runner
        A runner with a grid, before its :meth:`~riskwatch.engine.runner.Runner.begin`.
    crashes : CrashTracker
        Counts crashes of stages.
    metrics : Metrics
        Metrics of the process.
    timing : UnitTiming
        Clock, batch size and intervals.
    mirror : callable, optional
        Called after each commit with worker, epoch and records.
    clock : LiveClock, optional
        The clocks of a live worker.
    proofs : SourceProofs, optional
        Signatures of sources of credit news.
    intake : IntakeConfig, optional
        How old a fact may be, live; by default that of an empty ``policy.toml``.
    """

    def __init__(
        self,
        runner: Runner,
        crashes: CrashTracker,
        metrics: Metrics,
        timing: UnitTiming,
        mirror: Callable[[str, int, Sequence[OutboxRecord]], None] | None = None,
        clock: LiveClock | None = None,
        proofs: SourceProofs | None = None,
        intake: IntakeConfig | None = None,
    ) -> None:
        assert runner.grid is not None, "a worker on Kafka needs a grid"
        self.name = runner.worker
        self.fault: str | None = None
        self._proofs = proofs
        self._runner = runner
        self._grid = runner.grid
        self._crashes = crashes
        self._metrics = metrics
        self._batch_metrics = BatchMetrics(metrics, runner)
        self._timing = timing
        self._mirror = mirror
        self._clock = clock
        self._merge = EventTimeMerge({}, {})
        self._decoders: dict[str, PartitionDecoder] = {}
        self._received_us = 0
        self._waiting_since_us = 0
        self._wait_is_logged = False
        self._renewed_us = 0
        self._live = timing.clock == "wall"
        self._intake = (intake or IntakeConfig()) if self._live else None
        self._hold = PublicationHold(runner, live=self._live)
        self._linger = Linger(timing)
        self._ticked = False
        self._ticks = 0
        self._overtook = False
        self._now_us = self._live_us = 0
        self._ticked_us = 0
        self._is_ahead = False
        runner.on_tick = self._tick

    def open(self, partitions: Mapping[str, PartitionMetadata], now_us: int) -> dict[str, int]:
        """Take the lease, load the state, and return the offsets from which to read.

        Parameters
        ----------
        partitions : mapping of str to PartitionMetadata
            The partitions by stream.
        now_us : int
            Time of the process clock, microseconds.

        Raises
        ------
        StreamIdentityError
            If a partition is not the one of the stored offsets, or has lost messages that were
            not read.
        """
        resumed = self._runner.begin(hold=self._live)
        self._hold.begin(resumed.us)
        cursors = {
            stream: resume_cursor(stream, partition, resumed.offsets.get(stream))
            for stream, partition in partitions.items()
        }
        self._decoders = {
            stream: PartitionDecoder(
                stream,
                partition.partitions,
                self._clock,
                self._proofs,
                self._intake,
                self._runner.pipeline.names,
            )
            for stream, partition in partitions.items()
        }
        self._merge = EventTimeMerge(cursors, self._decoders, live=self._live)
        self._received_us = self._renewed_us = now_us
        self._metrics.leader(self.name, resumed.epoch)
        self._batch_metrics.model_authorities(resumed.rows.get("risk", {}))
        self._ticked, self._ticks = False, 0
        self._ticked_us = 0 if self._grid.fresh else max(0, self._grid.reached)
        self._is_ahead = False
        self._crashes.begin(self._runner)
        self._now_us, self._live_us = now_us, 0
        self._check_fault()
        log.info(
            "opened",
            worker=self.name,
            epoch=resumed.epoch,
            reached=rfc3339(resumed.us) if resumed.us else None,
            streams={stream: found.taken for stream, found in cursors.items()},
            fault=self.fault,
        )
        return {stream: found.taken for stream, found in cursors.items()}

    def reopen(
        self, partitions: Mapping[str, PartitionMetadata], now_us: int
    ) -> dict[str, int] | None:
        """Continue after a rebalance that did not move the partitions; ``None`` if impossible.

        Records that waited in memory are read again. The state stays valid, because no other
        process took the lease.

        Raises
        ------
        FencedError
            If another process took the lease, and the lease decides which process works.
        """
        if sorted(partitions) != list(self._merge.streams):
            return None
        try:
            self._crashes.renew(self.name, self._runner.epoch)
        except FencedError:
            if self._timing.alone:
                raise
            return None
        cursors = {}
        for stream, partition in partitions.items():
            old = self._merge.cursor(stream)
            known = StreamOffset(stream, old.identity, old.taken, old.records)
            cursors[stream] = resume_cursor(stream, partition, known)
        self._merge = EventTimeMerge(cursors, self._decoders, live=self._live)
        self._received_us = self._renewed_us = now_us
        return {stream: found.taken for stream, found in cursors.items()}

    @property
    def epoch(self) -> int:
        """Epoch of the lease; 0 before the unit is open."""
        return self._runner.epoch

    @property
    def is_fetched(self) -> bool:
        """Whether every record that the broker is known to have was fetched."""
        return self._merge.is_fetched

    @property
    def states(self) -> dict[str, Any]:
        """The states of the stages, by name. Between two calls of :meth:`work` all is committed."""
        return {slot.stage.name: slot.state for slot in self._runner.pipeline.slots}

    @property
    def is_caught_up(self) -> bool:
        """Whether the unit works and publishes at once."""
        return self.fault is None and not self._hold.on and self._runner.epoch > 0

    @property
    def reached_us(self) -> int | None:
        """Time of the last tick, microseconds; ``None`` where no tick is expected."""
        return self._ticked_us if self._grid.began and self._timing.clock == "wall" else None

    def tick_fault(self, live_us: int) -> str | None:
        """Return why the ticks do not pass at the time `live_us`; ``None`` if they do.

        A unit without ticks decides nothing, so nobody may confirm its table.
        """
        if self._timing.clock == "event":
            return None
        if not live_us:
            return "the broker's time is not known yet"
        if not self._grid.began:
            return None
        ahead_us = max(self._ticked_us, self._grid.reached) - live_us
        if ahead_us > self._timing.lag_us:
            return (
                f"it has reached {rfc3339(live_us + ahead_us)}, {ahead_us / SECOND:.0f} s ahead "
                "of the clock: it makes no tick before that time"
            )
        if live_us - self._ticked_us > self._grid.tick_us + self._timing.lag_us:
            last = rfc3339(self._ticked_us) if self._ticked_us else "none since the start"
            return f"its ticks lag: the time is {rfc3339(live_us)}, the last tick: {last}"
        return None

    def position(self, stream: str) -> int:
        """Return the offset behind the last taken record of a partition."""
        return self._merge.cursor(stream).taken

    def depth(self, stream: str) -> int:
        """Return the number of records of a partition that wait in memory."""
        return len(self._merge.cursor(stream).waiting)

    def put(
        self,
        stream: str,
        messages: Iterable[InboundMessage],
        end: int,
        now_us: int,
        *,
        behind: int | None = None,
        start: int = 0,
    ) -> None:
        """Accept the messages of a fetch.

        Parameters
        ----------
        stream : str
            Name of the partition's stream.
        messages : iterable of InboundMessage
            The messages, in the order of their offsets.
        end : int
            High watermark of the fetch.
        now_us : int
            Time of the process clock, microseconds.
        behind : int, optional
            Offset behind the fetch, if it is not the one behind the last message: the end of a
            transaction is an offset without a message.
        start : int
            Offset at which the fetch began.

        Raises
        ------
        FetchGapError
            If the fetch begins behind the last one: the messages between were fetched and lost.
        StreamIdentityError
            If the partition ends before the offset that was read: it was truncated, and new
            messages at known offsets would be taken for old ones.
        """
        fetched = self._merge.cursor(stream).fetched
        if end < fetched:
            raise StreamIdentityError(
                f"{stream}: read up to offset {fetched}, but the broker ends at {end}: it lost "
                "what it had confirmed (see docs/operations.md)"
            )
        self._merge.check_continuity(stream, start)
        # A fetch that was under way when the position moved repeats known messages.
        new = [m for m in messages if m.offset >= fetched]
        to = new[-1].offset + 1 if new else fetched
        if behind is not None:
            to = max(to, behind)
        if to > fetched:
            self._linger.note_records(self._merge.put(stream, new, to))
        if new:
            self._received_us = now_us
        self._merge.note_end(stream, end)

    def work(self, now_us: int, live_us: int | None = None) -> int:
        """Run one batch, and return its number of records.

        Parameters
        ----------
        now_us : int
            Time of the process clock, microseconds.
        live_us : int, optional
            Time that ticks may reach, microseconds; 0 while it is not known; by default `now_us`.

        Raises
        ------
        FencedError
            If another process took the lease.
        StageFaultError
            If a stage raised. The process must end.
        StoppedError
            If the process is asked to stop while it waits for a server.
        """
        self._now_us = now_us
        self._live_us = now_us if live_us is None else live_us
        if self.fault is not None:
            if self._renew_if_due(now_us):
                self._check_fault()
            return 0
        self._overtook = False
        self._check_ahead()
        narrow = self._crashes.is_narrow(self.name)
        if not narrow and self._linger.should_wait(now_us, len(self._merge)):
            return 0
        self._hold.hold_if_behind(self._present_us, idle=self._merge.idle)
        started, force = perf_counter(), self._waited_too_long(now_us)
        full = 1 if narrow else self._timing.batch
        records: list[InputRecord] = []
        while len(records) < full and perf_counter() - started < MAX_BATCH_S:
            limit = min(SLICE, full - len(records))
            # The lane comes first, with at most half, so that many of its records stop nothing.
            # A few of them end the batch, so that they are not committed late.
            is_behind = self._is_behind(idle=self._merge.idle)
            taken = self._merge.take_urgent((limit + 1) // 2, commands=is_behind)
            ahead = len(taken)
            taken += self._merge.take(limit - ahead, force=force)
            for n, record in enumerate(taken):
                place = (record.stream, record.position)
                why = self._crashes.quarantine_reason(self.name, place)
                if n >= ahead and is_behind:
                    is_behind = self._is_behind(idle=n + 1 == len(taken) and self._merge.idle)
                with self._counting_crashes(place):
                    if why is None:
                        self._runner.apply(
                            record, overtakes=n < ahead, behind=n < ahead or is_behind
                        )
                    else:
                        self._runner.refuse(record, RejectReason.QUARANTINED, why)
            self._overtook |= ahead > 0
            records += taken
            if not taken or 0 < ahead < limit // 2:
                break
        self._linger.note_batch(now_us, len(self._merge))
        self._hold.note_records(records)
        if narrow and records:
            self._commit(records, self._merge.offsets(), perf_counter() - started, now_us)
        self._pass_time(records, now_us)
        left = [] if narrow else records
        self._commit(left, self._merge.offsets(), perf_counter() - started, now_us)
        return len(records)

    def _is_behind(self, *, idle: bool) -> bool:
        """Whether the unit is catching up, so that no command that loosens may take effect."""
        return self._hold.on and not self._hold.is_over(self._present_us, idle=idle)

    def close(self) -> None:
        """Release the lease, so that a standby need not wait until it expires."""
        self._crashes.release(self.name, self._runner.epoch)
        self.drop()

    def drop(self) -> None:
        """Drop the metrics of this unit, because it runs in another process now."""
        places = ((topic_of(s), int(s.rpartition("/")[2])) for s in self._merge.streams)
        self._metrics.forget(self.name, places)
        self._batch_metrics.forget()

    def _commit(
        self, records: list[InputRecord], offsets: list[StreamOffset], apply_s: float, now_us: int
    ) -> None:
        """Commit the effects of records and ticks, and update mirror and metrics."""
        if records or self._ticked or self._ticks:
            reached = {o.stream: o.position for o in offsets}
            self._crashes.record_passage(
                self._runner, reached, self._report_us, ticked=self._ticked
            )
        with self._counting_refusals(records):
            done = self._runner.commit(offsets)
        log_outputs(self.name, (each.output for each in done.outputs))
        self._ticks = 0
        if self._mirror is not None and done.records:
            self._mirror(self.name, self._runner.epoch, done.records)
        if self._hold.is_over(self._present_us, idle=self._merge.idle):
            self._hold.release_outputs(self._present_us)
        elif self._overtook:
            self._hold.publish_urgent()
        if records or done.records:
            self._batch_metrics.batch(records, done, apply_s, self._present_us)
            self._batch_metrics.lag(self._merge.lag())
            self._renewed_us = now_us
            self._crashes.clear_passed(self.name)
        else:
            self._renew_if_due(now_us)

    @property
    def _present_us(self) -> int:
        """The present, microseconds: the time that ticks may reach, or that of the process."""
        return self._live_us or self._now_us

    @property
    def _report_us(self) -> int:
        """The time of reports about the unit itself, microseconds."""
        return self._present_us if self._timing.clock == "wall" else self._runner.us

    def _check_ahead(self) -> None:
        """Report once that the stored time is ahead of the clock, and note when that ends.

        A worker whose clock was wrong can have stored such a time. The unit goes on taking events
        and commands, and makes no tick before that time. Nothing that holds is lowered meanwhile.
        """
        live = self._timing.clock == "wall" and self._live_us > 0
        if not live or (self._grid.reached - self._live_us > self._timing.lag_us) == self._is_ahead:
            return
        self._is_ahead = not self._is_ahead
        if self._is_ahead:
            why = self.tick_fault(self._live_us) or ""
            log.error("the time reached is ahead of the clock", worker=self.name, why=why)
            self._crashes.report_ahead(self._runner, why, self._report_us)
        else:
            self._crashes.end_ahead(self.name)

    def _check_fault(self) -> None:
        """Check whether the unit may work, and report each fault once if it may not."""
        was, fault = self.fault, self._crashes.current_fault(self._runner)
        self.fault = None if fault is None else stop_reason(fault)
        self._metrics.fault(self.name, down=fault is not None)
        if fault is not None:
            if self.fault != was:
                log.error("stays down", worker=self.name, why=self.fault)
            # First, because sequence numbers only grow.
            self._hold.release_outputs(self._present_us)
            self._crashes.report_fault(self._runner, fault, self._report_us)
        elif was is not None:
            self._hold.hold()

    def _tick(self, us: int) -> None:
        """Apply a tick, or skip it where two people requested that."""
        place = self._crashes.tick_place(self.name)
        why = self._crashes.quarantine_reason(self.name, place)
        self._ticks += 1
        if why is None:
            with self._counting_crashes(place):
                self._runner.tick(us)
            self._ticked, self._ticked_us = True, us
        else:
            self._runner.skip_tick(us, place[1], why)
            self._crashes.note_skipped_tick(self.name)
            log.warning("a tick is skipped", worker=self.name, tick=rfc3339(us), why=why)
        if self._crashes.is_narrow(self.name):
            self._commit([], [], 0.0, self._now_us)

    @contextmanager
    def _counting_crashes(self, place: FaultPlace) -> Iterator[None]:
        """Count an exception of a stage at a place, and raise it as a fault of the stage."""
        try:
            yield
        except RiskwatchError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            times = self._crashes.record_crash(self.name, place, text)
            raise StageFaultError(
                f"{self.name}: a stage failed at {place[0]} {place[1]} for time {times}: {text}"
            ) from error

    @contextmanager
    def _counting_refusals(self, records: list[InputRecord]) -> Iterator[None]:
        """Count a batch that cannot be stored, at its input if there is one, else as a batch."""
        try:
            yield
        except BatchRefusedError as error:
            place = (COMMITS, self._runner.counts.read)
            if len(records) + self._ticks == 1:
                tick = self._crashes.tick_place(self.name)
                place = (records[0].stream, records[0].position) if records else tick
            times = self._crashes.record_crash(self.name, place, str(error))
            raise StageFaultError(
                f"{self.name}: a commit failed at {place[0]} {place[1]} for time {times}: {error}"
            ) from error

    def _pass_time(self, records: list[InputRecord], now_us: int) -> None:
        """Make the ticks that no event causes."""
        if not self._merge.idle:
            if self._overtook:
                # What overtook the backlog is evaluated at once, at the time that was reached.
                for us in self._grid.now(min(self._grid.reached + 1, self._present_us)):
                    self._tick(us)
            return
        if self._timing.clock == "event" or not self._live_us:
            # The time does not advance between events; after a pause comes the closing tick.
            if self._grid.fresh and now_us - self._received_us >= SILENCE_US:
                for us in self._grid.through(self._grid.due):
                    self._tick(us)
            return
        urgent = any(isinstance(record.event, URGENT) for record in records)
        grid, live_us = self._grid, self._live_us
        if urgent and not self._runner.us:
            # Nothing but urgent records came yet: the time begins with them.
            list(grid.before(live_us - 1))
        for us in grid.now(live_us) if urgent else grid.live(live_us):
            self._tick(us)

    def _waited_too_long(self, now_us: int) -> bool:
        """Whether partitions with unfetched records have blocked the merge for too long."""
        missing = self._merge.missing()
        if not missing:
            self._waiting_since_us, self._wait_is_logged = 0, False
            return False
        if not self._waiting_since_us:
            self._waiting_since_us = now_us
        if now_us - self._waiting_since_us < MERGE_WAIT_US:
            return False
        if not self._wait_is_logged:
            self._wait_is_logged = True
            log.warning("not waited for any longer", worker=self.name, streams=missing)
        return True

    def _renew_if_due(self, now_us: int) -> bool:
        """Renew the lease if it was not renewed for long; return whether it was renewed."""
        if now_us - self._renewed_us < self._timing.renew_us:
            return False
        self._crashes.renew(self.name, self._runner.epoch)
        self._renewed_us = now_us
        return True
