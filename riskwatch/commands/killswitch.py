"""``riskwatch killswitch``: turn the switch, and see who turned it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from riskwatch.commands import authority
from riskwatch.commands import sender as s
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.query import Json, killswitch_app, show_rows
from riskwatch.core.clock import micros, text
from riskwatch.core.scopes import is_scope
from riskwatch.errors import ConfigError, RiskwatchError
from riskwatch.shell.durations import seconds
from riskwatch.store import queries, turned

if TYPE_CHECKING:
    from riskwatch.commands.preview import Preview

_PLAIN: Final = 200

app = killswitch_app
app.command("set-limit")(authority.set_limit_command)
app.command("promote")(authority.promote_command)
app.command("demote")(authority.demote_command)

Scope = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE", help="firm, book:X, counterparty:X, asset:X or venue-asset:V/X."
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option("--config", envvar="RISKWATCH_CONFIG", help="Folder of rules; else the shipped."),
]
Last = Annotated[str | None, typer.Option("--for", help="How long, e.g. 30m.")]


@app.command("halt")
@s.sending
def halt_command(
    scope: Scope,
    *,
    reason: s.Reason,
    sender: s.Sender,
) -> None:
    """Halt a scope, at once. It stays so until two supervisors release it."""
    sender.send("halt", _scope(scope), reason, {})


@app.command("release")
@s.sending
def release_command(
    scope: Scope,
    *,
    reason: s.Reason = "",
    yes: s.Yes = False,
    config: Folder = None,
    sender: s.Sender,
    as_json: Json = False,
) -> None:
    """Show what releasing a HALT will do; with --yes, ask for it. Somebody else approves."""
    _show(_preview(sender.database, config, scope), as_json=as_json)
    if not _go(reason, yes=yes):
        return
    sender.send("release", scope, reason, {})


@app.command("override")
@s.sending
def override_command(
    scope: Scope,
    *,
    last: Annotated[str, typer.Option("--for", help="How long, e.g. 1h.")],
    state: Annotated[str, typer.Option(help="Where to: NORMAL, WATCH or REDUCE.")] = "REDUCE",
    reason: s.Reason = "",
    yes: s.Yes = False,
    config: Folder = None,
    sender: s.Sender,
    as_json: Json = False,
) -> None:
    """Lift a HALT for a while although its condition holds; with --yes, ask for it."""
    _show(_preview(sender.database, config, scope), as_json=as_json)
    if not _go(reason, yes=yes):
        return
    args = {"until": s.end_of(sender, _seconds(last)), "state": state}
    sender.send("override", scope, reason, args)


@app.command("approve")
@s.sending
def approve_command(
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="Scope that the request is about.")],
    *,
    request: Annotated[
        str | None, typer.Option(help="Id of the request; else the one that waits.")
    ] = None,
    reason: s.Reason = "",
    yes: s.Yes = False,
    config: Folder = None,
    sender: s.Sender,
    as_json: Json = False,
) -> None:
    """Show what waits for a second person, and what it will do; with --yes, approve it."""
    waits = request or _waiting(sender.database, scope)
    if is_scope(scope):
        _show(_preview(sender.database, config, scope), as_json=as_json)
    if not _go(reason, yes=yes):
        return
    sender.send("approve", scope, reason, {"request": waits})


@app.command("retire")
@s.sending
def retire_command(
    scope: Scope,
    *,
    reason: s.Reason,
    yes: s.Yes = False,
    sender: s.Sender,
) -> None:
    """Close a halted scope for good: its subject is gone, and the paging about it ends."""
    typer.echo(f"{scope} stays at HALT, and nobody is paged about it again", err=True)
    if not _go(reason, yes=yes):
        return
    sender.send("retire", _scope(scope), reason, {})


@app.command("silence")
@s.sending
def silence_command(
    scope: Scope,
    *,
    reason: s.Reason,
    last: Last = None,
    end: Annotated[bool, typer.Option("--end", help="End a silence instead.")] = False,
    sender: s.Sender,
) -> None:
    """Page nobody about a scope for a while; a HALT is told all the same."""
    if end == (last is not None):
        raise ConfigError("command line", "--for", "either --for or --end")
    args: dict[str, Any] = {"end": True}
    if last is not None:
        args = {"until": s.end_of(sender, _seconds(last))}
    sender.send("silence", _scope(scope), reason, args)


@app.command("acknowledge")
@s.sending
def acknowledge_command(
    scope: Scope,
    *,
    reason: s.Reason,
    sender: s.Sender,
) -> None:
    """Say that you have seen the open alert of a scope."""
    sender.send("acknowledge", _scope(scope), reason, {})


@app.command("unwind")
@s.sending
def unwind_command(
    scope: Scope,
    *,
    reason: s.Reason,
    last: Annotated[str, typer.Option("--for", help="How long, e.g. 30m.")],
    max_usd: Annotated[
        str | None, typer.Option(help="Most to trade, USD; else what is left of the policy's.")
    ] = None,
    max_slip_bp: Annotated[
        str | None, typer.Option(help="Furthest from the mid, bp; else the policy's.")
    ] = None,
    sender: s.Sender,
) -> None:
    """Open the way out of a HALT that the policy authorises beforehand, capped and for a while."""
    caps = {"max_usd": max_usd, "max_slip_bp": max_slip_bp}
    args = {"until": s.end_of(sender, _seconds(last))}
    args |= {name: value for name, value in caps.items() if value is not None}
    sender.send("unwind", _scope(scope), reason, args)


@app.command("history")
def history_command(
    *,
    scope: Annotated[str | None, typer.Option(help="Of one scope alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most rows to show.")] = 50,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show who commanded what, and what came of it, the newest first."""
    with queries.reading(database) as conn:
        rows = turned.history(conn, scope, limit)
    if as_json:
        for row in rows:
            plain = {name: queries.plain(value) for name, value in row.items()}
            typer.echo(msgspec.json.encode(plain).decode())
        return
    body = [
        [
            text(micros(row["ts"])),
            row["operator"] + ("" if row["authentic"] else " (NOT AUTHENTIC)"),
            row["action"],
            row["scope"],
            row["refusal"] or row["outcome"],
            row["detail"][:_PLAIN],
            row["reason"][:_PLAIN],
            row["request_id"] or "",
        ]
        for row in rows
    ]
    show_rows(
        ["when", "operator", "action", "scope", "outcome", "detail", "reason", "request"], body
    )


