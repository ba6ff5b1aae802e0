"""Replay of event files through the whole pipeline into one database, in one process."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from sqlalchemy import inspect

from riskwatch.config.recorder import ConfigurationRecorder
from riskwatch.contracts.codec import decode
from riskwatch.contracts.naming import EventNamer
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.validation import MAX_AHEAD
from riskwatch.core.clock import MINUTE, micros, rfc3339
from riskwatch.core.deployment import EMBEDDED
from riskwatch.core.events import Tick
from riskwatch.core.outputs import ConfigurationChanged, Output
from riskwatch.engine import bootstrap
from riskwatch.engine.audit_head import log_head, read_head
from riskwatch.engine.batch import counts_since
from riskwatch.engine.clock import TickGrid, wall
from riskwatch.engine.file import EventFileMerge
from riskwatch.engine.pipeline import Effects, Pipeline
from riskwatch.engine.ports import SqlStore
from riskwatch.engine.publish import NullPublisher
from riskwatch.engine.record import refuse_later
from riskwatch.engine.runner import Runner
from riskwatch.errors import StoreError
from riskwatch.store.audit import last_payload
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import require_current, upgrade
from riskwatch.store.reference import sync_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path
    from types import FrameType

    from sqlalchemy.engine import Engine

    from riskwatch.config.config import Config
    from riskwatch.core.events import Event, WireEvent
    from riskwatch.engine.pipeline import Reading
    from riskwatch.engine.ports import Store
    from riskwatch.engine.publish import OutputPublisher
    from riskwatch.engine.record import InputRecord
    from riskwatch.store.batch import StreamOffset


# A dry run: events through the pipeline in memory, without a database.
#
# The outputs of ledger and market do not depend on the configuration of the risk stage. They
# therefore run once, and the risk stage runs over their readings once per candidate. Together they
# put out what a replay puts out (a test holds this), without its transactions.


def risk_inputs(
    config: Config, events: Iterable[Event], tick_us: int = MINUTE
) -> tuple[list[Any], list[Output]]:
    """Run ledger and market over events, and return the inputs of the risk stage.

    Parameters
    ----------
    config : Config
        Configuration of the stages.
    events : iterable of Event
        The events, in order of time.
    tick_us : int
        Width of the event-time grid, microseconds.

    Returns
    -------
    tuple of (list, list of Output)
        Inputs of the risk stage in order (readings, news, ticks), and the outputs of ledger and
        market (data quality, refusals).
    """
    first = Pipeline([bootstrap.ledger_slot(config), bootstrap.market_slot(config)])
    risk = bootstrap.risk_slot(config)
    inputs: list[Any] = []
    outputs: list[Output] = []
    effects, grid = Effects(), TickGrid(tick_us)

    def hand_over(event: Any) -> None:
        if first.takes(type(event)):
            first.apply(event, effects)
        for made in effects.outputs:
            if isinstance(made, Output):
                outputs.append(made)
            else:
                inputs.append(made)
        effects.outputs.clear()
        effects.inputs.clear()
        if type(event) in risk.takes:
            inputs.append(event)

    namer = EventNamer(config.name_table)
    for event in events:
        for us in grid.before(micros(event.ts)):
            hand_over(Tick(us))
        named = namer.changed(event) or event  # type: ignore[arg-type]
        if not isinstance(named, Refusal):
            hand_over(named)
    for us in grid.closing():
        hand_over(Tick(us))
    return inputs, outputs


def risk_outputs(config: Config, inputs: Iterable[Any]) -> Iterator[Output | Reading]:
    """Run the risk stage over the result of :func:`risk_inputs`, and yield its outputs in order."""
    risk = Pipeline([bootstrap.risk_slot(config)])
    effects = Effects()
    for event in inputs:
        risk.apply(event, effects)
        yield from effects.outputs
        effects.outputs.clear()
        effects.inputs.clear()


WORKER: Final = EMBEDDED
"""Name of the one worker of an embedded database."""
BATCH: Final = 1000
"""Default number of records per transaction."""
OUTPUTS: Final = 2_000
"""Number of outputs from which a batch is committed before it is full.

