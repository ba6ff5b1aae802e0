"""``riskwatch rules``: check the files of a rules folder."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import Annotated

import typer

from riskwatch.alerting.routes import NOTIFY, load_notify, unrouted_severities
from riskwatch.checks.rule_pack import (
    ScopeRuleEngine,
    load_fixtures,
    mismatches,
    rules_without_fixture,
)
from riskwatch.config import consistency, paths
from riskwatch.config.config import LIMITS, MODELS, POLICY, REFERENCE, RULES, load
from riskwatch.errors import RiskwatchError

app = typer.Typer(
    help="Reference data, limits, static rules, policy and models.", no_args_is_help=True
)


@app.callback()
def rules() -> None:
    """Check reference data, limits, rules, policy and models."""


@app.command()
def check(
    directory: Annotated[
        Path | None, typer.Argument(help="Folder of the files; the shipped one if absent.")
    ] = None,
) -> None:
    """Read a rules folder as a worker would, and run its fixtures.

    Exit code 2 if it cannot be used, or if a step has another state than its fixture expects.
    """
    folder = directory or paths.rules_folder()
    config = load(folder)
    routes = load_notify(folder)
    fixtures = load_fixtures(folder, config.rules)
    steps = sum(len(fixture.steps) for fixture in fixtures.values())
    broken = [
        f"{where}: {line}"
        for where, fixture in fixtures.items()
        for line in mismatches(config.rules, fixture, ScopeRuleEngine)
    ]
    known = config.reference
    typer.echo(f"{REFERENCE}: {len(known.assets)} assets, {len(known.parties)} parties")
    typer.echo(f"{LIMITS}: {len(config.limits.limits)} limits")
    typer.echo(f"{RULES}: {len(config.rules.rules)} rules")
    models = config.policy.models
    typer.echo(f"{POLICY}: good")
    typer.echo(f"{MODELS}: {len(models.targets)} targets, {len(models.generations)} generations")
    typer.echo(f"{NOTIFY}: {len(routes.routes)} routes")
    typer.echo(f"fixtures: {len(fixtures)} with {steps} steps")
    typer.echo(f"digest: {config.digest}")
    for line in consistency.unknown_subjects(config.limits, known):
        typer.echo(f"note: {line}")
    for line in unrouted_severities(routes) if routes.routes else ():
        typer.echo(f"note: {line}")
    for rule in rules_without_fixture(config.rules, fixtures):
        typer.echo(f"note: rule {rule} has no fixture in which it fires")
    for line in broken:
        typer.echo(line, err=True)
    if broken:
        raise RiskwatchError(f"{len(broken)} of {steps} steps came out otherwise than expected")
