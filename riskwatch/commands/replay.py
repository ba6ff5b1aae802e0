"""``riskwatch replay``: process files of events with the whole pipeline into one database."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.times import moment_of
from riskwatch.config.toml import parse_duration
from riskwatch.core.clock import SECOND
from riskwatch.engine.publish import NdjsonPublisher, NullPublisher
from riskwatch.engine.replay import BATCH, ReplayJob, ReplayLimits, replay_files, stop_on_signals
from riskwatch.errors import RiskwatchError
from riskwatch.worker import logs
from riskwatch.worker.settings import ProcessSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from riskwatch.config.config import Config
    from riskwatch.engine.pipeline import Pipeline
    from riskwatch.engine.replay import ReplaySummary

INTERRUPTED: Final = 130
"""Exit code after SIGINT; all applied events are committed, and the next run resumes there."""


def replay_command(
    files: Annotated[list[Path], typer.Argument(help="NDJSON files of events.")],
    *,
    database: Database = DEFAULT,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="RISKWATCH_CONFIG", help="Folder of rules and limits; else the shipped ones."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Stop before the first event later than this RFC 3339 time.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write every output to stdout, one JSON per line.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Events per transaction.")] = BATCH,
    max_events: Annotated[
        int | None, typer.Option(min=0, help="Stop after this many events of this run.")
    ] = None,
    keep_events: Annotated[
        bool, typer.Option("--keep-events", help="Keep every event in the journal.")
    ] = False,
    tick: Annotated[str, typer.Option(help="Width of the event-time grid, e.g. 60s.")] = "60s",
) -> None:
    """Replay files by event time, resuming at the state of the database.

    The result does not depend on the batch size, nor on where a run was stopped or killed.
    """
    from riskwatch.engine import bootstrap  # noqa: PLC0415 - models take a second to import

    what = ReplayJob(
        files=files,
        database=database,
        tick_us=tick_width(tick),
        limits=ReplayLimits(
            batch, None if until is None else moment_of("--until", until), max_events
        ),
        publisher=NdjsonPublisher(sys.stdout.buffer) if as_json else NullPublisher(),
    )
    rules = bootstrap.configuration(config)
    run_replay(what, partial(bootstrap.pipeline, keep_events=keep_events), rules)


def run_replay(
    what: ReplayJob,
    pipeline: Pipeline | Callable[[Config], Pipeline],
    config: Config | None = None,
) -> ReplaySummary:
    """Replay with logs, a progress bar on a terminal, and an orderly stop on a signal.

    Raises
    ------
    RiskwatchError
        If something cannot be read or written; the message names the remedy.
    """
    settings = ProcessSettings.read()
    logs.configure_logging(settings.log_level, settings.log_format)
    try:
        with stop_on_signals() as stop, _bar() as progress:
            summary = replay_files(what, pipeline, config=config, stop=stop, progress=progress)
    except BrokenPipeError as error:
        raise RiskwatchError(
            "stdout was closed: what was not written waits in the database and comes first "
            "when the replay goes on with --json"
        ) from error
    if stop.signal == signal.SIGINT:
        raise typer.Exit(INTERRUPTED)
    return summary


def tick_width(text: str) -> int:
    """Return the microseconds of ``--tick``.

    Raises
    ------
    RiskwatchError
        If it is not a duration, or shorter than a second.

    Examples
    --------
    >>> tick_width("1m30s")
    90000000
    """
    try:
        width = round(parse_duration(text) * SECOND)
    except ValueError as error:
        raise RiskwatchError(f"--tick must be a duration such as 60s, was {text!r}") from error
    if width < SECOND:
        raise RiskwatchError(f"--tick must be at least 1s, was {text!r}")
    return width


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None] | None]:
    """Show a progress bar on stderr, if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("replay"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("replay")
        yield lambda done, total: bar.update(task, completed=done, total=total)