With hours between records a batch holds thousands of ticks. The outbox holds one batch at most, and
a file of SQLite never shrinks.
"""

log = structlog.get_logger("riskwatch.replay")


class RecordSource(Protocol):
    """A source of records that continues from stored offsets."""

    more: bool
    """Whether the last :meth:`records` stopped before an event later than its limit."""

    def resume(self, offsets: Mapping[str, StreamOffset]) -> None:
        """Continue behind the consumed records."""
        ...

    def records(self, until_us: int | None = None) -> Iterator[InputRecord]:
        """Yield records. A yielded record counts as consumed."""
        ...

    def offsets(self) -> list[StreamOffset]:
        """Return the offsets that changed since the last call."""
        ...

    def progress(self) -> tuple[int, int]:
        """Return the amount done and the whole amount, bytes."""
        ...


@dataclass(frozen=True, slots=True)
class ReplayLimits:
    """The batch size and the end of a replay.

    Attributes
    ----------
    batch : int
        Records per transaction.
    until_us : int or None
        Event time after which no event is applied, microseconds.
    max_events : int or None
        Number of records after which the replay stops at once, without closing ticks.
    """

    batch: int = BATCH
    until_us: int | None = None
    max_events: int | None = None


@dataclass(slots=True)
class StopRequest:
    """A request to stop: the number of the signal, or ``None`` while there is no request."""

    signal: int | None = None


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """The result of one run.

    Attributes
    ----------
    read, applied, duplicate, rejected : int
        Numbers of records of this run; the first is the sum of the others.
    reached_us : int
        Event time reached, microseconds.
    seconds : float
        Duration of the run.
    ended : str
        Reason of the end: ``files``, ``until``, ``max_events`` or ``signal``.
    """

    read: int
    applied: int
    duplicate: int
    rejected: int
    reached_us: int
    seconds: float
    ended: str


def decode_until(now: datetime) -> Callable[[bytes], WireEvent | Refusal]:
    """Return a decoder of lines that refuses events which are later than `now`."""

    def read(raw: bytes) -> WireEvent | Refusal:
        event = decode(raw)
        if isinstance(event, Refusal):
            return event
        return refuse_later(event, now) or event

    return read


def require_past(runner: Runner, now: datetime) -> None:
    """Check that a database has not reached a time that is later than `now`.

    Raises
    ------
    StoreError
        If it has. An earlier build took an event of the future, and what comes has no effect.
    """
    grid = runner.grid
    if grid is None or grid.reached <= micros(now + MAX_AHEAD) + grid.tick_us:
        return
    raise StoreError(
        f"this database has reached {rfc3339(grid.reached)}, but it is {rfc3339(micros(now))} by "
        "the clock of this machine: it took an event of the future, and events before that time "
        "have no effect in it. Replay the files into a new database, or set the clock"
    )


def replay_records(
    runner: Runner,
    source: RecordSource,
    limits: ReplayLimits | None = None,
    *,
    stop: StopRequest | None = None,
    progress: Callable[[int, int], None] | None = None,
    now: datetime | None = None,
) -> ReplaySummary:
    """Apply the records of a source from the stored offsets to its end or to a limit.

    Parameters
    ----------
    runner : Runner
        A runner before its :meth:`~riskwatch.engine.runner.Runner.begin`.
    source : RecordSource
        A source that was not read yet.
    limits : ReplayLimits, optional
        Batch size and end.
    stop : StopRequest, optional
        Checked after each record. On a request, the batch is committed as it is.
    progress : callable, optional
        Called after each batch with the bytes done and the bytes in all.
    now : datetime, optional
        Time of this machine. With it, the stored event time is checked; see :func:`require_past`.
    """
    limits, stop = limits or ReplayLimits(), stop or StopRequest()
    source.resume(runner.begin().offsets)
    if now is not None:
        require_past(runner, now)
    before, started = runner.counts, perf_counter()
    ended = _run(runner, source, limits, stop, progress)
    if ended in ("files", "until"):
        _close(runner, limits.until_us, more=source.more)
    runner.commit(source.offsets())
    runner.commit([])  # records that the last outputs are published
    if progress is not None:
        progress(*source.progress())
    summary = ReplaySummary(
        **counts_since(runner.counts, before),
        reached_us=runner.us,
        seconds=perf_counter() - started,
        ended=ended,
    )
    _log(summary)
    return summary


def _run(
    runner: Runner,
    source: RecordSource,
    limits: ReplayLimits,
    stop: StopRequest,
    progress: Callable[[int, int], None] | None,
) -> str:
    """Apply records batch by batch, and return the reason of the end. The last batch stays open."""
    if limits.max_events == 0:
        return "max_events"
    for done, record in enumerate(source.records(limits.until_us), start=1):
        runner.apply(record)
        if done % limits.batch == 0 or runner.uncommitted >= OUTPUTS:
            runner.commit(source.offsets())
            if progress is not None:
                progress(*source.progress())
        if done == limits.max_events:
            return "max_events"
        if stop.signal is not None:
            return "signal"
    return "until" if source.more else "files"


def _close(runner: Runner, until_us: int | None, *, more: bool) -> None:
    """Make the ticks that end a replay: up to `until_us`, or the one after the last event."""
    grid = runner.grid
    if grid is None:
        return
    if more and until_us is not None:
        for us in grid.through(until_us):
            runner.tick(us)
    elif until_us is None or grid.due <= until_us:
        for us in grid.closing():
            runner.tick(us)


def _log(summary: ReplaySummary) -> None:
    log.info(
        "replay ended",
        because=summary.ended,
        read=summary.read,
        applied=summary.applied,
        duplicate=summary.duplicate,
        rejected=summary.rejected,
        events_per_s=round(summary.read / summary.seconds) if summary.seconds else 0,
        reached=rfc3339(summary.reached_us) if summary.reached_us else None,
    )


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a stop request instead of the end of the process.

    A second signal of the same kind ends the process as usual.
    """
    stop = StopRequest()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request_stop(number: int, frame: FrameType | None) -> None:
        del frame
        stop.signal = number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """The files, the database and the options of one replay.

    Attributes
    ----------
    files : sequence of Path
        NDJSON files of events. Their order decides between events of the same time.
    database : str
        URL of the database. A new SQLite file gets the schema first.
    tick_us : int
        Width of the event-time grid, microseconds.
    limits : ReplayLimits
        Batch size and end.
    publisher : OutputPublisher
        Publishes the outputs.
    """

    files: Sequence[Path]
    database: str
    tick_us: int = MINUTE
    limits: ReplayLimits = field(default_factory=ReplayLimits)
    publisher: OutputPublisher = field(default_factory=NullPublisher)


