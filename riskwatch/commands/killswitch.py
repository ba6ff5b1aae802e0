"""``riskwatch killswitch``: change states by signed command, run drills, and show the history."""

from __future__ import annotations

import os
import sys
import time
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import click
import msgspec
import typer

from riskwatch.acks.drills import PASSED, DrillReport, format_report
from riskwatch.commands import sender as s
from riskwatch.commands.db import DEFAULT, Database, Folder
from riskwatch.commands.query import Json, killswitch_app, show_rows
from riskwatch.config import paths
from riskwatch.config.config import load_name_table
from riskwatch.config.toml import parse_duration
from riskwatch.core.clock import micros, rfc3339
from riskwatch.core.enums import Restriction  # noqa: TC001 - typer reads the annotation
from riskwatch.core.ids import output_id
from riskwatch.core.names import canonical_scope
from riskwatch.core.scopes import (
    ACCOUNT,
    ASSET,
    BOOK,
    COUNTERPARTY,
    FIRM,
    VENUE_ASSET,
    is_scope,
    parse,
)
from riskwatch.core.text import visible, visible_lines
from riskwatch.engine.clock import wall_us
from riskwatch.errors import ConfigError, RiskwatchError, StoreError
from riskwatch.store import drills as table
from riskwatch.store import queries
from riskwatch.store.queries import json_value, open_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from riskwatch.commands.preview import ReleasePreview


# ``riskwatch killswitch set-limit|promote|demote``: limits and models, by signed command.

Target = Annotated[str, typer.Argument(help="Target, as `models.targets` spells it.")]
Generation = Annotated[str, typer.Argument(help="Name of the generation.")]
To = Annotated[str, typer.Option("--to", help="shadow, advisory, bounded or full.")]


@s.with_sender_options
def set_limit_command(
    limit: Annotated[str, typer.Argument(help="Id of the limit in limits.toml.")],
    *,
    scope: Annotated[str, typer.Option(help="Its scope: kind and subject, e.g. issuer:circle.")],
    hard_usd: Annotated[str, typer.Option(help="New hard value, USD.")],
    warning_share: Annotated[str | None, typer.Option(help="New warning share, 0..1.")] = None,
    reason: s.Reason,
    sender: s.Sender,
) -> None:
    """Lower a limit at once, or request to raise it, which somebody else must approve."""
    args = {"limit": limit, "hard_usd": hard_usd}
    args |= {} if warning_share is None else {"warning_share": warning_share}
    sender.send("set_limit", scope, reason, args)


@s.with_sender_options
def promote_command(
    target: Target,
    generation: Generation,
    *,
    to: To,
    reason: s.Reason,
    sender: s.Sender,
) -> None:
    """Give a model generation more authority on a target."""
    args = {"target": target, "generation": generation, "to": to}
    sender.send("promote", "firm", reason, args)


@s.with_sender_options
def demote_command(
    target: Target,
    generation: Generation,
    *,
    to: To,
    reason: s.Reason,
    sender: s.Sender,
) -> None:
    """Reduce the authority of a model generation on a target."""
    args = {"target": target, "generation": generation, "to": to}
    sender.send("demote", "firm", reason, args)


# ``riskwatch killswitch drill`` and ``drills``: test the order paths, and show past tests.

_POLL_S: Final = 0.2
_NAMES: Final = (
    "signalled", "id", "scope", "outcome", "answered", "slowest", "person", "plan", "reason",
)  # fmt: skip


@s.with_sender_options
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
    """Test a HALT with every order path, and show that nothing real changed.

    The drill is a signed command, which the risk worker verifies, records and signals. Each client
    sets the scope to HALT on a copy of its table, checks an order and a cancel against the copy,
    and reports the result. The exit code is 2 unless every known client answered correctly.
    """
    if not is_scope(scope):
        raise ConfigError("command line", "--scope", "a scope, such as firm or asset:USDC", scope)
    cause = sender.send("drill", scope, reason, {"expect": sorted(expect)} if expect else {})
    if not sender.live:
        return
    done = _wait_for_report(sender.database, output_id(cause, "DrillSignalled", scope), timeout)
    typer.echo(visible_lines(format_report(done)), nl=False)
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
    with open_reader(database) as conn:
        found = table.drills(conn, limit)
    if as_json:
        for drill in found:
            plain = {name: json_value(value) for name, value in drill.items()}
            typer.echo(msgspec.json.encode(plain).decode())
        return
    show_rows(list(_NAMES), [_row(drill) for drill in found])


