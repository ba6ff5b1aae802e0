"""``riskwatch exposure``, ``positions``, ``alerts``, ``explain`` and others: read the database."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.times import moment_of
from riskwatch.core.clock import micros, moment, rfc3339
from riskwatch.core.enums import State
from riskwatch.core.text import visible, visible_lines
from riskwatch.store import queries
from riskwatch.store.audit import audit_row
from riskwatch.store.explain import (
    explain_alert,
    explain_decision,
    summarize_alert,
    summarize_decision,
)
from riskwatch.store.user_query import run_user_query

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from riskwatch.store.queries import ResultRow

Json = Annotated[bool, typer.Option("--json", help="NDJSON, one object per line.")]
Details = Annotated[
    bool, typer.Option("--details", help="Everything that is known, and not only what matters now.")
]
_PIPED: Final = 200
"""Assumed width in columns if the output is not a terminal."""
_ASSETS: Final = 6
"""Most quantities in one cell."""
_WHOLE_SECOND: Final = re.compile(r"\A(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.000000Z\Z")
_COLOURS: Final = {"HALT": "bold red", "REDUCE": "red", "WATCH": "yellow", "NORMAL": "green"}

killswitch_app = typer.Typer(help="The kill switch: states and commands.", no_args_is_help=True)


@killswitch_app.callback()
def _killswitch() -> None:
    """Show the state of every scope, and change states by signed command."""


def exposure_command(
    *,
    by: Annotated[
        str, typer.Option("--by", help="counterparty, issuer, asset or book.")
    ] = "counterparty",
    at: Annotated[
        str | None, typer.Option("--at", help="As riskwatch said then, such as 2023-03-11T03:33Z.")
    ] = None,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show the firm's exposure, in USD to the cent, with exact quantities per asset.

    By issuer, the rows look through to the backing of a coin, so they do not add up to a total.
    """
    reader = (
        queries.open_reader(database)
        if at is None
        else queries.open_reader_at(database, moment(moment_of("--at", at)))
    )
    with reader as conn:
        rows = queries.exposures(conn, by)
        totals = queries.exact_totals(conn, by)
    key = "party" if by == "issuer" else by
    for row in rows:
        row["quantities"] = {
            asset: amount
            for (group, asset), amount in totals.items()
            if group == row[key] and row.get("level", "direct") == "direct"
        }
    if as_json:
        print_lines(rows)
        return
    dollars = ["gross_usd", "net_usd", "long_usd", "short_usd", "derivatives_usd"]
    names = [key, *(["level", "via", "share"] if by == "issuer" else []), *dollars]
    title = "Exposure by issuer, looked through: rows do not add up" if by == "issuer" else None
    body = [
        [
            *(cell_text(row[name], money=name in dollars) for name in names),
            _quantities(row["quantities"]),
            str(row["unpriced_rows"] or ""),
            cell_text(row["ts"]),
        ]
        for row in rows
    ]
    print_table(
        [*names, "exact quantities", "unpriced", "as of"], body, numbers=dollars, title=title
    )


