"""One worker on Kafka: a runner, its partitions, and what it does when it is its turn.

Ledger workers have one unit per partition, named ``ledger/<n>``; the risk worker is one unit,
``risk``. A unit is driven by one thread: :meth:`Unit.open`, then :meth:`Unit.put` and
:meth:`Unit.work` in turn. Each :meth:`Unit.work` is one transaction, whole or not at all.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal

import structlog

from riskwatch.contracts.codec import tag_of as kind_of
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.clock import SECOND, rfc3339
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import Command, Credit
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
from riskwatch.worker.merge import EventTimeMerge, PartitionDecoder, resume_cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from riskwatch.core.stage import Row
    from riskwatch.engine.batch import CommitResult
    from riskwatch.engine.record import InputRecord
    from riskwatch.engine.runner import Runner
    from riskwatch.store.batch import OutboxRecord
    from riskwatch.store.faults import FaultPlace
    from riskwatch.worker.crashes import CrashTracker
    from riskwatch.worker.merge import InboundMessage, PartitionMetadata
    from riskwatch.worker.metrics import Metrics


# How fast a unit works, how long it waits, and what cannot wait.

URGENT: Final = (Command, Credit, PartitionFault)
"""What is decided upon at once, and not at the next tick."""
MERGE_WAIT_US: Final = 2 * SECOND
"""How long a partition that the broker says has more may keep the others waiting."""
SILENCE_US: Final = SECOND
"""After such a silence, a clock of events takes the step that ends it."""
LINGER_US: Final = 50_000
"""How long what can wait may wait for company: a transaction costs as much for one as for many."""
SLICE: Final = 100
"""Records that are applied before the clock is looked at."""
MAX_BATCH_S: Final = 0.5
"""Seconds after which a batch is closed, however few records it has."""
CAUGHT_UP_US: Final = 2 * SECOND
"""So near to the moment, a worker that was behind publishes as things happen."""
HISTORY_US: Final = 30 * SECOND
"""If outputs are older when the worker has caught up, it is history: only the last ones go out."""


@dataclass(frozen=True, slots=True)
class UnitTiming:
    """How a unit works.

    Attributes
    ----------
    clock : {"wall", "event"}
        Whether time passes by itself, or by events alone.
    batch : int
        Most records in one transaction.
    renew_us : int
        After how long without a commit the lease is renewed.
    alone : bool
        Whether the lease says which process works, and not the assignment of partitions: such
        a unit never takes a lease that another one holds.
    linger_us : int
        How long after a batch the next one waits to be full, unless something urgent is in it.
    """

    clock: Literal["wall", "event"] = "wall"
    batch: int = 2_000
    renew_us: int = 3 * SECOND
    alone: bool = False
    linger_us: int = 0


# When a live worker keeps its publication back: while it works off what it missed.
#
# What was decided in the meantime is history, and in SQL. Published one after the other it would
# look like news; so once the worker has caught up, each key's last record goes out, once.

hold_log = structlog.get_logger("riskwatch.holding")


class PublicationHold:
    """Holds back what a runner puts out, and lets it go.

    Parameters
    ----------
    runner : Runner
        Whose publication.
    live : bool
        Whether time passes by itself; where it does not, nothing is ever held back.

    Attributes
    ----------
    on : bool
        Whether publication is held back.
    """

    def __init__(self, runner: Runner, *, live: bool) -> None:
        self.on = False
        self._runner = runner
        self._live = live
        self._since_us = 0

    def begin(self, us: int) -> None:
        """Begin with publication held back, if live; `us` is the event time of the last life."""
        self.on, self._since_us = self._live, us

    def note_records(self, records: Iterable[InputRecord]) -> None:
        """Note where history began, before ticks bring the time of the moment."""
        self._since_us = self._since_us or next((r.us for r in records if r.us > 0), 0)

    def hold(self) -> None:
        """Hold back from now on, if live: something kept the worker from its work."""
        if self._live and not self.on:
            self.on, self._since_us = True, self._runner.us
            self._runner.hold()

    def hold_if_behind(self, now_us: int, *, idle: bool) -> None:
        """Hold back where an outage lies between what was reached and the moment."""
        if self._live and not self.on and not idle and 0 < self._runner.us < now_us - HISTORY_US:
            hold_log.warning("behind", worker=self._runner.worker, reached=rfc3339(self._runner.us))
            self.hold()

    def is_over(self, now_us: int, *, idle: bool) -> bool:
        """Whether it is time to let go: all is done, or the time reached is the moment's."""
        return self.on and (idle or 0 < now_us - self._runner.us < CAUGHT_UP_US)

    def release_outputs(self, now_us: int) -> None:
        """Publish what was held back: as it was if it is fresh, else where things stand now."""
        if self.on:
            self.on = False
            self._runner.release_outputs(latest_only=0 < self._since_us < now_us - HISTORY_US)