def _row(drill: dict[str, Any]) -> list[str]:
    return [
        rfc3339(micros(drill["sent_ts"]) // 1_000_000 * 1_000_000),
        drill["id"],
        drill["scope"],
        drill["outcome"] or "not judged",
        f"{drill['answered']} of {drill['expected']}",
        "" if drill["slowest_s"] is None else f"{drill['slowest_s']:.3f} s",
        drill["person"],
        drill["plan"],
        drill["reason"],
    ]


def _wait_for_report(database: str, drill_id: str, timeout: float) -> DrillReport:
    """Wait for the report of a drill, and return it."""
    deadline = time.monotonic() + timeout
    while True:
        with open_reader(database) as conn:
            found = table.drill(conn, drill_id)
        if found is not None:
            return msgspec.convert(found["report"], type=DrillReport)
        if time.monotonic() > deadline:
            raise RiskwatchError(
                f"drill {drill_id}: no report after {timeout:g} s: does `run clients` run?"
            )
        time.sleep(_POLL_S)


def _write(folder: Path, done: DrillReport) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{done.id}.txt").write_text(format_report(done))
        (folder / f"{done.id}.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(done), indent=2) + b"\n"
        )
    except OSError as error:
        raise RiskwatchError(f"drill: the report cannot be written: {error}") from error


_PLAIN: Final = 200
_SUGGESTIONS: Final = 3

app = killswitch_app
app.command("set-limit")(set_limit_command)
app.command("promote")(promote_command)
app.command("demote")(demote_command)


def _canonical(scope: str) -> str:
    """Return a scope under its canonical names, and say so if they are others.

    A HALT must not wait for a configuration: without one, the worker looks the names up.
    """
    folder = os.environ.get("RISKWATCH_CONFIG")
    try:
        names = load_name_table(Path(folder) if folder else paths.rules_folder())
    except ConfigError as error:
        typer.echo(f"{scope} is sent as it is: {error}", err=True)
        return scope
    found = canonical_scope(names, scope, wall_us())
    if found != scope:
        typer.echo(f"{scope} is {found}", err=True)
    return found


Scope = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE",
        help="firm, book:X, counterparty:X, asset:X or venue-asset:V/X.",
        callback=_canonical,
    ),
]
Last = Annotated[str | None, typer.Option("--for", help="How long, e.g. 30m.")]


