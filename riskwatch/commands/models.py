"""``riskwatch models``: who may do how much, on what evidence, and a card of each model."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from riskwatch.commands.card import markdown
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.core.clock import micros, text
from riskwatch.errors import RiskwatchError
from riskwatch.models.rungs import rungs
from riskwatch.shell import paths
from riskwatch.shell.config import load_policy
from riskwatch.store import models as stored
from riskwatch.store import queries

if TYPE_CHECKING:
    from riskwatch.core.risk.models import ModelsConfig
    from riskwatch.store.queries import Found

_ROUNDS: Final = 500
_WIDTH: Final = 200
_NAMES: Final = (
    "target", "generation", "authority", "ceiling", "evidence", "needed", "against", "labels",
    "true", "events", "log loss", "Brier", "reliability", "last change",
)  # fmt: skip

app = typer.Typer(help="Models: authority, evidence, calibration.")
Rules = Annotated[
    Path | None,
    typer.Option("--rules", envvar="RISKWATCH_CONFIG", help="Rules folder; else the shipped one."),
]


@app.callback(invoke_without_command=True)
def models_command(
    context: typer.Context,
    *,
    cost: Annotated[
        bool, typer.Option("--cost", help="Measure what a score costs on this machine.")
    ] = False,
    rules: Rules = None,
    database: Database = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON, one object per line.")] = False,
) -> None:
    """Show the ladder: each generation's authority on each target, and what it rests on.

    `evidence` is that it is better than what it challenges (promoted at `needed`); `against`
    that it is worse than the rules. Losses are over matured labels of all scopes.
    """
    if context.invoked_subcommand is not None:
        return
    with queries.reading(database) as conn:
        rows = stored.standings(conn)
        features = stored.last_features(conn) if cost else {}
    costs = costs_us(_configured(rules), features) if cost else {}
    for row in rows:
        row["cost_us"] = costs.get(row["generation"])
    if as_json:
        for row in rows:
            shown = {name: queries.plain(value) for name, value in row.items()}
            typer.echo(msgspec.json.encode(shown).decode())
        return
    _print(rows, cost=cost)


@app.command("card")
def card_command(
    name: Annotated[str, typer.Argument(help="Of the generation.")],
    *,
    rules: Rules = None,
    database: Database = DEFAULT,
) -> None:
    """Write a model card, Markdown: what it is, how good it was, what it may do and why."""
    config = _configured(rules)
    with queries.reading(database) as conn:
        standings = stored.standings(conn, name)
        changes = stored.authority_changes(conn, name)
    configured = [g for g in config.generations if (g.name or g.model) == name]
    if not configured and not standings:
        known = ", ".join(g.name or g.model for g in config.generations)
        raise RiskwatchError(f"no generation is called {name!r}: configured are {known}")
    typer.echo(markdown(name, configured[0] if configured else None, standings, changes), nl=False)


def costs_us(config: ModelsConfig, features: dict[str, dict[str, float]]) -> dict[str, float]:
    """Measure what one score costs, by generation, microseconds.

    Parameters
    ----------
    config : ModelsConfig
        Who is configured.
    features : dict
        What to score, by generation; one that has none is not measured.
    """
    found: dict[str, float] = {}
    for rung in rungs(config):
        x = features.get(rung.name)
        if x is None:
            continue
        model = rung.newborn("")
        began = perf_counter()
        for _ in range(_ROUNDS):
            model.score(x)
        found[rung.name] = (perf_counter() - began) / _ROUNDS * 1e6
    return found


def _configured(rules: Path | None) -> ModelsConfig:
    return load_policy(rules or paths.rules()).models


def _print(rows: list[Found], *, cost: bool) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    if not rows:
        console.print("nothing was judged yet")
        return
    table = Table(box=box.SIMPLE)
    for name in (*_NAMES, *(["cost µs"] if cost else [])):
        words = name in ("target", "generation", "authority", "ceiling", "last change")
        table.add_column(name, justify="left" if words else "right", overflow="fold")
    for row in rows:
        cells = [
            row["target"], row["generation"],
            f"{row['authority']} (quarantined)" if row["quarantined"] else row["authority"],
            row["ceiling"], _number(row["e_up"]), _number(row["needed"]) if row["needed"] else "-",
            _number(row["e_down"]), str(row["labels"]), str(row["positives"]), str(row["events"]),
            f"{row['log_loss']:.4f}", f"{row['brier']:.4f}", f"{row['reliability']:.4f}",
            _change(row),
        ]  # fmt: skip
        if cost:
            cells.append("-" if row["cost_us"] is None else f"{row['cost_us']:.1f}")
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)


def _change(row: Found) -> str:
    if row["changed"] is None:
        return "never"
    return f"{text(micros(row['changed']))} ({row['reason']})"


def _number(value: Any) -> str:
    return f"{value:.3g}"
