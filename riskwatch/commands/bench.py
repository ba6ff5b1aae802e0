"""``riskwatch bench``: run labelled episodes and recordings with every contender; score them."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from heapq import merge
from multiprocessing import get_context
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Column, Table

from riskwatch import scenarios
from riskwatch.bench import recordings
from riskwatch.bench.case import Case
from riskwatch.bench.scoreboard import Scoreboard
from riskwatch.bench.static import PLAIN, DeviationReading, alarms
from riskwatch.bench.timeline import StateChange
from riskwatch.bench.trial import (
    ALONE,
    ENSEMBLE,
    RULES,
    Prediction,
    Trial,
    generation_changes,
    generations,
)
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.core.clock import SECOND, micros
from riskwatch.core.enums import Cause, QualityIssue, State
from riskwatch.core.events import Quote
from riskwatch.core.outputs import DataQualityRaised, DecisionMade, ScoreUpdated
from riskwatch.core.readings import CounterpartyReading, MarketReading
from riskwatch.core.scopes import BOOK, FIRM, parse
from riskwatch.engine.replay import risk_inputs, risk_outputs
from riskwatch.errors import FeedError, RiskwatchError
from riskwatch.feeds.importer import plan, read_quotes
from riskwatch.feeds.record import Tally
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from riskwatch.bench.recordings import Recording
    from riskwatch.config.config import Config
    from riskwatch.core.events import Event
    from riskwatch.core.reference import Reference
    from riskwatch.scenarios.episode import Episode


# Runs of one case of the scoreboard with every contender.

FEEDS = (QualityIssue.FEED_STALE, QualityIssue.FEED_OUTLIER, QualityIssue.FEED_SPIKE)
NEUTRAL_CAUSES = (Cause.LIMIT, Cause.OPERATOR)
"""Causes that say nothing about the subject of the scope."""


def without_models(config: Config) -> Config:
    """Return the same policy without models, so that static rules alone decide."""
    policy = config.policy
    models = msgspec.structs.replace(policy.models, targets=(), generations=())
    risk = msgspec.structs.replace(policy.risk, asks=())
    return msgspec.structs.replace(
        config, policy=msgspec.structs.replace(policy, models=models, risk=risk)
    )


def episode_trial(config: Config, episode: Episode, seed: int) -> Trial:
    """Run an episode of the pack with one seed."""
    events = scenarios.events(episode, seed)
    return _trial(config, Case.of(episode), seed, events, episode.tick_s * SECOND)


def recording_trial(config: Config, recording: Recording, folder: Path) -> Trial:
    """Run a recorded window.

    Raises
    ------
    FeedError
        If a pattern matches no file, or a file cannot be read.
    """
    streams = []
    for pattern in recording.files:
        found = sorted(folder.glob(pattern))
        if not found:
            raise FeedError(f"{recording.name}: {folder} has no {pattern}")
        for file in found:
            made = plan(
                file,
                venue=recording.venue,
                base=recording.base,
                quote=recording.quote,
                since_us=micros(recording.start),
                until_us=micros(recording.end),
            )
            streams.append(read_quotes(made, Tally()))
    events = merge(*streams, key=lambda event: event.ts)
    tick_us = recording.tick_s * SECOND
    return _trial(config, recording.case(), 0, events, tick_us, as_quoted=recording.as_quoted)


def _trial(
    config: Config,
    case: Case,
    seed: int,
    events: Iterable[Event],
    tick_us: int,
    *,
    as_quoted: bool = False,
) -> Trial:
    prices = PegPrices(config.reference)
    inputs, outputs = risk_inputs(config, prices.note_prices(events), tick_us)
    seen, parties = _deviations(inputs, config.reference, as_quoted=as_quoted)
    rules, _ = _run(without_models(config), inputs)
    ensemble, scores = _run(config, inputs)
    changes = {RULES: rules, ENSEMBLE: ensemble, PLAIN.name: alarms(PLAIN, seen, State.WATCH)}
    changes |= {ALONE + name: generation_changes(scores, name) for name in generations(scores)}
    return Trial(
        case=case,
        seed=seed,
        seen=seen,
        feeds=[o.subject for o in outputs if isinstance(o, DataQualityRaised) and o.issue in FEEDS],
        parties=parties,
        changes=changes,
        scores=scores,
        prices=prices.by_feed,
    )


class PegPrices:
    """Collects the prices of one direct feed per pegged coin, for the plots only."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._feed: dict[str, str] = {}
        self.by_feed: dict[str, list[tuple[int, float]]] = {}

    def note_prices(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield events unchanged, and collect prices; the first feed of a coin is used."""
        for event in events:
            if isinstance(event, Quote) and event.last is not None:
                self._note(event, float(event.last))
            yield event

    def _note(self, quote: Quote, last: float) -> None:
        peg = self._reference.asset(quote.base).peg
        if peg is None or peg not in (quote.quote, self._reference.asset(quote.quote).peg):
            return
        feed = f"{quote.venue}:{quote.base}/{quote.quote}"
        if self._feed.setdefault(quote.base, feed) == feed:
            points = self.by_feed.setdefault(feed, [])
            points.append((micros(quote.ts), (last - 1.0) * 1e4))


def _deviations(
    inputs: list[Any], reference: Reference, *, as_quoted: bool
) -> tuple[dict[str, list[DeviationReading]], int]:
    """Return the deviations of the pegged coins, and the number of monitored counterparties."""
    seen: dict[str, list[DeviationReading]] = {}
    parties: dict[str, None] = {}
    for reading in inputs:
        if isinstance(reading, CounterpartyReading):
            parties[reading.counterparty] = None
        elif isinstance(reading, MarketReading):
            parties |= {venue.venue: None for venue in reading.venues}
            for asset in reading.assets:
                if reference.promises_fiat(reference.asset(asset.asset)):
                    trusted = asset.live > 0 and (asset.fiat_path or as_quoted)
                    series = seen.setdefault(asset.asset, [])
                    series.append(DeviationReading(reading.us, asset.deviation_bp, trusted))
    return seen, len(parties)


def _run(config: Config, inputs: list[Any]) -> tuple[list[StateChange], list[Prediction]]:
    """Run the risk stage with one configuration; return its changes and its scores."""
    changes: list[StateChange] = []
    scores: list[Prediction] = []
    for made in risk_outputs(config, inputs):
        if isinstance(made, ScoreUpdated):
            us = micros(made.ts)
            scores.append(
                Prediction(us, made.scope, made.target, made.generation, made.probability)
            )
        elif isinstance(made, DecisionMade) and _counts(made):
            dollars = float(made.exposure_usd)
            change = (made.scope, made.previous, made.state, made.cause, dollars)
            changes.append(StateChange(micros(made.ts), *change))
    return changes, scores


def _counts(made: DecisionMade) -> bool:
    """Return whether a decision says something about the subject of its scope."""
    return parse(made.scope).kind not in (BOOK, FIRM) and made.cause not in NEUTRAL_CAUSES


WIDE: Final = 200
"""Characters of a line: a table with wrapped lines cannot be compared or searched."""


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
            help="Run the pack with the recordings; static rules are then chosen on both.",
        ),
    ] = False,
    labels: Annotated[
        Path | None,
        typer.Option(help="TOML with the labels of the recordings; else the shipped one."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Number of seeds per episode; else the episode's own.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that run episodes in parallel.")] = 1,
    html: Annotated[Path | None, typer.Option(help="Write the report with plots here.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="RISKWATCH_CONFIG", help="Folder of rules and limits; else the shipped ones."
        ),
    ] = None,
    database: Database = DEFAULT,
) -> None:
    """Score the ensemble against the rules, each generation and the best static rules.

    It prints wins and losses, and stores them: `riskwatch sql "SELECT * FROM scoreboard"`.
    """
    from riskwatch.engine import bootstrap  # noqa: PLC0415 - models take a second to import

    if html is not None:
        _require_report(html)
    made = bootstrap.configuration(config)
    console = Console(width=WIDE)
    progress = Console(stderr=True)
    pack = folder is None or with_pack
    names = _names(episodes) if episodes is not None else scenarios.names() if pack else []
    trials = []
    for trial in _done(_due(made, names, folder, labels, seeds), jobs):
        trials.append(trial)
        progress.print(f"{trial.case.name} seed {trial.seed}: done", highlight=False)
    if not trials:
        raise RiskwatchError("nothing to run: no episode and no recording was found")
    board = Scoreboard.of(trials)
    _print(console, board)
    number = _store(database, board, made.digest)
    console.print(f"run {number} of the scoreboard is in {database}", highlight=False)
    if html is not None:
        _report(html, board, made.digest)


def _names(episodes: str) -> list[str]:
    """Return the names of episodes in a comma-separated list."""
    return [name.strip() for name in episodes.split(",") if name.strip()]


def _due(
    config: Config,
    names: Sequence[str],
    folder: Path | None,
    labels: Path | None,
    seeds: int | None,
) -> list[Callable[[], Trial]]:
    """Return a callable for every requested run."""
    # Everything is read before the first run, so that an error appears at once.
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
    """Run the callables in `jobs` processes; yield the results in the given order."""
    if min(jobs, len(due)) <= 1:
        for run in due:
            yield run()
        return
    with ProcessPoolExecutor(min(jobs, len(due)), get_context("spawn")) as pool:
        # Recordings are last in the list and take longest, so they start first.
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
        return recordings.load_shipped(), "recordings.toml"
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise RiskwatchError(f"{path}: cannot be read: {error.strerror}") from error


def _print(console: Console, board: Scoreboard) -> None:
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


def _store(url: str, board: Scoreboard, digest: str) -> int:
    from riskwatch.engine.replay import open_database  # noqa: PLC0415
    from riskwatch.store.scoreboard import write_run  # noqa: PLC0415

    run = {
        "engine": ENGINE,
        "config": digest,
        "cases": len({trial.case.name for trial in board.trials}),
        "trials": len(board.trials),
    }
    with open_database(url) as engine:
        return write_run(engine, run, board.results(), board.judgements(), board.verdicts())


def _require_report(path: Path) -> None:
    """Refuse a report that could not be drawn or written, before anything runs."""
    from riskwatch.bench.plots import require_plots  # noqa: PLC0415 - matplotlib takes a second

    require_plots()
    if path.is_dir() or not path.parent.is_dir():
        raise RiskwatchError(
            f"{path}: cannot be written: --html takes a file in an existing folder"
        )


def _report(path: Path, board: Scoreboard, digest: str) -> None:
    from riskwatch.bench.page import page  # noqa: PLC0415

    text = page(board, digest)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RiskwatchError(f"{path}: cannot be written: {error.strerror}") from error
    typer.echo(f"report written to {path}", err=True)
