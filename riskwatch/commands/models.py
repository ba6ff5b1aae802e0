"""``riskwatch models``: authority and evidence of each generation, model cards, and checks."""

from __future__ import annotations

import re
from inspect import getdoc
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from riskwatch.commands.db import DEFAULT, Database
from riskwatch.config import paths
from riskwatch.config.config import load_policy
from riskwatch.core.clock import micros, rfc3339
from riskwatch.errors import RiskwatchError
from riskwatch.models import registry
from riskwatch.models.config import RULES_GENERATION, generation_specs
from riskwatch.store import queries
from riskwatch.store import queries as stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.risk.scorer import GenerationConfig, ModelsConfig
    from riskwatch.store.queries import ResultRow


# A model card describes a model, its record and its authority in plain words.

AUTHORITY_TEXTS: Final = {
    "shadow": "nothing: its scores are stored and shown",
    "advisory": "raise WATCH",
    "bounded": "raise REDUCE, on a stated share of the firm's exposure",
    "full": "raise HALT",
}
_ROLE: Final = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")
MIN_EVENTS: Final = 10
"""Independent events below which a record proves little."""
_SERVING: Final = (
    "The probability that all generations give together: their mean, weighted by how well each "
    "did. Shadows have no part in it. It may go as far as the least of those that are mixed."
)


def model_card(
    name: str,
    configured: GenerationConfig | None,
    records: list[ResultRow],
    changes: list[ResultRow],
) -> str:
    """Return the card of one generation.

    Parameters
    ----------
    name : str
        Name of the generation.
    configured : GenerationConfig or None
        Its configuration, if it is configured.
    standings : list of dict
        Rows of ``model_standing``.
    changes : list of dict
        Rows of ``authority_change``, in order of time.
    """
    lines = [f"# Model card: {name}", "", *_what(name, configured), ""]
    lines += ["## How good it has been", ""]
    lines += [
        (
            "Over matured labels of all scopes, of what it said when the sample was taken. Samples "
            "overlap: a thousand labels of one weekend are one event."
        ),
        "",
    ]
    lines += [line for row in records for line in _record(row)] or ["Nothing was judged yet.", ""]
    lines += ["## What it may do", ""]
    lines += [f"- {row['target']}: {_may(row)}" for row in records]
    if configured is not None and not records:
        lines.append(f"- everywhere: {AUTHORITY_TEXTS[configured.authority]}")
    lines += ["", "## How its authority came about", "", *_history(changes), ""]
    lines += ["## Limits", "", *_limits(name, records)]
    return "\n".join(lines) + "\n"


def _what(name: str, configured: GenerationConfig | None) -> Iterator[str]:
    yield "## What it is"
    yield ""
    if configured is None:
        yield _SERVING if name == "served" else "It is not configured any more."
        return
    summary = (getdoc(registry.factory(configured.model)) or "").partition("\n\n")[0]
    yield _ROLE.sub(r"`\1`", " ".join(summary.split())) or f"Model `{configured.model}`."
    yield ""
    yield f"- model: `{configured.model}`"
    yield f"- authority at first: {configured.authority}; at most: " + (
        configured.max_authority or configured.authority
    )
    for option in sorted(configured.options):
        yield f"- `{option}`: {configured.options[option]}"
    card = getattr(registry.build(configured.model, configured.options), "card", None)
    if callable(card):
        facts = card()
        for fact in sorted(facts):
            yield f"- {fact}: {facts[fact]}"
    yield ""
    yield (
        "It learns from the stream, from labels that mature after the horizon; a model of one "
        "scope knows nothing of the others."
        if configured.model != RULES_GENERATION
        else "It never learns: people change rules."
    )


def _record(row: ResultRow) -> list[str]:
    base = row["positives"] / row["labels"] if row["labels"] else 0.0
    # The uncertainty is the Brier score of a forecast that always gives the base rate.
    skill = 1.0 - row["brier"] / row["uncertainty"] if row["uncertainty"] > 0.0 else None
    lines = [
        f"### {row['target']}",
        "",
        (
            f"- as of {rfc3339(micros(row['ts']))}: {row['labels']} labels, "
            f"{row['positives']} true ({base:.2%}), {row['events']} independent events in "
            f"{row['entities']} scopes"
        ),
        f"- log loss {row['log_loss']:.4f} nats, Brier score {row['brier']:.4f}"
        + ("" if skill is None else f", skill against the base rate {skill:+.2f}"),
        (
            f"- miscalibration {row['reliability']:.4f} (0 is perfect), resolution "
            f"{row['resolution']:.4f} of {row['uncertainty']:.4f}"
        ),
        "",
        "| said | labels | mean said | came true |",
        "|---|---|---|---|",
    ]
    for tenth, (labels, said, trues) in enumerate(row["bins"]):
        if labels:
            span = f"{tenth / 10:.1f} to {(tenth + 1) / 10:.1f}"
            lines.append(f"| {span} | {labels:.0f} | {said / labels:.3f} | {trues / labels:.3f} |")
    return [*lines, ""]


