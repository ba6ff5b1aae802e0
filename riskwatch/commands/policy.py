"""``riskwatch policy``: what a change of the rules would have done."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy import select

from riskwatch import scenarios
from riskwatch.audit.rederivation import Rederivation
from riskwatch.bench.case import Case
from riskwatch.bench.policy_diff import PolicyRun, compare_runs, diff_page, policy_run
from riskwatch.commands.query import Json  # noqa: TC001 - typer reads annotations
from riskwatch.commands.replay import tick_width
from riskwatch.config import paths
from riskwatch.config.change import attach_diff
from riskwatch.config.config import load
from riskwatch.config.recorder import decode_record, restore_config
from riskwatch.config.sources import with_unproven
from riskwatch.config.unconfirmed import with_unconfirmed
from riskwatch.contracts.naming import EventNamer
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.outputs import Output
from riskwatch.core.readings import CounterpartyReading, PartitionFault
from riskwatch.engine.clock import wall
from riskwatch.engine.file import EventFileMerge
from riskwatch.engine.record import cause_of
from riskwatch.engine.replay import decode_until, risk_inputs, risk_outputs
from riskwatch.errors import ConfigError, StoreError
from riskwatch.store import queries
from riskwatch.store.audit import last_configuration
from riskwatch.store.truth import RISK_JOURNAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy.engine import Connection

    from riskwatch.bench.policy_diff import PolicyDiff
    from riskwatch.config.config import Config
    from riskwatch.core.events import Event

SHIPPED: Final = "shipped"
RECORDED: Final = "recorded"
DIFFERENT: Final = 3
"""Exit code of ``--exit-code`` if the policies decide differently."""

app = typer.Typer(help="What a change of the rules would have done.", no_args_is_help=True)


@app.callback()
def _policy() -> None:
    """Compare policies over the same events."""


@app.command("diff")
def diff_command(
    old: Annotated[
        str, typer.Argument(help="A folder; 'shipped'; or 'recorded', what a worker runs.")
    ],
    new: Annotated[str, typer.Argument(help="As OLD.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="NDJSON files of events; else the journal.")
    ] = None,
    *,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="RISKWATCH_DATABASE", help="Database whose journal is replayed; else FILES."
        ),
    ] = None,
    episode: Annotated[
        str | None, typer.Option(help="An embedded episode, with its labels, instead of files.")
    ] = None,
    tick: Annotated[str, typer.Option(help="Width of the event-time grid of files.")] = "60s",
    html: Annotated[Path | None, typer.Option(help="Write both side by side here.")] = None,
    attach: Annotated[
        bool,
        typer.Option("--attach", help="Attach the digest to NEW: its start records it."),
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with code 3 if there is a difference.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Replay the same events under two policies, and print what they decide differently.

    Decisions are gained, lost or moved. Equal policies print nothing. A journal answers about
    rules, limits, policy and models. What the ledger makes of events (reference data, the section
    [ledger]) needs the files, unless the journal keeps events.
    """
    _check_outputs(new, html, attach=attach)
    chosen = [bool(files), episode is not None]
    if all(chosen):
        raise ConfigError("command line", "--episode", "either files or an episode")
    if any(chosen):
        pair = _folder(old), _folder(new)
        case = None if episode is None else Case.of(scenarios.load(episode))
        runs = _runs_of_events(pair, files, episode, tick_width(tick), case)
    elif database is not None:
        pair, runs = _runs_of_journal(old, new, database)
    else:
        raise ConfigError("command line", "FILES", "files, --episode or --database")
    diff = compare_runs(*runs, (pair[0].digest, pair[1].digest))
    _print_diff(diff, as_json=as_json)
    if html is not None:
        html.write_text(diff_page(diff, f"{old} against {new}"), encoding="utf-8")
    if attach:
        attach_diff(Path(new), load(Path(new)), diff.digest)
    if exit_code and diff.shifts:
        raise typer.Exit(DIFFERENT)


def _check_outputs(new: str, html: Path | None, *, attach: bool) -> None:
    """Refuse what could not be written, before anything is replayed."""
    if html is not None and not html.parent.is_dir():
        raise ConfigError("command line", "--html", f"a file in a folder that exists, {html}")
    if attach and not Path(new).is_dir():
        raise ConfigError("command line", "--attach", "a folder of your own as NEW", new)