@app.command("halt")
@s.with_sender_options
def halt_command(
    scope: Scope,
    *,
    reason: s.Reason,
    restriction: Annotated[
        Restriction | None,
        typer.Option(help="What it restricts; by default what the policy says, as shipped: full."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Halt also a name that is unknown.")] = False,
    sender: s.Sender,
) -> None:
    """Halt a scope at once. It stays halted until two supervisors release it.

    Of restriction `market`, orders that lower market risk pass; of `claim`, withdrawals and a share
    of closing orders; of `full`, withdrawals alone.

    A scope whose name nobody holds, quotes or lists is sent with --yes, or after a question.
    """
    to = _scope(scope)
    if sender.live and not yes:
        to = _meant_scope(sender.database, to)
    sender.send("halt", to, reason, {} if restriction is None else {"restriction": restriction})
    if sender.live:
        typer.echo(_bound(sender.database, to), err=True)


@app.command("release")
@s.with_sender_options
def release_command(
    scope: Scope,
    *,
    reason: s.Reason = "",
    yes: s.Yes = False,
    config: Folder = None,
    sender: s.Sender,
    as_json: Json = False,
) -> None:
    """Show the effect of releasing a HALT; with --yes, request it. Somebody else approves."""
    _show(_preview(sender.database, config, scope), as_json=as_json)
    if not _is_confirmed(reason, yes=yes):
        return
    sender.send("release", scope, reason, {})


@app.command("override")
@s.with_sender_options
def override_command(
    scope: Scope,
    *,
    last: Annotated[str, typer.Option("--for", help="How long, e.g. 1h.")],
    state: Annotated[str, typer.Option(help="New state: NORMAL, WATCH or REDUCE.")] = "REDUCE",
    reason: s.Reason = "",
    yes: s.Yes = False,
    config: Folder = None,
    sender: s.Sender,
    as_json: Json = False,
) -> None:
    """Suspend a HALT for a while although its condition holds; with --yes, request it."""
    _show(_preview(sender.database, config, scope), as_json=as_json)
    if not _is_confirmed(reason, yes=yes):
        return
    args = {"until": s.end_time(sender, _seconds(last)), "state": state}
    sender.send("override", scope, reason, args)


@app.command("rebase")
@s.with_sender_options
def rebase_command(
    *,
    scope: Annotated[
        str, typer.Option("--scope", help="The firm, or a book such as book:arb.")
    ] = FIRM,
    reason: s.Reason,
    sender: s.Sender,
) -> None:
    """Request a new high-water mark for the drawdown of firm or book. Somebody else approves.

    The HALT of a drawdown rule cannot be released while the drawdown lasts. A new high-water mark
    ends the drawdown; two supervisors can then release the HALT.
    """
    sender.send("rebase", scope, reason, {})


@app.command("approve")
@s.with_sender_options
def approve_command(
    scope: Annotated[
        str, typer.Argument(metavar="SCOPE", help="Scope of the request.", callback=_canonical)
    ],
    *,
    request: Annotated[
        str | None, typer.Option(help="Id of the request; else the pending one.")
    ] = None,
    reason: s.Reason = "",
    yes: s.Yes = False,
    config: Folder = None,
    sender: s.Sender,
    as_json: Json = False,
) -> None:
    """Show a pending request and its effect; with --yes, approve it as the second person."""
    waits = request or _waiting_request(sender.database, scope)
    if is_scope(scope):
        _show(_preview(sender.database, config, scope), as_json=as_json)
    if not _is_confirmed(reason, yes=yes):
        return
    sender.send("approve", scope, reason, {"request": waits})


@app.command("retire")
@s.with_sender_options
def retire_command(
    scope: Scope,
    *,
    reason: s.Reason,
    yes: s.Yes = False,
    sender: s.Sender,
) -> None:
    """Close a halted scope permanently: its subject is gone, and its notifications end."""
    typer.echo(f"{scope} stays at HALT, and nobody is paged about it again", err=True)
    if not _is_confirmed(reason, yes=yes):
        return
    sender.send("retire", _scope(scope), reason, {})


@app.command("silence")
@s.with_sender_options
def silence_command(
    scope: Scope,
    *,
    reason: s.Reason,
    last: Last = None,
    end: Annotated[bool, typer.Option("--end", help="End a silence instead.")] = False,
    sender: s.Sender,
) -> None:
    """Send no notifications about a scope for a while, except for a HALT."""
    if end == (last is not None):
        raise ConfigError("command line", "--for", "either --for or --end")
    args: dict[str, Any] = {"end": True}
    if last is not None:
        args = {"until": s.end_time(sender, _seconds(last))}
    sender.send("silence", _scope(scope), reason, args)


@app.command("acknowledge")
@s.with_sender_options
def acknowledge_command(
    scope: Scope,
    *,
    reason: s.Reason,
    sender: s.Sender,
) -> None:
    """Acknowledge the open alert of a scope."""
    sender.send("acknowledge", _scope(scope), reason, {})


@app.command("unwind")
@s.with_sender_options
def unwind_command(
    scope: Scope,
    *,
    reason: s.Reason,
    last: Annotated[str, typer.Option("--for", help="How long, e.g. 30m.")],
    max_usd: Annotated[
        str | None, typer.Option(help="Most to trade, USD; else the rest of the policy's cap.")
    ] = None,
    max_slip_bp: Annotated[
        str | None, typer.Option(help="Largest distance from the mid, bp; else the policy's.")
    ] = None,
    sender: s.Sender,
) -> None:
    """Open an unwind within the caps and the time that the policy authorises.

    At a HALT it lets reducing orders and top-ups of margin pass, at a REDUCE of claims top-ups.
    """
    caps = {"max_usd": max_usd, "max_slip_bp": max_slip_bp}
    args = {"until": s.end_time(sender, _seconds(last))}
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
    """Show who commanded what, and the outcome, the newest first."""
    with queries.open_reader(database) as conn:
        rows = queries.command_history(conn, scope, limit)
    if as_json:
        for row in rows:
            plain = {name: queries.json_value(value) for name, value in row.items()}
            typer.echo(msgspec.json.encode(plain).decode())
        return
    body = [
        [
            rfc3339(micros(row["ts"])),
            row["operator"] + ("" if row["authentic"] else " (NOT AUTHENTIC)"),
            row["action"],
            row["scope"],
            row["refusal"] or row["outcome"],
            row["detail"][:_PLAIN],
            row["reason"][:_PLAIN],
            row["request_id"] or "",
            row["deployment"] or "",
        ]
        for row in rows
    ]
    names = ["when", "operator", "action", "scope", "outcome", "detail", "reason", "request"]
    show_rows([*names, "deployment"], body)


def _scope(scope: str) -> str:
    """Return `scope`; raise before signing if it is not a valid scope."""
    if not is_scope(scope):
        raise ConfigError(
            "command line",
            "SCOPE",
            "firm, book:X, counterparty:X, asset:X, venue-asset:V/X, account:V/X, trader:X, "
            "group:X, issuer:X, bank:X or network:X, in one script",
            scope,
        )
    return scope


def _meant_scope(database: str, scope: str) -> str:
    """Return the scope to halt; ask if its name is unknown.

    A HALT must not wait for a database, so a scope that cannot be looked up is halted as given.

    Raises
    ------
    RiskwatchError
        If the name is unknown and nobody can be asked, or the person sends nothing.
    """
    try:
        with queries.open_reader(database) as conn:
            names = queries.known_names(conn)
    except StoreError as error:
        typer.echo(f"whether {scope} is known cannot be looked up: {error}", err=True)
        return scope
    if is_known(scope, names):
        return scope
    near = similar_scopes(scope, names)
    if not sys.stdin.isatty():
        raise RiskwatchError(
            f"nothing was sent: nobody holds, quotes or lists {scope}."
            + (f" Did you mean {' or '.join(near)}?" if near else "")
            + " --yes sends it as it is; `riskwatch killswitch halt firm` halts the firm"
        )
    chosen = choose_scope(scope, near, click.getchar)
    if chosen is None:
        raise RiskwatchError("nothing was sent")
    return chosen


def is_known(scope: str, names: Mapping[str, Collection[str]]) -> bool:
    """Return whether every name of a scope is held, quoted or listed.

    Examples
    --------
    >>> names = {"book": set(), "counterparty": {"kraken"}, "asset": {"USDC"}}
    >>> [is_known(s, names) for s in ("firm", "venue-asset:kraken/USDC", "asset:USDc")]
    [True, True, False]
    """
    at = parse(scope)
    if at.kind == VENUE_ASSET:
        return at.name in names[COUNTERPARTY] and at.asset in names[ASSET]
    if at.kind == ACCOUNT:
        return f"{at.name}/{at.account}" in names.get(ACCOUNT, ())
    return at.kind == FIRM or at.name in names.get(at.kind, ())


def similar_scopes(scope: str, names: Mapping[str, Collection[str]]) -> list[str]:
    """Return up to three known scopes with similar names, the most similar first.

    Examples
    --------
    >>> names = {"book": {"arb"}, "counterparty": {"kraken"}, "asset": {"USDC", "USDT", "BTC"}}
    >>> similar_scopes("asset:usdc", names), similar_scopes("asset:kraken", names)
    (['asset:USDC', 'asset:USDT'], ['counterparty:kraken'])
    """
    at = parse(scope)
    if at.kind == VENUE_ASSET:
        venues = [at.name, *_similar(at.name, names[COUNTERPARTY])]
        assets = [at.asset, *_similar(at.asset, names[ASSET])]
        found = [f"{VENUE_ASSET}:{venue}/{asset}" for venue in venues for asset in assets]
        return [each for each in found if is_known(each, names)][:_SUGGESTIONS]
    name = f"{at.name}/{at.account}" if at.kind == ACCOUNT else at.name
    found = [f"{at.kind}:{each}" for each in _similar(name, names.get(at.kind, ()))]
    others = (kind for kind in (BOOK, COUNTERPARTY, ASSET) if kind != at.kind)
    found += [f"{kind}:{at.name}" for kind in others if at.name in names[kind]]
    return found[:_SUGGESTIONS]


def _similar(name: str, known: Collection[str]) -> list[str]:
    folded: dict[str, list[str]] = {}
    for each in sorted(known):
        folded.setdefault(each.casefold(), []).append(each)
    near = get_close_matches(name.casefold(), folded, _SUGGESTIONS)
    return [each for key in near for each in folded[key]]


def choose_scope(scope: str, near: Sequence[str], key: Callable[[], str]) -> str | None:
    """Ask which scope to halt, by one key; return it, or ``None`` if nothing is to be halted.

    Parameters
    ----------
    scope : str
        The scope as given.
    near : sequence of str
        Known scopes that may have been meant.
    key : callable
        Waits for one key of the person.

    Examples
    --------
    >>> choose_scope("asset:USDc", ["asset:USDC"], iter("1").__next__)
    'asset:USDC'
    """
    typer.echo(f"nobody holds, quotes or lists {visible(scope)}. Press one key:", err=True)
    choices = {str(n): each for n, each in enumerate(near, 1)} | {"f": FIRM, "s": scope}
    for pressed, each in choices.items():
        words = {"f": "HALT of the whole firm", "s": f"send {visible(scope)} as it is"}
        typer.echo(f"  {pressed}  {words.get(pressed, f'did you mean {each}?')}", err=True)
    typer.echo("  any other key: send nothing", err=True)
    return choices.get(key().lower())


def _bound(database: str, scope: str) -> str:
    """Return in one line what a HALT of a scope binds, as far as the database shows."""
    try:
        with queries.open_reader(database) as conn:
            known = is_known(scope, queries.known_names(conn))
            gross, net, unpriced = queries.exposure_of(conn, scope)
    except StoreError as error:
        return f"what it binds cannot be read: {error}"
    if not known:
        return f"{scope} binds nothing known: nobody holds, quotes or lists it"
    held = f"${gross:,.2f} gross, ${net:,.2f} net"
    held += f", {unpriced} holdings without a price" if unpriced else ""
    return f"{scope} binds {held}" if gross or unpriced else f"{scope} binds no holdings"


def _seconds(given: str) -> float:
    try:
        return parse_duration(given)
    except ValueError as error:
        raise ConfigError("command line", "--for", "a duration such as 30m", given) from error


def _preview(database: str, config: Path | None, scope: str) -> ReleasePreview:
    from riskwatch.commands.preview import release_preview  # noqa: PLC0415 - models take a second to import
    from riskwatch.engine import bootstrap  # noqa: PLC0415

    rules = bootstrap.configuration(config, build_models=False)
    with queries.open_reader(database) as conn:
        return release_preview(conn, rules, _scope(scope))


def _show(found: ReleasePreview, *, as_json: bool) -> None:
    """Print a preview on stderr, because stdout may be the target of a signed command."""
    if as_json:
        plain = msgspec.to_builtins(found, builtin_types=())
        typer.echo(msgspec.json.encode(plain).decode(), err=True)
        return
    for line in found.lines():
        typer.echo(visible(line), err=True)


def _is_confirmed(reason: str, *, yes: bool) -> bool:
    """Return whether the user confirmed the previewed command."""
    if not yes:
        typer.echo("nothing was sent: look at it, then say --yes --reason '...'", err=True)
        return False
    if not reason.strip():
        raise ConfigError("command line", "--reason", "why; it is recorded with your name")
    return True


def _waiting_request(database: str, scope: str) -> str:
    """Return the id of the pending request of a scope."""
    with queries.open_reader(database) as conn:
        found = queries.scope_controls(conn).get(scope)
    if found is None or found["request_id"] is None:
        raise RiskwatchError(f"nothing on {scope} waits for a second person")
    until = rfc3339(micros(found["request_until"]))
    asks = f"{found['request_by']} asks for {found['request_action']} of {scope}, until {until}"
    typer.echo(visible(asks), err=True)
    request: str = found["request_id"]
    return request