def positions_command(
    *,
    at: Annotated[
        str | None, typer.Option("--at", help="As riskwatch said then, such as 2023-03-11T03:33Z.")
    ] = None,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show open derivative positions: size, notional, delta, and profit that is not realised.

    A position that nothing values comes first.
    """
    reader = (
        queries.open_reader(database)
        if at is None
        else queries.open_reader_at(database, moment(moment_of("--at", at)))
    )
    with reader as conn:
        rows = queries.positions(conn)
    if as_json:
        print_lines(rows)
        return
    dollars = ["notional_usd", "delta_usd", "pnl_usd"]
    names = ["instrument", "side", "counterparty", "account", "book", "qty", *dollars]
    more = ["entry_price", "mark_price", "liquidation_price"]
    body = [
        [
            *(cell_text(row[name], money=name in dollars) for name in names),
            *(cell_text(row[name]) for name in more),
            row["contract_type"] or "linear",
            cell_text(row["ts"]),
        ]
        for row in rows
    ]
    print_table([*names, *more, "form", "as of"], body, numbers=["qty", *dollars, *more])


def pnl_command(*, database: Database = DEFAULT, as_json: Json = False) -> None:
    """Show profit and loss of the newest day, of the firm, accounts and books, in USD to the cent.

    Equity at the start, plus profit, plus flow, is the equity.
    """
    with queries.open_reader(database) as conn:
        rows = queries.results(conn)
    if as_json:
        print_lines(rows)
        return
    parts = ["trading", "fees", "funding", "interest", "revaluation", "unexplained"]
    dollars = [
        "equity_start_usd", "pnl_usd", *(f"{part}_usd" for part in parts), "flow_usd",
        "equity_usd", "pnl_24h_usd",
    ]  # fmt: skip
    body = [
        [
            cell_text(row["scope"]),
            *(cell_text(row[name], money=True) for name in dollars),
            f"{row['coverage']:.1%}",
            cell_text(row["ts"]),
        ]
        for row in rows
    ]
    names = ["scope", *(name.removesuffix("_usd") for name in dollars)]
    numbers = [*names[1:], "coverage"]
    print_table([*names, "coverage", "as of"], body, numbers=numbers)


def alerts_command(
    *,
    all_of_them: Annotated[bool, typer.Option("--all", help="Include resolved alerts.")] = False,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show open alerts, the most severe and those with the largest exposure first."""
    with queries.open_reader(database) as conn:
        rows = queries.alerts(conn, all_of_them=all_of_them)
    if as_json:
        print_lines(rows)
        return
    body = [
        [
            _state(row["severity"]),
            cell_text(row["title"]),
            cell_text(row["scope"]),
            cell_text(row["cause"]),
            cell_text(row["exposure_usd"], money=True),
            cell_text(row["opened_ts"]),
            cell_text(row["resolved_ts"]) or "open",
            row["id"][:12],
        ]
        for row in rows
    ]
    names = ["severity", "title", "scope", "cause", "exposure_usd", "opened", "resolved", "id"]
    print_table(names, body, numbers=["exposure_usd"])


def explain_command(
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="Id of a decision or an alert, or a prefix of it.")
    ],
    *,
    details: Details = False,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Explain in plain words why a decision was made, and what would have changed it.

    With --details, also every value, every contribution and every feed.
    """
    with queries.open_reader(database) as conn:
        alert, decision = queries.find_alert_and_decision(conn, identifier)
        switches = queries.switches_of(conn, decision["id"]) if decision else []
        row = audit_row(conn, decision["id"]) if decision else None
    if as_json:
        print_lines([{"alert": alert, "decision": decision, "killswitch": switches}])
        return
    lines = explain_alert(alert) if alert and (details or not decision) else []
    if alert and decision:
        lines += [""] if details else [summarize_alert(alert)]
    if decision and details:
        lines += explain_decision(decision, switches, row)
    elif decision:
        lines += summarize_decision(decision, switches)
    for line in lines:
        typer.echo(visible(line))


def confirmation(until: datetime | None, now: datetime) -> str:
    """Return in words whether a heartbeat confirms the switches at a moment.

    Examples
    --------
    >>> confirmation(None, datetime(2023, 3, 11, tzinfo=UTC))
    'no heartbeat: this is what was decided, and order paths do not obey it'
    """
    if until is None:
        return "no heartbeat: this is what was decided, and order paths do not obey it"
    if until <= now:
        ended = rfc3339(micros(until))
        return f"the last heartbeat was valid until {ended}: order paths fail closed"
    return f"confirmed until {rfc3339(micros(until))} by the last heartbeat"


@killswitch_app.command("status")
def status_command(
    *, details: Details = False, database: Database = DEFAULT, as_json: Json = False
) -> None:
    """Show the strictest states first, one line per scope, each with its strongest reason.

    A scope without a line is NORMAL. With --details, also the scopes that are NORMAL, every reason
    and every column.
    """
    with queries.open_reader(database) as conn:
        rows, until = queries.killswitches(conn), queries.confirmed_until(conn)
        for row in rows:
            row["valid_until"] = until
        controls = queries.scope_controls(conn)
        advised = {row["scope"]: row for row in queries.advised_now(conn)}
    if as_json:
        print_lines(
            {**row, "people": controls.get(row["scope"]), "advised": advised.get(row["scope"])}
            for row in rows
        )
        return
    if details:
        _print_all_columns(rows, controls)
        typer.echo(confirmation(until, datetime.now(UTC)))
        for row in advised.values():
            typer.echo(advised_line(row))
        return
    typer.echo(confirmation(until, datetime.now(UTC)))
    _print_status(rows, controls)
    if advised:
        count = "1 scope has" if len(advised) == 1 else f"{len(advised)} scopes have"
        typer.echo(f"{count} advice of advisory rules, which binds nobody: see --details")


def _print_all_columns(
    rows: Sequence[ResultRow], controls: Mapping[str, Mapping[str, Any]]
) -> None:
    """Print every column of every scope."""
    body = [
        [
            cell_text(row["scope"]),
            _state(row["effective"]),
            _state(row["state"]),
            cell_text(", ".join(f"{each} {to}" for each, to in row["restriction"].items())),
            *(cell_text(row[name]) for name in ("effect", "quality", "cause")),
            cell_text("; ".join(row["reasons"])),
            cell_text(row["ts"]),
            cell_text(row["valid_until"]),
            row["decision_id"][:12],
            escape(_people(controls.get(row["scope"], {}))),
        ]
        for row in rows
    ]
    names = ["scope", "effective", "state", "restricts", "effect", "quality", "cause", "why"]
    print_table([*names, "since", "valid until", "decision", "people"], body)


def _print_status(rows: Sequence[ResultRow], controls: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a line for each scope that is not NORMAL, and a line for what is special about it."""
    shown = [row for row in rows if not _is_plain(row)]
    console = _console()
    for line in _status_lines(shown):
        console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    if not shown:
        typer.echo("no scope is restricted")
    for row in rows:
        for note in _notes(row, controls.get(row["scope"], {})):
            typer.echo(visible(f"{row['scope']}: {note}"))
    if len(shown) < len(rows):
        typer.echo(f"NORMAL: {len(rows) - len(shown)} with a decision, see --details")
    if shown:
        typer.echo(f"why: riskwatch explain {shown[0]['decision_id'][:12]}")


