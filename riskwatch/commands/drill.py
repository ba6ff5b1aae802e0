"""``riskwatch killswitch drill`` and ``drills``: exercise the order paths, and look back."""

from __future__ import annotations

import time
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any, Final

import msgspec
import typer

from riskwatch.commands import sender as s
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.query import Json, show_rows
from riskwatch.core.clock import micros, text
from riskwatch.core.ids import output_id
from riskwatch.core.scopes import is_scope
from riskwatch.errors import ConfigError, RiskwatchError
from riskwatch.shell.drills import PASSED, Report, told
from riskwatch.store import drills as table
from riskwatch.store.queries import plain, reading

_LOOK_S: Final = 0.2
_NAMES: Final = (
    "signalled", "id", "scope", "outcome", "answered", "slowest", "person", "plan", "reason",
)  # fmt: skip


@s.sending
def drill_command(
    *,
    scope: Annotated[str, typer.Option(help="Scope to exercise, such as firm or asset:USDC.")],
    reason: s.Reason,
    expect: Annotated[
        list[str] | None, typer.Option(help="A client that must answer; may be repeated.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the report.")] = 30.0,
    report: Annotated[
        Path | None, typer.Option(help="Folder for the report, as text and as JSON.")
    ] = None,
    sender: s.Sender,
) -> None:
    """Exercise a HALT with every order path, and show that nothing real changed.

    It goes the way of every command: signed, verified and recorded by the risk worker, which
    signals it. Each client puts the scope to HALT on a copy of its table, asks it about an order
    and a cancel, and says so. The exit code is 2 unless every client that is known answered as
    it must.
    """
    if not is_scope(scope):
        raise ConfigError("command line", "--scope", "a scope, such as firm or asset:USDC", scope)
    cause = sender.send("drill", scope, reason, {"expect": sorted(expect)} if expect else {})
    if not sender.live:
        return
    done = _judged(sender.database, output_id(cause, "DrillSignalled", scope), timeout)
    typer.echo(told(done), nl=False)
    if report is not None:
        _write(report, done)
    if done.outcome != PASSED:
        raise RiskwatchError(f"drill {done.id}: {done.outcome}: {'; '.join(done.problems)}")


def drills_command(
    *,
    limit: Annotated[int, typer.Option(min=1, help="Most drills to show.")] = 20,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show past drills, the newest first."""
    with reading(database) as conn:
        found = table.drills(conn, limit)
    if as_json:
        for drill in found:
            said = {name: plain(value) for name, value in drill.items()}
            typer.echo(msgspec.json.encode(said).decode())
        return
    show_rows(list(_NAMES), [_row(drill) for drill in found])


def _row(drill: dict[str, Any]) -> list[str]:
    return [
        text(micros(drill["sent_ts"]) // 1_000_000 * 1_000_000),
        drill["id"],
        drill["scope"],
        drill["outcome"] or "not judged",
        f"{drill['answered']} of {drill['expected']}",
        "" if drill["slowest_s"] is None else f"{drill['slowest_s']:.3f} s",
        drill["person"],
        drill["plan"],
        drill["reason"],
    ]


def _judged(database: str, drill_id: str, timeout: float) -> Report:
    """Wait for the report of a drill."""
    deadline = time.monotonic() + timeout
    while True:
        with reading(database) as conn:
            found = table.drill(conn, drill_id)
        if found is not None:
            return msgspec.convert(found["report"], type=Report)
        if time.monotonic() > deadline:
            raise RiskwatchError(
                f"drill {drill_id}: no report after {timeout:g} s: does `run clients` run?"
            )
        time.sleep(_LOOK_S)


def _write(folder: Path, done: Report) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{done.id}.txt").write_text(told(done))
        (folder / f"{done.id}.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(done), indent=2) + b"\n"
        )
    except OSError as error:
        raise RiskwatchError(f"drill: the report cannot be written: {error}") from error