def _may(row: ResultRow) -> str:
    text = f"{row['authority']}: it may {AUTHORITY_TEXTS[row['authority']]}"
    if row["authority"] == "shadow":
        text = f"shadow: it may ask for {AUTHORITY_TEXTS['shadow']}"
    if row["quarantined"]:
        text += "; it failed a check and waits for people"
    elif row["needed"]:
        text += f"; evidence for more {row['e_up']:.3g}, {row['needed']:.3g} is needed"
    if row["authority"] != "shadow" and row["generation"] not in (RULES_GENERATION, "served"):
        text += f"; evidence that it is worse than the rules {row['e_down']:.3g}"
    return text


def _history(changes: list[ResultRow]) -> list[str]:
    if not changes:
        return ["It never changed."]
    return [
        f"- {rfc3339(micros(row['ts']))}, {row['target']}: {row['former']} to {row['authority']} "
        f"by {row['by']}, {row['reason']}: {row['detail']}"
        for row in changes
    ]


def _limits(name: str, records: list[ResultRow]) -> list[str]:
    lines = ["- No model lowers what a rule asks for, and none releases a HALT."]
    if name == RULES_GENERATION:
        lines.append("- Its probability is a scale, not a forecast: its losses say how wrong.")
    few = [row["target"] for row in records if row["events"] < MIN_EVENTS]
    lines += [
        f"- {target}: fewer than {MIN_EVENTS} independent events: little is proven."
        for target in few
    ]
    return lines


# ``riskwatch models check``: check that a model meets the requirements of the ensemble.


def check_command(
    name: Annotated[
        str, typer.Argument(help="A built-in model, or an entry point in riskwatch.models.")
    ],
    *,
    options: Annotated[
        str, typer.Option("--options", help="Options of the model, as a JSON object.")
    ] = "{}",
    target: Annotated[str, typer.Option("--target", help="Target that it is made for.")] = "",
    events: Annotated[
        int, typer.Option("--events", min=100, help="Number of states for the checks of its size.")
    ] = 100_000,
) -> None:
    """Run the public conformance kit on a model.

    Exit code 2 if it fails, with every check that it fails and the reason.
    """
    from riskwatch.checks.model import CHECKS, check_model  # noqa: PLC0415 - a second to import

    passed = check_model(name, options=_options(options), target=target, events=events)
    for check in passed:
        summary = (CHECKS[check].__doc__ or "").partition("\n")[0]
        typer.echo(f"{check}: {summary}")
    typer.echo(f"model {name!r} passes {len(passed)} checks over {events:,} events")


def _options(text: str) -> dict[str, Any]:
    """Return the options of a model.

    Raises
    ------
    RiskwatchError
        If the text is not a JSON object.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise RiskwatchError(f"--options must be a JSON object: {error}") from error


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
        bool, typer.Option("--cost", help="Measure the time of a score on this machine.")
    ] = False,
    rules: Rules = None,
    database: Database = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON, one object per line.")] = False,
) -> None:
    """Show the ensemble: each generation's authority on each target, and the evidence for it.

    `evidence` is the evidence that it is better than the generation it challenges (it is promoted
    at `needed`). `against` is the evidence that it is worse than the rules. Losses are over matured
    labels of all scopes.
    """
    if context.invoked_subcommand is not None:
        return
    with queries.open_reader(database) as conn:
        rows = stored.authority_records(conn)
        features = stored.last_features(conn) if cost else {}
    costs = costs_us(_configured(rules), features) if cost else {}
    for row in rows:
        row["cost_us"] = costs.get(row["generation"])
    if as_json:
        for row in rows:
            shown = {name: queries.json_value(value) for name, value in row.items()}
            typer.echo(msgspec.json.encode(shown).decode())
        return
    _print(rows, cost=cost)


@app.command("card")
def card_command(
    name: Annotated[str, typer.Argument(help="Name of the generation.")],
    *,
    rules: Rules = None,
    database: Database = DEFAULT,
) -> None:
    """Write a model card in Markdown: the model, its record, its authority and the reasons."""
    config = _configured(rules)
    with queries.open_reader(database) as conn:
        records = stored.authority_records(conn, name)
        changes = stored.authority_changes(conn, name)
    configured = [g for g in config.generations if (g.name or g.model) == name]
    if not configured and not records:
        known = ", ".join(g.name or g.model for g in config.generations)
        raise RiskwatchError(f"no generation is called {name!r}: configured are {known}")
    typer.echo(model_card(name, configured[0] if configured else None, records, changes), nl=False)


def costs_us(config: ModelsConfig, features: dict[str, dict[str, float]]) -> dict[str, float]:
    """Measure the time of one score, by generation, microseconds.

    Parameters
    ----------
    config : ModelsConfig
        The configured generations.
    features : dict
        The features to score, by generation; a generation without features is not measured.
    """
    found: dict[str, float] = {}
    for spec in generation_specs(config):
        x = features.get(spec.name)
        if x is None:
            continue
        model = spec.untrained_model("")
        began = perf_counter()
        for _ in range(_ROUNDS):
            model.score(x)
        found[spec.name] = (perf_counter() - began) / _ROUNDS * 1e6
    return found


def _configured(rules: Path | None) -> ModelsConfig:
    return load_policy(rules or paths.rules_folder()).models


def _print(rows: list[ResultRow], *, cost: bool) -> None:
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


def _change(row: ResultRow) -> str:
    if row["changed"] is None:
        return "never"
    return f"{rfc3339(micros(row['changed']))} ({row['reason']})"


def _number(value: Any) -> str:
    return f"{value:.3g}"
