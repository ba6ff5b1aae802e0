"""The embedded shell: files through the whole pipeline into one database, in one process."""

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
from riskwatch.core.clock import MINUTE, micros, rfc3339
from riskwatch.core.events import Tick
from riskwatch.core.outputs import ConfigurationChanged, Output
from riskwatch.engine import bootstrap
from riskwatch.engine.audit_head import log_head, read_head
from riskwatch.engine.batch import counts_since
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.file import EventFileMerge
from riskwatch.engine.pipeline import Effects, Pipeline
from riskwatch.engine.ports import SqlStore
from riskwatch.engine.publish import NullPublisher
from riskwatch.engine.runner import Runner
from riskwatch.store.audit import last_payload
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import require_current, upgrade
from riskwatch.store.reference import sync_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

    from sqlalchemy.engine import Engine

    from riskwatch.config.config import Config
    from riskwatch.core.events import Event
    from riskwatch.engine.pipeline import Reading
    from riskwatch.engine.ports import Store
    from riskwatch.engine.publish import OutputPublisher
    from riskwatch.engine.record import InputRecord
    from riskwatch.store.batch import StreamOffset


# A rehearsal: events through the embedded pipeline in memory, nothing stored.
#
# What the ledger and the market say does not depend on who decides. So they run once, and the risk
# stage runs over what they said as often as there are deciders to compare. Together this puts out
# what a replay does (a test holds it), without its transactions.


def risk_inputs(
    config: Config, events: Iterable[Event], tick_us: int = MINUTE
) -> tuple[list[Any], list[Output]]:
    """Run ledger and market over events in order of time.

    Parameters
    ----------
    config : Config
        Of the stages.
    events : iterable of Event
        In order of time.
    tick_us : int
        Width of the event-time grid, microseconds.

    Returns
    -------
    tuple of (list, list of Output)
        Inputs of the risk stage in order (readings, news, ticks), and what ledger and market put
        out beside them (data quality, refusals).
    """
    first = Pipeline([bootstrap.ledger_slot(config), bootstrap.market_slot(config)])
    risk = bootstrap.risk_slot(config)
    heard: list[Any] = []
    said: list[Output] = []
    effects, grid = Effects(), TickGrid(tick_us)

    def hand_over(event: Any) -> None:
        if first.takes(type(event)):
            first.apply(event, effects)
        for made in effects.outputs:
            if isinstance(made, Output):
                said.append(made)
            else:
                heard.append(made)
        effects.outputs.clear()
        effects.inputs.clear()
        if type(event) in risk.takes:
            heard.append(event)

    for event in events:
        for us in grid.before(micros(event.ts)):
            hand_over(Tick(us))
        hand_over(event)
    for us in grid.closing():
        hand_over(Tick(us))
    return heard, said


def risk_outputs(config: Config, heard: Iterable[Any]) -> Iterator[Output | Reading]:
    """Run the risk stage over what was overheard; yields what it puts out, in order."""
    risk = Pipeline([bootstrap.risk_slot(config)])
    effects = Effects()
    for event in heard:
        risk.apply(event, effects)
        yield from effects.outputs
        effects.outputs.clear()
        effects.inputs.clear()


WORKER: Final = "embedded"
"""Name of the one worker of an embedded database."""
BATCH: Final = 1000
"""Records per transaction, unless told otherwise."""

log = structlog.get_logger("riskwatch.replay")


class RecordSource(Protocol):
    """Records to be had one after the other, from where the offsets say."""

    more: bool
    """Whether the last :meth:`records` stopped before an event that was too late for it."""

    def resume(self, offsets: Mapping[str, StreamOffset]) -> None:
        """Go on behind what was consumed."""
        ...

    def records(self, until_us: int | None = None) -> Iterator[InputRecord]:
        """Yield records; what was yielded counts as consumed."""
        ...

    def offsets(self) -> list[StreamOffset]:
        """Offsets that are new since the last call."""
        ...

    def progress(self) -> tuple[int, int]:
        """Return how much is done, and of how much."""
        ...


@dataclass(frozen=True, slots=True)
class ReplayLimits:
    """How much to do at a time, and when to stop.

    Attributes
    ----------
    batch : int
        Records per transaction.
    until_us : int or None
        Event time after which nothing is applied, microseconds.
    max_events : int or None
        Records after which to stop at once, without any ticks.
    """

    batch: int = BATCH
    until_us: int | None = None
    max_events: int | None = None


@dataclass(slots=True)
class StopRequest:
    """Whether somebody asked to stop, and by which signal."""

    signal: int | None = None


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """What one run did.

    Attributes
    ----------
    read, applied, duplicate, rejected : int
        Records of this run; the first is the sum of the others.
    reached_us : int
        Event time reached, microseconds.
    seconds : float
        How long it took.
    ended : str
        ``files``, ``until``, ``max_events`` or ``signal``.
    """

    read: int
    applied: int
    duplicate: int
    rejected: int
    reached_us: int
    seconds: float
    ended: str


