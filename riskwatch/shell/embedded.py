"""The embedded shell: files through the whole pipeline into one database, in one process."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from riskwatch.core.clock import text
from riskwatch.shell.draft import since

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

    from riskwatch.shell.record import Record
    from riskwatch.shell.runner import Runner
    from riskwatch.store.batch import StreamOffset

WORKER: Final = "embedded"
"""Name of the one worker of an embedded database."""
BATCH: Final = 1000
"""Records per transaction, unless told otherwise."""

log = structlog.get_logger("riskwatch.replay")


class Source(Protocol):
    """Records to be had one after the other, from where the offsets say."""

    more: bool
    """Whether the last :meth:`records` stopped before an event that was too late for it."""

    def resume(self, offsets: Mapping[str, StreamOffset]) -> None:
        """Go on behind what was consumed."""
        ...

    def records(self, until_us: int | None = None) -> Iterator[Record]:
        """Yield records; what was yielded counts as consumed."""
        ...

    def offsets(self) -> list[StreamOffset]:
        """Offsets that are new since the last call."""
        ...

    def progress(self) -> tuple[int, int]:
        """Return how much is done, and of how much."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
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
class Stop:
    """Whether somebody asked to stop, and by which signal."""

    signal: int | None = None


@dataclass(frozen=True, slots=True)
class Summary:
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


def replay(
    runner: Runner,
    source: Source,
    limits: Limits | None = None,
    *,
    stop: Stop | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
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
    limits, stop = limits or Limits(), stop or Stop()
    source.resume(runner.begin().offsets)
    before, started = runner.counts, perf_counter()
    ended = _run(runner, source, limits, stop, progress)
    if ended in ("files", "until"):
        _close(runner, limits.until_us, more=source.more)
    runner.commit(source.offsets())
    runner.commit([])  # says that the last outputs are published
    if progress is not None:
        progress(*source.progress())
    summary = Summary(
        **since(runner.counts, before),
        reached_us=runner.us,
        seconds=perf_counter() - started,
        ended=ended,
    )
    _log(summary)
    return summary


def _run(
    runner: Runner,
    source: Source,
    limits: Limits,
    stop: Stop,
    progress: Callable[[int, int], None] | None,
) -> str:
    """Apply records batch by batch; returns why it ended. The last batch is left open."""
    if limits.max_events == 0:
        return "max_events"
    for done, record in enumerate(source.records(limits.until_us), start=1):
        runner.offer(record)
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


def _log(summary: Summary) -> None:
    log.info(
        "replay ended",
        because=summary.ended,
        read=summary.read,
        applied=summary.applied,
        duplicate=summary.duplicate,
        rejected=summary.rejected,
        events_per_s=round(summary.read / summary.seconds) if summary.seconds else 0,
        reached=text(summary.reached_us) if summary.reached_us else None,
    )


@contextmanager
def stopping() -> Iterator[Stop]:
    """Let SIGINT and SIGTERM ask for a stop instead of ending the process.

    A second signal of the same kind ends it as usual.
    """
    stop = Stop()
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