# When a batch waits for company: a transaction costs as much for one record as for many.


class Linger:
    """Says whether the next batch may wait.

    Parameters
    ----------
    pace : Pace
        For how long at most, and how many records fill a batch.
    """

    def __init__(self, pace: UnitTiming) -> None:
        self._pace = pace
        self._urgent = False
        self._began_us = 0

    def note_records(self, records: Iterable[InputRecord]) -> None:
        """Take note of what came in."""
        self._urgent = self._urgent or any(isinstance(r.event, URGENT) for r in records)

    def should_wait(self, now_us: int, waiting: int) -> bool:
        """Whether the last batch was just now, and nothing is urgent, nor the next one full."""
        return (
            not self._urgent
            and waiting < self._pace.batch
            and 0 <= now_us - self._began_us < self._pace.linger_us
        )

    def note_batch(self, now_us: int, left: int) -> None:
        """Take note that a batch was begun, and how many records were left for another."""
        self._began_us = now_us
        self._urgent = self._urgent and left > 0


# What a unit tells its metrics of each batch.


class BatchMetrics:
    """Tells metrics of the batches of one runner."""

    def __init__(self, metrics: Metrics, runner: Runner) -> None:
        self._metrics = metrics
        self._runner = runner
        self._models: dict[tuple[str, str], int] = {}
        self._judges = False

    def batch(
        self, records: list[InputRecord], done: CommitResult, apply_s: float, now_us: int
    ) -> None:
        """Tell of one batch that was committed."""
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
        """Tell where models stand, of the state rows of the risk stage that are new."""
        for found in model_records(scorer_rows(rows)):
            rank = None if found.authority is None else found.authority.rank
            self._metrics.model_authority(found.target, found.generation, rank, found.log_loss)
            self._judges = True

    def forget(self) -> None:
        """Drop what was told of models: they learn elsewhere now."""
        if self._judges:
            self._metrics.forget_models()
            self._judges = False
            self._models.clear()

    def lag(self, records: Mapping[str, int]) -> None:
        """Tell how many records of each partition are still to be applied."""
        for stream, n in records.items():
            self._metrics.lag(topic_of(stream), int(stream.rpartition("/")[2]), n)


def _oldest(records: list[InputRecord]) -> dict[str, int]:
    """When the longest-waiting event of each type arrived."""
    out: dict[str, int] = {}
    for record in records:
        if isinstance(record.event, Refusal) or not record.arrived_us:
            continue
        kind = kind_of(type(record.event))
        out[kind] = min(record.arrived_us, out.get(kind, record.arrived_us))
    return out


hold_log = structlog.get_logger("riskwatch.unit")