def _is_plain(row: ResultRow) -> bool:
    """Return whether a scope restricts nothing, by its own state and by what is in force."""
    return {row["effective"], row["state"]} == {State.NORMAL.value}


def _status_lines(rows: Sequence[ResultRow]) -> list[Text]:
    """Return one line per scope below a line of names, in columns, the strongest reason last."""
    if not rows:
        return []
    names = ("effective", "scope", "since (UTC)", "cause", "strongest reason")
    table = [names, *(_status_cells(row) for row in rows)]
    widths = [max(len(cells[at]) for cells in table) for at in range(len(names) - 1)]
    found = []
    for cells in table:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        line = Text(" ".join([*padded, cells[-1]]))
        line.stylize(_COLOURS.get(cells[0].partition(" ")[0], ""), 0, len(cells[0]))
        found.append(line)
    return found


def _status_cells(row: ResultRow) -> tuple[str, ...]:
    """Return the cells of a scope; its own state only where another one is in force."""
    scope, own, effective = row["scope"], row["state"], row["effective"]
    reason = row["reasons"][0] if row["reasons"] else "no reason is recorded"
    cells = (
        effective if own == effective else f"{effective} (own {own})",
        scope,
        rfc3339(micros(row["ts"]))[:16].replace("T", " "),
        row["cause"],
        reason.removeprefix(f"{scope} is ").removeprefix(f"{scope}: "),
    )
    return tuple(visible(cell) for cell in cells)


