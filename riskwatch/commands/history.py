"""``riskwatch history``: what riskwatch said, when."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.query import Json, cell_text, print_lines, print_table
from riskwatch.commands.times import moment_of
from riskwatch.core.clock import moment
from riskwatch.errors import RiskwatchError
from riskwatch.store.history import TRACKED, intervals
from riskwatch.store.queries import open_reader
from riskwatch.store.types import Json as JsonColumn

SUBJECTS: Final = {
    "exposure": "exposure",
    "position": "position",
    "price": "asset_value",
    "score": "score",
    "counterparty": "counterparty_assessment",
    "limit": "limit_state",
    "equity": "drawdown",
}
"""What a person asks for, and the table that tells it."""


def history_command(
    subject: Annotated[str, typer.Argument(help=f"{', '.join(SUBJECTS)}.")],
    *,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="A key and its value, such as asset=USDC; may be repeated."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Only what held from then on.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Only what held up to then.")] = None,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Show what riskwatch said about a subject, and from when until when it held.

    An interval ends when something else is said. A change of a price alone by less than a
    thousandth is not something else.
    """
    if subject not in SUBJECTS:
        raise RiskwatchError(f"history is kept of {', '.join(SUBJECTS)}, not of {subject!r}")
    tracked = TRACKED[SUBJECTS[subject]]
    span = (
        None if since is None else moment(moment_of("--from", since)),
        None if until is None else moment(moment_of("--to", until)),
    )
    with open_reader(database) as conn:
        rows = intervals(conn, tracked, dict(_pair(text) for text in where or ()), span)
    if as_json:
        print_lines(rows)
        return
    hidden = {"output_id"}
    hidden |= {c.name for c in tracked.history.columns if isinstance(c.type, JsonColumn)}
    names = [c.name for c in tracked.history.columns if c.name not in hidden]
    print_table(names, [[_shown(name, row[name]) for name in names] for row in rows])


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise RiskwatchError(f"--where must be a key and a value, as asset=USDC, was {text!r}")
    return name, value


def _shown(name: str, value: Any) -> str:
    return "now" if name == "valid_to" and value is None else cell_text(value)