def replay_records(
    runner: Runner,
    source: RecordSource,
    limits: ReplayLimits | None = None,
    *,
    stop: StopRequest | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReplaySummary:
    """Apply a source from where the database stands, until it ends or a limit is met.

    Parameters
    ----------
    runner : Runner
        Not begun yet.
    source : Source
        Not read yet.
    limits : Limits, optional
        When to commit and when to stop.
    stop : Stop, optional
        Looked at after each record: the batch is then committed as it is.
    progress : callable, optional
        Called after each batch with what is done and what there is, in bytes.
    """
    limits, stop = limits or ReplayLimits(), stop or StopRequest()
    source.resume(runner.begin().offsets)
    before, started = runner.counts, perf_counter()
    ended = _run(runner, source, limits, stop, progress)
    if ended in ("files", "until"):
        _close(runner, limits.until_us, more=source.more)
    runner.commit(source.offsets())
    runner.commit([])  # says that the last outputs are published
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
    """Apply records batch by batch; returns why it ended. The last batch is left open."""
    if limits.max_events == 0:
        return "max_events"
    for done, record in enumerate(source.records(limits.until_us), start=1):
        runner.apply(record)
        if done % limits.batch == 0:
            runner.commit(source.offsets())
            if progress is not None:
                progress(*source.progress())
        if done == limits.max_events:
            return "max_events"
        if stop.signal is not None:
            return "signal"
    return "until" if source.more else "files"


def _close(runner: Runner, until_us: int | None, *, more: bool) -> None:
    """Bring the ticks that end a replay: up to `until_us`, or the one after the last event."""
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
    """Let SIGINT and SIGTERM ask for a stop instead of ending the process.

    A second signal of the same kind ends it as usual.
    """
    stop = StopRequest()
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        stop.signal = number
        signal.signal(number, kept[signal.Signals(number)])

    for number in kept:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


# A replay from files to a database: everything opened, and closed again whatever happens.


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """What to replay, and how.

    Attributes
    ----------
    files : sequence of Path
        NDJSON files of events; their order decides between events of one time.
    database : str
        URL; a fresh SQLite file is set up.
    tick_us : int
        Width of the event-time grid, microseconds.
    limits : Limits
        When to commit and when to stop.
    publisher : Publisher
        Where outputs go.
    """

    files: Sequence[Path]
    database: str
    tick_us: int = MINUTE
    limits: ReplayLimits = field(default_factory=ReplayLimits)
    publisher: OutputPublisher = field(default_factory=NullPublisher)


def replay_files(
    what: ReplayJob,
    pipeline: Pipeline | Callable[[Config], Pipeline],
    *,
    config: Config | None = None,
    wrap: Callable[[Store], Store] | None = None,
    stop: StopRequest | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReplaySummary:
    """Replay files through `pipeline`, from where the database stands.

    Parameters
    ----------
    what : Replay
        Files, database, limits.
    pipeline : Pipeline or callable
        Stages, with their states still empty; or what makes them of the configuration, once it
        was held against the one that the database records.
    config : Config, optional
        What the stages are made of: recorded where it is new, and its reference data copied
        into the database, so that look-through is a view.
    wrap : callable, optional
        Puts something around the store, to see what is committed.
    stop : Stop, optional
        Looked at after each record.
    progress : callable, optional
        Called after each batch with bytes done and bytes in all.

    Raises
    ------
    FeedError
        If a file cannot be read.
    StreamIdentityError
        If a file is not the one that was replayed before under its name.
    StoreError
        If the database cannot be used, or another process took it over.
    """
    with EventFileMerge(what.files, decode) as source, open_database(what.database) as engine:
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
            what.publisher,
            worker=WORKER,
            holder=f"{socket.gethostname()}/{os.getpid()}",
            grid=TickGrid(what.tick_us),
            declares=None if config is None else ConfigurationRecorder(WORKER, config),
        )
        summary = replay_records(runner, source, what.limits, stop=stop, progress=progress)
        if config is not None:
            log_head(read_head(engine, WORKER, runner.epoch, summary.reached_us))
        return summary


@contextmanager
def open_database(url: str) -> Iterator[Engine]:
    """Open a database of this build's schema; a SQLite file without any tables gets it first.

    Raises
    ------
    StoreError
        If it cannot be opened or has another schema; the message says what to run.
    """
    engine = open_engine(url)
    try:
        if engine.dialect.name == "sqlite" and not inspect(engine).get_table_names():
            upgrade(engine)
        with engine.connect() as conn:
            require_current(conn)
        yield engine
    finally:
        engine.dispose()
