"""``riskwatch verify``: derive stored decisions again, from the database alone."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from sqlalchemy import select

from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.query import Json, show_json
from riskwatch.errors import RiskwatchError
from riskwatch.store import queries
from riskwatch.store.projections import DECISION_LOG

_WORDS: Final = {
    "same": ("verified", typer.colors.GREEN),
    "inputs only": ("agrees", typer.colors.YELLOW),
    "unknown": ("unknown", typer.colors.YELLOW),
    "differs": ("DIFFERS", typer.colors.RED),
}


def verify_command(
    identifiers: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Ids of decisions, or their beginnings."),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every decision there is.")] = False,
    whole: Annotated[
        bool, typer.Option("--whole", help="From the journal's first entry; --all is so too.")
    ] = False,
    database: Database = DEFAULT,
    as_json: Json = False,
) -> None:
    """Derive decisions again from the database alone, bit for bit; exit code 1 if one differs.

    The journal is replayed under the configurations that were recorded, from the last checkpoint
    before (`riskwatch audit checkpoint`) or from its first entry. Where it is not kept
    any more, or another engine decided, the policy is run again on the decision's own inputs,
    and this says so.
    """
    from riskwatch.shell.verify import verify  # noqa: PLC0415 - models take a second to import

    if everything == bool(identifiers):
        raise RiskwatchError("verify: name decisions, or use --all")
    with queries.reading(database) as conn:
        if everything:
            order = (DECISION_LOG.c.ts, DECISION_LOG.c.id)
            ids = list(conn.execute(select(DECISION_LOG.c.id).order_by(*order)).scalars())
        else:
            ids = [_decision(queries.find(conn, each), each) for each in identifiers or []]
        verdicts = verify(conn, ids, whole=whole or everything)
    for verdict in verdicts:
        if as_json:
            show_json({"id": verdict.id, "status": verdict.status, "said": verdict.said})
            continue
        word, colour = _WORDS[verdict.status]
        typer.echo(f"{typer.style(word, fg=colour)} {verdict.id}")
        for line in verdict.said:
            typer.echo(f"  {line}")
    if not as_json and not verdicts:
        typer.echo("there is no decision yet")
    if any(verdict.status != "same" for verdict in verdicts):
        differs = any(verdict.status == "differs" for verdict in verdicts)
        raise typer.Exit(1 if differs else 3)


def _decision(found: tuple[queries.Found | None, queries.Found | None], given: str) -> str:
    decision = found[1]
    if decision is None:
        raise RiskwatchError(f"{given}: no decision is behind this alert")
    return str(decision["id"])
