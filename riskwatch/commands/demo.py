"""``riskwatch demo``: run an embedded episode through the whole pipeline, on the screen."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import structlog
import typer
from rich.console import Console

from riskwatch import scenarios
from riskwatch.commands.query import show_rows
from riskwatch.dashboard.board import Board
from riskwatch.dashboard.view import DashboardView, PlaybackClock, check_picture
from riskwatch.errors import RiskwatchError
from riskwatch.store import queries
from riskwatch.store.explain import explain_decision
from riskwatch.store.user_query import run_user_query

if TYPE_CHECKING:
    from riskwatch.config.config import Config
    from riskwatch.engine.ports import Store
    from riskwatch.engine.replay import ReplaySummary
    from riskwatch.scenarios.episode import Episode
    from riskwatch.store.batch import Batch, OutboxRecord, ResumePoint

EPISODE: Final = "usdc_2023"
LIVE_S: Final = 20.0
"""Duration of the window on a live screen, seconds."""
BATCH: Final = 200
"""Events per transaction, and so per update of the screen."""
FILE: Final = "riskwatch-demo.db"

FOLLOW_UP: Final = (
    (
        "What do we have with whom, and how much of it is looked through to the coin's issuer?",
        (
            "SELECT party, level, via, share, gross_usd FROM exposure_by_issuer "
            "ORDER BY gross_usd DESC LIMIT 6"
        ),
    ),
    (
        "What is allowed now?",
        (
            "SELECT scope, effective, cause, quality, ts FROM killswitch_now "
            "WHERE effective <> 'NORMAL' OR state <> 'NORMAL' ORDER BY scope"
        ),
    ),
    (
        "How did it come to that?",
        (
            "SELECT ts, scope, state, rule, cause FROM decision "
            "WHERE scope LIKE 'asset:%' ORDER BY ts LIMIT 12"
        ),
    ),
)
"""Likely next questions, and the queries that answer them."""


@dataclass(slots=True)
class DisplayedStore:
    """A store that displays each batch after its commit."""

    store: Store
    show: DashboardView
    read: int = 0

    def take_lease(self, worker: str, holder: str) -> ResumePoint:
        """Take the lease of the wrapped store."""
        return self.store.take_lease(worker, holder)

    def commit(self, batch: Batch) -> None:
        """Commit a batch, then display it."""
        self.store.commit(batch)
        new, self.read = batch.counts.read - self.read, batch.counts.read
        self.show.batch(batch.us, [s.output for s in batch.outputs], new)

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> list[OutboxRecord]:
        """Return the pending records of the wrapped store."""
        return self.store.pending(worker, limit, latest_only=latest_only)


def demo_command(
    *,
    speed: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Seconds of event time per second; 0 for as fast as possible.",
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Lines of text, no terminal control; for logs.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same events.")] = 1,
    database: Annotated[Path, typer.Option(help="SQLite file to fill; it is replaced.")] = Path(
        FILE
    ),
    capture: Annotated[
        Path | None,
        typer.Option(help="Write a picture of the decisive moment to this .svg or .txt file."),
    ] = None,
) -> None:
    """Run USDC's weekend off its peg in March 2023, with the events of a sample firm."""
    from riskwatch.engine import bootstrap  # noqa: PLC0415 - models take a second to import

    if capture is not None:
        check_picture(capture)
    console = Console(soft_wrap=plain)
    live = console.is_terminal and not plain
    episode = scenarios.load(EPISODE)
    window = (episode.end - episode.start).total_seconds()
    pace = PlaybackClock(speed if speed is not None else (window / LIVE_S if live else 0.0))
    config = bootstrap.configuration()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    _renew(database)
    board = Board(
        episode.title,
        episode.start,
        episode.end,
        {name: a.issuer for name, a in config.reference.assets.items() if a.issuer is not None},
    )
    with DashboardView(board, console, live=live, pace=pace, capture=capture) as show:
        summary = _play(episode, seed, config, database, show)
    _epilogue(console, show, database, summary)


def _renew(database: Path) -> None:
    """Remove the database of an earlier demo; refuse to remove any other file."""
    if database.exists() and not database.read_bytes()[:16].startswith(b"SQLite format 3"):
        raise RiskwatchError(f"{database} exists and is no SQLite file: name another --database")
    for suffix in ("", "-wal", "-shm", "-journal"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)


def _play(
    episode: Episode, seed: int, config: Config, database: Path, show: DashboardView
) -> ReplaySummary:
    from riskwatch.engine import bootstrap  # noqa: PLC0415
    from riskwatch.engine.replay import ReplayJob, ReplayLimits, replay_files, stop_on_signals  # noqa: PLC0415  # noqa: PLC0415

    encode = msgspec.json.Encoder().encode
    with TemporaryDirectory(prefix="riskwatch-demo-") as folder, stop_on_signals() as stop:
        events = Path(folder) / f"{episode.name}.ndjson"
        with events.open("wb") as sink:
            for event in scenarios.events(episode, seed):
                sink.write(encode(event) + b"\n")
        what = ReplayJob([events], f"sqlite:///{database}", limits=ReplayLimits(batch=BATCH))
        return replay_files(
            what,
            bootstrap.pipeline(config),
            config=config,
            stop=stop,
            wrap=lambda store: DisplayedStore(store, show),
        )


def _epilogue(
    console: Console, show: DashboardView, database: Path, summary: ReplaySummary
) -> None:
    """Explain the decisive signal, and answer the likely next questions."""
    url = f"sqlite:///{database}"
    write = partial(console.print, markup=False, highlight=False, soft_wrap=True, emoji=False)
    write(f"\n{summary.read:,} events in {summary.seconds:.1f} s, all of it now in {database}.\n")
    with queries.open_reader(url) as conn:
        if show.decisive is not None:
            _, decision = queries.find_alert_and_decision(conn, show.decisive.id)
            assert decision is not None, "a decision that was shown is committed"
            switches = queries.switches_of(conn, show.decisive.id)
            write(
                f"The decisive signal, as `riskwatch explain {show.decisive.id[:12]}` tells it:\n"
            )
            for line in explain_decision(decision, switches):
                write(line)
        for question, query in FOLLOW_UP:
            write(f"\n{question}\n  riskwatch sql --database {url} \\\n    {query!r}")
            names, rows, _ = run_user_query(conn, query, limit=50)
            show_rows(names, rows)