def _scope(scope: str) -> str:
    """Refuse what is no scope before it is signed."""
    if not is_scope(scope):
        raise ConfigError(
            "command line",
            "SCOPE",
            "firm, book:X, counterparty:X, asset:X or venue-asset:V/X",
            scope,
        )
    return scope


def _seconds(given: str) -> float:
    try:
        return seconds(given)
    except ValueError as error:
        raise ConfigError("command line", "--for", "a duration such as 30m", given) from error


def _preview(database: str, config: Path | None, scope: str) -> Preview:
    from riskwatch.commands.preview import preview  # noqa: PLC0415 - models take a second to import
    from riskwatch.shell import bootstrap  # noqa: PLC0415

    rules = bootstrap.configuration(config)
    with queries.reading(database) as conn:
        return preview(conn, rules, _scope(scope))


def _show(found: Preview, *, as_json: bool) -> None:
    """Say it on stderr: stdout may be where a signed command goes."""
    if as_json:
        plain = msgspec.to_builtins(found, builtin_types=())
        typer.echo(msgspec.json.encode(plain).decode(), err=True)
        return
    for line in found.lines():
        typer.echo("".join(c if c.isprintable() else "?" for c in line), err=True)


def _go(reason: str, *, yes: bool) -> bool:
    """Whether to do what was shown."""
    if not yes:
        typer.echo("nothing was sent: look at it, then say --yes --reason '...'", err=True)
        return False
    if not reason.strip():
        raise ConfigError("command line", "--reason", "why; it is recorded with your name")
    return True


def _waiting(database: str, scope: str) -> str:
    """Id of the request that waits on a scope."""
    with queries.reading(database) as conn:
        found = turned.controls(conn).get(scope)
    if found is None or found["request_id"] is None:
        raise RiskwatchError(f"nothing on {scope} waits for a second person")
    until = text(micros(found["request_until"]))
    typer.echo(
        f"{found['request_by']} asks for {found['request_action']} of {scope}, until {until}",
        err=True,
    )
    request: str = found["request_id"]
    return request