_EFFECT_NOTES: Final = {
    "not_effective": "the HALT is NOT EFFECTIVE: orders rest or fills added risk after it",
    "resting": "orders rest that would add risk",
    "unknown": "nothing proves that the HALT took effect",
}
_QUALITY_NOTES: Final = {
    "stale": "part of the data behind it is stale",
    "unknown": "the quality of the data behind it is unknown",
}


def _notes(row: ResultRow, control: Mapping[str, Any]) -> list[str]:
    """Return what is special about a scope: its effect, its data, and what people did."""
    found = [_EFFECT_NOTES.get(row["effect"]), _people(control)]
    if not _is_plain(row):
        found.append(_QUALITY_NOTES.get(row["quality"]))
    return [note for note in found if note]


def advised_line(row: ResultRow) -> str:
    """Say what advisory rules would have set on a scope, and what holds."""
    return (
        f"advisory, binds nobody: {row['scope']} would be {row['state']}, not {row['in_force']}, "
        f"by {row['rule']} ({row['id'][:12]}, {cell_text(row['ts'])})"
    )


def sql_command(
    query: Annotated[str, typer.Argument(help="One SQL query; see docs/sql.md for the views.")],
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most rows to show.")] = 1000,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Run your own SQL query; it cannot write."""
    with queries.open_reader(database) as conn:
        names, rows, more = run_user_query(conn, query, limit)
    if as_json:
        print_lines(dict(zip(names, row, strict=True)) for row in rows)
    else:
        show_rows(names, rows)
    if more:
        typer.echo(f"only the first {limit} rows are shown, see --limit", err=True)


def show_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows of a query as a table."""
    print_table(names, [[cell_text(value) for value in row] for row in rows])


def show_json(row: Mapping[str, Any]) -> None:
    """Print one object as a line of JSON, with amounts and times as text."""
    typer.echo(msgspec.json.encode(_plain(dict(row))).decode())


def print_lines(rows: Iterable[ResultRow]) -> None:
    """Print rows as NDJSON."""
    for row in rows:
        show_json(row)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return queries.json_value(value)


def cell_text(value: Any, *, money: bool = False) -> str:
    """Return a value as a cell of a printed table shows it."""
    if value is None:
        return ""
    if money:
        return f"{value:,.2f}"
    if isinstance(value, bytes | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return rfc3339(micros(value))
    # SQLite stores times as text of fixed width; zero fractions of a second are dropped.
    return escape(visible(_WHOLE_SECOND.sub(r"\1Z", str(value))))


def _people(control: Mapping[str, Any]) -> str:
    """Return pending requests and active overrides of operators, in a few words."""
    words = {
        "request_by": "{} asks for a second person",
        "override_by": "overridden by {}",
        "retired_by": "retired by {}",
        "silence_by": "silenced by {}",
        "acknowledged_by": "seen by {}",
        "unwind_by": "unwind opened by {}",
    }
    return ", ".join(template.format(control[n]) for n, template in words.items() if control.get(n))


def _quantities(amounts: Mapping[str, Decimal]) -> str:
    shown = [f"{amount:,f} {escape(asset)}" for asset, amount in list(amounts.items())[:_ASSETS]]
    hidden = len(amounts) - len(shown)
    return ", ".join(shown) + (f" and {hidden} more (--json)" if hidden else "")


def _state(state: str) -> str:
    colour = _COLOURS.get(state)
    return f"[{colour}]{state}[/]" if colour else escape(state)


def _console() -> Console:
    """Return a console as wide as the terminal, or wide enough for a file."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPED)


def print_table(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    title: str | None = None,
) -> None:
    """Print rows as a table, as wide as the terminal."""
    console = _console()
    if not rows:
        console.print("nothing")
        return
    shown = Table(box=box.SIMPLE, title=title, title_justify="left")
    for name in names:
        right = name in numbers
        shown.add_column(
            escape(name), justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    for row in rows:
        shown.add_row(*(visible_lines(cell) for cell in row))
    console.print(shown)