def _print_diff(diff: PolicyDiff, *, as_json: bool) -> None:
    """Print a difference; nothing if there is none."""
    if not as_json:
        for line in diff.lines():
            typer.echo(line)
    elif diff.shifts:
        typer.echo(json.dumps({**diff.content(), "digest": diff.digest}))


def _folder(name: str) -> Config:
    if name == RECORDED:
        raise ConfigError("command line", name, "a folder: only a database has recorded one")
    return load(paths.rules_folder() if name == SHIPPED else Path(name))


def _runs_of_events(
    pair: tuple[Config, Config],
    files: list[Path] | None,
    episode: str | None,
    tick_us: int,
    case: Case | None,
) -> tuple[PolicyRun, PolicyRun]:
    """Run both policies over files or an episode; ledger and market run once if they can."""
    made: list[PolicyRun] = []
    known = None
    with _spinner() as progress:
        for config in pair:
            progress(f"policy {len(made) + 1} of 2")
            first = (config.reference, config.policy.ledger, config.policy.market, config.names)
            if known is None or known[0] != first:
                events = scenarios.events(episode) if episode else _events(files or [])
                known = (first, risk_inputs(config, _named(events, config), tick_us)[0])
            outputs = (o for o in risk_outputs(config, known[1]) if isinstance(o, Output))
            made.append(policy_run(outputs, 0, case))
    return _with_one_end(made[0], made[1])


def _events(files: list[Path]) -> Iterator[Event]:
    """Yield the events of files by time, each identity once; refused lines are left out."""
    seen: dict[str, None] = {}
    with EventFileMerge(files, decode_until(wall())) as source:
        for record in source.records():
            event = record.event
            if isinstance(event, Refusal | CounterpartyReading | PartitionFault):
                continue
            identity = cause_of(event)
            if identity not in seen:
                seen[identity] = None
                yield event


def _named(events: Iterable[Any], config: Config) -> Iterator[Event]:
    """Yield events with canonical names; those that do not fit the contract so are left out."""
    namer = EventNamer(config.name_table)
    for event in events:
        changed = namer.changed(event)
        if changed is None:
            yield event
        elif not isinstance(changed, Refusal):
            yield changed


def _runs_of_journal(
    old: str, new: str, database: str
) -> tuple[tuple[Config, Config], tuple[PolicyRun, PolicyRun]]:
    """Run both policies over the journal of a database, with the commands that people gave."""
    with queries.open_reader(database) as conn:
        last = decode_record(last_configuration(conn))
        if last is None:
            raise StoreError("this database has no recorded configuration, so no journal: run it")
        pair = []
        for name in (old, new):
            config = restore_config(last) if name == RECORDED else _folder(name)
            pair.append(with_unproven(with_unconfirmed(config, last), last))
        worker = conn.execute(select(RISK_JOURNAL.c.worker).limit(1)).scalar_one_or_none()
        if worker is None:
            raise StoreError("this database has no journal: give the files of events")
        whole = Rederivation(conn, worker).keeps_events()
        ledger = [(each.reference, each.policy.ledger) for each in pair]
        if pair[0].names != pair[1].names:
            typer.echo(
                "note: the journal has canonical names: other aliases need the files", err=True
            )
        if ledger[0] != ledger[1] and not whole:
            typer.echo(
                "note: the journal holds readings of the ledger, not its events: what the ledger "
                "makes of changed reference data or [ledger] needs the files",
                err=True,
            )
        made: list[PolicyRun] = []
        with _spinner() as progress:
            for config in pair:
                progress(f"policy {len(made) + 1} of 2")
                made.append(_journal_run(conn, worker, config))
    return (pair[0], pair[1]), _with_one_end(made[0], made[1])


def _journal_run(conn: Connection, worker: str, config: Config) -> PolicyRun:
    replay = Rederivation(conn, worker, config=config)
    outputs = replay.outputs()
    run = policy_run(outputs, 0)
    return run._replace(end=max(run.end, replay.reached[1]))


def _with_one_end(old: PolicyRun, new: PolicyRun) -> tuple[PolicyRun, PolicyRun]:
    """Let stays that did not end last until the end of both runs."""
    end = max(old.end, new.end)

    def until(run: PolicyRun) -> PolicyRun:
        stays = tuple(s if s.ended else s._replace(end=end) for s in run.stays)
        return run._replace(stays=stays, end=end)

    return until(old), until(new)


@contextmanager
def _spinner() -> Iterator[Callable[[str], None]]:
    """Show on stderr which policy runs, if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")
        yield lambda text: bar.update(task, description=text)