def replay_files(
    job: ReplayJob,
    pipeline: Pipeline | Callable[[Config], Pipeline],
    *,
    config: Config | None = None,
    wrap: Callable[[Store], Store] | None = None,
    stop: StopRequest | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReplaySummary:
    """Replay files through `pipeline`, from the offsets that the database holds.

    Parameters
    ----------
    job : ReplayJob
        Files, database, limits.
    pipeline : Pipeline or callable
        Stages with empty states, or a function that makes them of the configuration once the
        configuration was compared with the recorded one.
    config : Config, optional
        Configuration of the stages. It is recorded if it is new, and its reference data is copied
        into the database, so that look-through is a view.
    wrap : callable, optional
        Wraps the store, to observe commits.
    stop : StopRequest, optional
        Checked after each record.
    progress : callable, optional
        Called after each batch with bytes done and bytes in all.

    Raises
    ------
    FeedError
        If a file cannot be read.
    StreamIdentityError
        If a file differs from the one that was replayed before under its name.
    StoreError
        If the database cannot be used, another process took it over, or it has reached a time
        that is later than that of this machine.
    """
    now = wall()
    decoder = decode_until(now)
    with EventFileMerge(job.files, decoder) as source, open_database(job.database) as engine:
        if config is not None:
            with engine.begin() as conn:
                sync_reference(conn, config.reference)
                config = bootstrap.confirmed(
                    config, last_payload(conn, WORKER, ConfigurationChanged)
                )
        if not isinstance(pipeline, Pipeline):
            assert config is not None, "stages are made of a configuration"
            pipeline = pipeline(config)
        store: Store = SqlStore(engine)
        runner = Runner(
            store if wrap is None else wrap(store),
            pipeline,
            job.publisher,
            worker=WORKER,
            holder=f"{socket.gethostname()}/{os.getpid()}",
            grid=TickGrid(job.tick_us),
            recorder=None if config is None else ConfigurationRecorder(WORKER, config),
        )
        summary = replay_records(runner, source, job.limits, stop=stop, progress=progress, now=now)
        if config is not None:
            log_head(read_head(engine, WORKER, runner.epoch, summary.reached_us, EMBEDDED))
        return summary


@contextmanager
def open_database(url: str) -> Iterator[Engine]:
    """Open a database with the schema of this build. An empty SQLite file gets the schema first.

    Raises
    ------
    StoreError
        If it cannot be opened or has another schema; the message names the command to run.
    """
    engine = open_engine(url)
    try:
        if engine.dialect.name == "sqlite" and not inspect(engine).get_table_names():
            upgrade(engine, deployment=EMBEDDED)
        with engine.connect() as conn:
            require_current(conn)
        yield engine
    finally:
        engine.dispose()
