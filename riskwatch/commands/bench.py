"""``riskwatch bench``: labelled episodes and recordings under every contender, scored."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Column, Table

from riskwatch import scenarios
from riskwatch.bench import recordings
from riskwatch.bench.board import Board
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.errors import RiskwatchError
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from riskwatch.bench.trial import Trial
    from riskwatch.shell.config import Config

WIDE: Final = 200
"""Characters of a line: a table that is wrapped cannot be compared or searched."""


def bench_command(
    *,
    episodes: Annotated[
        str | None,
        typer.Option(
            help="Names of the pack, comma-separated; else all of it, or none beside --folder."
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of recordings to run."),
    ] = None,
    with_pack: Annotated[
        bool,
        typer.Option(
            "--with-pack",
            help="The pack beside the recordings: then static rules are chosen on both.",
        ),
    ] = False,
    labels: Annotated[
        Path | None, typer.Option(help="TOML of what was right there; else the public ones'.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds per episode; else the episode's own.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that run episodes side by side.")] = 1,
    html: Annotated[Path | None, typer.Option(help="Write the report with plots here.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="RISKWATCH_CONFIG", help="Folder of rules and limits; else the shipped ones."
        ),
    ] = None,
    database: Database = DEFAULT,
) -> None:
    """Score the ladder against the rules, each generation and the best static rules.

    Prints wins and losses alike, and stores them: `riskwatch sql "SELECT * FROM scoreboard"`.
    """
    from riskwatch.shell import bootstrap  # noqa: PLC0415 - models take a second to import

    made = bootstrap.configuration(config)
    console = Console(width=WIDE)
    told = Console(stderr=True)
    pack = folder is None or with_pack
    names = _names(episodes) if episodes is not None else scenarios.names() if pack else []
    trials = []
    for trial in _done(_due(made, names, folder, labels, seeds), jobs):
        trials.append(trial)
        told.print(f"{trial.case.name} seed {trial.seed}: done", highlight=False)
    if not trials:
        raise RiskwatchError("nothing to run: no episode and no recording was found")
    board = Board.of(trials)
    _print(console, board)
    number = _store(database, board, made.digest)
    console.print(f"run {number} of the scoreboard is in {database}", highlight=False)
    if html is not None:
        _report(html, board, made.digest)


def _names(episodes: str) -> list[str]:
    """Which episodes of the pack."""
    return [name.strip() for name in episodes.split(",") if name.strip()]


def _due(
    config: Config,
    names: Sequence[str],
    folder: Path | None,
    labels: Path | None,
    seeds: int | None,
) -> list[Callable[[], Trial]]:
    """Every run that is asked for, ready to be started."""
    from riskwatch.commands.trials import episode_trial, recording_trial  # noqa: PLC0415

    # Everything is read before the first run, so that a mistake shows at once.
    chosen = [scenarios.load(name) for name in names]
    recorded = () if folder is None else recordings.parse(*_labels(labels))
    if labels is not None and folder is None:
        raise RiskwatchError("--labels says what was right of recordings: name their --folder")
    due: list[Callable[[], Trial]] = [
        partial(episode_trial, config, episode, seed)
        for episode in chosen
        for seed in (episode.seeds if seeds is None else range(1, seeds + 1))
    ]
    if folder is not None:
        due += [partial(recording_trial, config, recording, folder) for recording in recorded]
    return due


def _done(due: Sequence[Callable[[], Trial]], jobs: int) -> Iterator[Trial]:
    """Carry out runs in `jobs` processes; yields them in the order given, whichever ends first."""
    if min(jobs, len(due)) <= 1:
        for run in due:
            yield run()
        return
    with ProcessPoolExecutor(min(jobs, len(due)), get_context("spawn")) as pool:
        # Recordings are last, and the longest: they start first, so that none is waited for alone.
        waiting = [pool.submit(run) for run in reversed(due)]
        try:
            while waiting:
                yield waiting.pop().result()
        except BrokenProcessPool as error:
            raise RiskwatchError(
                "a process that ran an episode was killed, likely for want of memory: "
                "take fewer --jobs"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _labels(path: Path | None) -> tuple[bytes, str]:
    if path is None:
        return recordings.shipped(), "recordings.toml"
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise RiskwatchError(f"{path}: cannot be read: {error.strerror}") from error


def _print(console: Console, board: Board) -> None:
    for title, rows in (
        ("minutes from the onset; false alarms as WATCH/REDUCE/HALT", board.table()),
        ("probabilities on matured labels", board.scores()),
        ("false alarms per entity-month", board.rates()),
    ):
        if rows:
            columns = [Column(name, no_wrap=True) for name in rows[0]]
            table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
            for row in rows:
                table.add_row(*(str(cell) for cell in row.values()))
            console.print(table, soft_wrap=True)
            console.print()
    for criterion in board.criteria:
        console.print(criterion.line, highlight=False, markup=False, soft_wrap=True)


def _store(url: str, board: Board, digest: str) -> int:
    from riskwatch.shell.session import database  # noqa: PLC0415
    from riskwatch.store.scoreboard import write_run  # noqa: PLC0415

    run = {
        "engine": ENGINE,
        "config": digest,
        "cases": len({trial.case.name for trial in board.trials}),
        "trials": len(board.trials),
    }
    with database(url) as engine:
        return write_run(engine, run, board.results(), board.judgements(), board.verdicts())


def _report(path: Path, board: Board, digest: str) -> None:
    from riskwatch.bench.page import page  # noqa: PLC0415

    text = page(board, digest)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RiskwatchError(f"{path}: cannot be written: {error.strerror}") from error
    typer.echo(f"report written to {path}", err=True)
