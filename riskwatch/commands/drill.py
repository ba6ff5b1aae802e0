"""``riskwatch killswitch drill`` and ``drills``: exercise the order paths, and look back."""

from __future__ import annotations

import getpass
import uuid
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.query import Json, show_rows
from riskwatch.commands.stream import Kafka, connection
from riskwatch.contracts.acks import Drill
from riskwatch.core.clock import micros, text
from riskwatch.errors import RiskwatchError
from riskwatch.shell.drills import PASSED, Report, run_drill, told
from riskwatch.store import clients as table
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import require_current
from riskwatch.store.queries import reading

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def drill_command(
    *,
    scope: Annotated[str, typer.Option(help="Scope to exercise, such as firm or asset:USDC.")],
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "drill",
    person: Annotated[
        str | None, typer.Option(help="Who, for the record; the user of this system if unset.")
    ] = None,
    expect: Annotated[
        list[str] | None, typer.Option(help="A client that must answer; may be repeated.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for answers.")] = 10.0,
    report: Annotated[
        Path | None, typer.Option(help="Folder for the report, as text and as JSON.")
    ] = None,
    kafka: Kafka = None,
    database: Database = DEFAULT,
) -> None:
    """Exercise a HALT with every order path, and show that nothing real changed.

    Each client puts the scope to HALT on a copy of its table, asks it about an order and a
    cancel, and says so. The exit code is 2 unless all that spoke lately answered as they must.
    """
    wanted = Drill(
        id=f"drill-{uuid.uuid4().hex[:12]}",
        scope=scope,
        person=person or getpass.getuser(),
        reason=reason,
        ts=datetime.now(UTC),
    )
    engine = _open(database)
    try:
        done = run_drill(
            connection(kafka),
            wanted,
            lambda: _digest(engine),
            expect=expect or (),
            timeout_s=timeout,
        )
        table.write_drill(engine, _kept(done))
    finally:
        engine.dispose()
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
            typer.echo(msgspec.json.encode(drill).decode())
        return
    names = ["sent", "id", "scope", "outcome", "answered", "slowest", "person", "reason"]
    show_rows(
        names,
        [
            [
                text(micros(row["sent_ts"]) // 1_000_000 * 1_000_000),
                row["id"],
                row["scope"],
                row["outcome"],
                f"{row['answered']} of {row['expected']}",
                "" if row["slowest_s"] is None else f"{row['slowest_s']:.3f} s",
                row["person"],
                row["reason"],
            ]
            for row in found
        ],
    )


def _open(database: str) -> Engine:
    engine = open_engine(database)
    try:
        with engine.connect() as conn:
            require_current(conn)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _digest(engine: Engine) -> str:
    with engine.connect() as conn:
        return table.switch_digest(conn)


def _kept(done: Report) -> tuple[object, ...]:
    return (
        done.id, done.scope, done.person, done.reason, done.sent, done.outcome,
        len(done.expected), len(done.answered), done.slowest_s, done.digest_before,
        done.digest_after, msgspec.to_builtins(done),
    )  # fmt: skip


def _write(folder: Path, done: Report) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{done.id}.txt").write_text(told(done))
        (folder / f"{done.id}.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(done), indent=2) + b"\n"
        )
    except OSError as error:
        raise RiskwatchError(f"drill: the report cannot be written: {error}") from error