class Unit:
    """One worker on Kafka.

    Parameters
    ----------
    runner : Runner
        Not begun yet; with a grid.
    crashes : CrashBook
        Where a stage that raises is noted.
    metrics : Metrics
        What is counted.
    pace : Pace
        How it works.
    mirror : callable, optional
        Told what is committed: worker, epoch and records.
    """

    def __init__(
        self,
        runner: Runner,
        crashes: CrashTracker,
        metrics: Metrics,
        pace: UnitTiming,
        mirror: Callable[[str, int, Sequence[OutboxRecord]], None] | None = None,
    ) -> None:
        assert runner.grid is not None, "a worker on Kafka needs a grid"
        self.name = runner.worker
        self.fault: str | None = None
        self._runner = runner
        self._grid = runner.grid
        self._crashes = crashes
        self._metrics = metrics
        self._teller = BatchMetrics(metrics, runner)
        self._pace = pace
        self._mirror = mirror
        self._intake = EventTimeMerge({}, {})
        self._inbound: dict[str, PartitionDecoder] = {}
        self._heard_us = 0
        self._stuck_us = 0
        self._given_up = False
        self._renewed_us = 0
        self._holding = PublicationHold(runner, live=pace.clock == "wall")
        self._linger = Linger(pace)
        self._ticked = False
        self._ticks = 0
        self._now_us = 0
        runner.on_tick = self._tick

    def open(self, placements: Mapping[str, PartitionMetadata], now_us: int) -> dict[str, int]:
        """Take the lease, load the state, and say from which offsets to read.

        Parameters
        ----------
        placements : mapping of str to Placement
            The partitions by stream.
        now_us : int
            The clock of this process, microseconds.

        Raises
        ------
        StreamIdentityError
            If a partition is not the one that the stored offsets belong to, or has lost
            messages that were not read.
        """
        live = self._pace.clock == "wall"
        resumed = self._runner.begin(hold=live)
        self._holding.begin(resumed.us)
        lanes = {
            stream: resume_cursor(stream, placed, resumed.offsets.get(stream))
            for stream, placed in placements.items()
        }
        self._inbound = {
            s: PartitionDecoder(s, placed.partitions) for s, placed in placements.items()
        }
        self._intake = EventTimeMerge(lanes, self._inbound)
        self._heard_us = self._renewed_us = now_us
        self._metrics.leader(self.name, resumed.epoch)
        self._teller.model_authorities(resumed.rows.get("risk", {}))
        self._ticked, self._ticks = False, 0
        self._crashes.begin(self._runner)
        self._look(now_us)
        hold_log.info(
            "opened",
            worker=self.name,
            epoch=resumed.epoch,
            reached=rfc3339(resumed.us) if resumed.us else None,
            streams={stream: found.taken for stream, found in lanes.items()},
            fault=self.fault,
        )
        return {stream: found.taken for stream, found in lanes.items()}

    def reopen(
        self, placements: Mapping[str, PartitionMetadata], now_us: int
    ) -> dict[str, int] | None:
        """Go on after a rebalance that left the partitions here; ``None`` if that cannot be.

        What waited in memory is read again. The state stays, for nobody else took the lease.

        Raises
        ------
        FencedError
            If another process took it, and it is the lease that says who works.
        """
        if sorted(placements) != list(self._intake.streams):
            return None
        try:
            self._crashes.renew(self.name, self._runner.epoch)
        except FencedError:
            if self._pace.alone:
                raise
            return None
        lanes = {}
        for stream, placed in placements.items():
            old = self._intake.cursor(stream)
            known = StreamOffset(stream, old.identity, old.taken, old.records)
            lanes[stream] = resume_cursor(stream, placed, known)
        self._intake = EventTimeMerge(lanes, self._inbound)
        self._heard_us = self._renewed_us = now_us
        return {stream: found.taken for stream, found in lanes.items()}

    @property
    def epoch(self) -> int:
        """Epoch of its lease; 0 before it is open."""
        return self._runner.epoch

    @property
    def is_caught_up(self) -> bool:
        """Whether it works, and publishes as things happen."""
        return self.fault is None and not self._holding.on and self._runner.epoch > 0

    def position(self, stream: str) -> int:
        """Offset behind what was taken of one partition."""
        return self._intake.cursor(stream).taken

    def depth(self, stream: str) -> int:
        """Count the records of one partition in memory."""
        return len(self._intake.cursor(stream).waiting)

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
        """Take what a fetch brought.

        Parameters
        ----------
        stream : str
            Of which partition.
        messages : iterable of Message
            In the order of their offsets.
        end : int
            High watermark that came with them.
        now_us : int
            The clock of this process, microseconds.
        behind : int, optional
            Offset behind the fetch, where it is not the one behind the last message: the end of
            a transaction is an offset without a message.
        start : int
            Offset at which the fetch began.

        Raises
        ------
        FetchGapError
            If it began beyond what came in: what lies between was fetched and lost.
        StreamIdentityError
            If the partition ends before what was read of it: it was cut off, and what is written
            there now would pass for known.
        """
        fetched = self._intake.cursor(stream).fetched
        if end < fetched:
            raise StreamIdentityError(
                f"{stream}: read up to offset {fetched}, but the broker ends at {end}: it lost "
                "what it had confirmed (see docs/operations.md)"
            )
        self._intake.check_continuity(stream, start)
        # A fetch that was under way when the position was moved brings what is known.
        new = [m for m in messages if m.offset >= fetched]
        to = new[-1].offset + 1 if new else fetched
        if behind is not None:
            to = max(to, behind)
        if to > fetched:
            self._linger.note_records(self._intake.put(stream, new, to))
        if new:
            self._heard_us = now_us
        self._intake.note_end(stream, end)

    def work(self, now_us: int) -> int:
        """Do one batch; returns how many records it had.

        Raises
        ------
        FencedError
            If another process took the lease.
        StageFaultError
            If a stage raised: the process must end.
        StoppedError
            If the process is asked to stop while it waits for a server.
        """
        if self.fault is not None:
            if self._keep(now_us):
                self._look(now_us)
            return 0
        self._now_us = now_us
        narrow = self._crashes.is_narrow(self.name)
        if not narrow and self._linger.should_wait(now_us, len(self._intake)):
            return 0
        self._holding.hold_if_behind(now_us, idle=self._intake.idle)
        started, stuck = perf_counter(), self._stuck(now_us)
        full = 1 if narrow else self._pace.batch
        records: list[InputRecord] = []
        while len(records) < full and perf_counter() - started < MAX_BATCH_S:
            taken = self._intake.take(min(SLICE, full - len(records)), force=stuck)
            for record in taken:
                place = (record.stream, record.position)
                why = self._crashes.quarantine_reason(self.name, place)
                with self._counting_crashes(place):
                    if why is None:
                        self._runner.apply(record)
                    else:
                        self._runner.refuse(record, RejectReason.QUARANTINED, why)
            records += taken
            if not taken:
                break
        self._linger.note_batch(now_us, len(self._intake))
        self._holding.note_records(records)
        if narrow and records:
            self._commit(records, self._intake.offsets(), perf_counter() - started, now_us)
        self._pass_time(records, now_us)
        left = [] if narrow else records
        self._commit(left, self._intake.offsets(), perf_counter() - started, now_us)
        return len(records)

    def close(self) -> None:
        """Give the lease back, so that a standby need not wait for it to run out."""
        self._crashes.release(self.name, self._runner.epoch)
        self.drop()

    def drop(self) -> None:
        """Forget what is told of it: it works elsewhere now."""
        places = ((topic_of(s), int(s.rpartition("/")[2])) for s in self._intake.streams)
        self._metrics.forget(self.name, places)
        self._teller.forget()

    def _commit(
        self, records: list[InputRecord], offsets: list[StreamOffset], apply_s: float, now_us: int
    ) -> None:
        """Make true what records and ticks brought about, and tell of it."""
        if records or self._ticked or self._ticks:
            reached = {o.stream: o.position for o in offsets}
            self._crashes.record_passage(
                self._runner, reached, self._us(now_us), ticked=self._ticked
            )
        with self._counting_refusals(records):
            done = self._runner.commit(offsets)
        self._ticks = 0
        if self._mirror is not None and done.records:
            self._mirror(self.name, self._runner.epoch, done.records)
        if self._holding.is_over(now_us, idle=self._intake.idle):
            self._holding.release_outputs(now_us)
        if records or done.records:
            self._teller.batch(records, done, apply_s, now_us)
            self._teller.lag(self._intake.lag())
            self._renewed_us = now_us
            self._crashes.clear_passed(self.name)
        else:
            self._keep(now_us)

    def _look(self, now_us: int) -> None:
        """See whether it may work; that it may not is told to the world, once for each fault."""
        was, fault = self.fault, self._crashes.current_fault(self._runner)
        self.fault = None if fault is None else stop_reason(fault)
        self._metrics.fault(self.name, down=fault is not None)
        if fault is not None:
            if self.fault != was:
                hold_log.error("stays down", worker=self.name, why=self.fault)
            self._holding.release_outputs(now_us)  # numbers only grow: what waits goes first
            self._crashes.report_fault(self._runner, fault, self._us(now_us))
        elif was is not None:
            self._holding.hold()

    def _us(self, now_us: int) -> int:
        """Time of what it says of itself, microseconds."""
        return now_us if self._pace.clock == "wall" else self._runner.us

    def _tick(self, us: int) -> None:
        """Let a tick pass, or skip it where two people said so."""
        place = self._crashes.tick_place(self.name)
        why = self._crashes.quarantine_reason(self.name, place)
        self._ticks += 1
        if why is None:
            with self._counting_crashes(place):
                self._runner.tick(us)
            self._ticked = True
        else:
            self._runner.skip_tick(us, place[1], why)
            self._crashes.note_skipped_tick(self.name)
            hold_log.warning("a tick is skipped", worker=self.name, tick=rfc3339(us), why=why)
        if self._crashes.is_narrow(self.name):
            self._commit([], [], 0.0, self._now_us)

    @contextmanager
    def _counting_crashes(self, place: FaultPlace) -> Iterator[None]:
        """Count what a stage raises at a place, and say that the process must end."""
        try:
            yield
        except RiskwatchError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            times = self._crashes.record_crash(self.name, place, said)
            raise StageFaultError(
                f"{self.name}: a stage failed at {place[0]} {place[1]} for time {times}: {said}"
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
        """Bring the ticks that no event brings."""
        if not self._intake.idle:
            return
        if self._pace.clock == "event":
            # Time stands still between events; a silence ends the step that they began.
            if self._grid.fresh and now_us - self._heard_us >= SILENCE_US:
                for us in self._grid.through(self._grid.due):
                    self._tick(us)
            return
        urgent = any(isinstance(record.event, URGENT) for record in records)
        for us in self._grid.now(now_us) if urgent else self._grid.live(now_us):
            self._tick(us)

    def _stuck(self, now_us: int) -> bool:
        """Whether partitions that should have brought something have kept us waiting too long."""
        missing = self._intake.missing()
        if not missing:
            self._stuck_us, self._given_up = 0, False
            return False
        if not self._stuck_us:
            self._stuck_us = now_us
        if now_us - self._stuck_us < MERGE_WAIT_US:
            return False
        if not self._given_up:
            self._given_up = True
            hold_log.warning("not waited for any longer", worker=self.name, streams=missing)
        return True

    def _keep(self, now_us: int) -> bool:
        """Keep the lease when there is nothing to commit; whether it was time to."""
        if now_us - self._renewed_us < self._pace.renew_us:
            return False
        self._crashes.renew(self.name, self._runner.epoch)
        self._renewed_us = now_us
        return True
