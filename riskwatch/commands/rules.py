"""``riskwatch rules``: check the files of a rules folder."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from riskwatch.alerting.routes import NOTIFY, load_notify, unrouted_severities
from riskwatch.checks.rule_pack import (
    ScopeRuleEngine,
    coverage_lines,
    load_fixtures,
    mismatches,
)
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.query import advised_line
from riskwatch.commands.sender import read_keyfile
from riskwatch.config import consistency, paths
from riskwatch.config.config import LIMITS, MODELS, OPERATORS, POLICY, REFERENCE, RULES, load
from riskwatch.config.loosened import (
    ACTION,
    SIGNERS,
    LimitsSignature,
    append_signature,
    last_ts,
    limits_digest,
    load_signatures,
    loosened_limits,
    signed_bytes,
    signers,
)
from riskwatch.config.recorder import decode_record
from riskwatch.config.sources import source_lines, with_unproven
from riskwatch.config.unconfirmed import advisory_lines, with_unconfirmed
from riskwatch.contracts.signing import Ed25519Verifier, public_key_text
from riskwatch.core.clock import rfc3339
from riskwatch.engine.clock import wall_us
from riskwatch.errors import ConfigError, RiskwatchError, SigningError
from riskwatch.store import queries
from riskwatch.store.audit import last_configuration
from riskwatch.store.deployment import current_deployment

if TYPE_CHECKING:
    from riskwatch.config.config import Config

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
    *,
    database: Annotated[
        str | None,
        typer.Option(help="Say what a worker on this database would run as advisory."),
    ] = None,
) -> None:
    """Read a rules folder as a worker would, and run its fixtures.

    It names every error at once, and says of each rule whether a fixture fires it. Exit code 2 if
    the folder cannot be used, or if a step has another state than its fixture expects.
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
    in_force = _in_force(config, database)
    for line in consistency.unknown_subjects(config.limits, known):
        typer.echo(f"note: {line}")
    for line in (*advisory_lines(in_force), *source_lines(in_force)):
        typer.echo(f"note: {line}")
    for line in unrouted_severities(routes) if routes.routes else ():
        typer.echo(f"note: {line}")
    if config.operators.operators and not config.operators.states_functions:
        typer.echo(f"note: {OPERATORS} states no function: two traders can release a HALT together")
    for line in coverage_lines(config.rules, fixtures):
        typer.echo(line)
    for line in broken:
        typer.echo(line, err=True)
    if broken:
        raise RiskwatchError(f"{len(broken)} of {steps} steps came out otherwise than expected")


@app.command("sign")
def sign_command(
    directory: Annotated[
        Path | None,
        typer.Argument(
            envvar="RISKWATCH_CONFIG", help="Folder of the files; the shipped one if absent."
        ),
    ] = None,
    *,
    operator: Annotated[str, typer.Option(help="Your id in operators.toml.")],
    key: Annotated[Path, typer.Option(help="Your private key.")],
    reason: Annotated[str, typer.Option(help="Why; it is signed with the limits.")],
    deployment: Annotated[
        str | None, typer.Option(help="For which deployment; else that of the database.")
    ] = None,
    database: Database = DEFAULT,
) -> None:
    """Sign limits that are looser than those in force; two supervisors sign them.

    It shows what is looser, and adds your signature to signatures.toml.
    """
    folder = directory or paths.rules_folder()
    config = load(folder)
    with queries.open_reader(database) as conn:
        last = decode_record(last_configuration(conn))
        named = deployment or current_deployment(conn).id
    lines = loosened_limits(config, last)
    for line in lines or ["nothing is looser than what is in force: no signature is needed"]:
        typer.echo(line)
    if not lines:
        return
    known = config.operators.operators.get(operator)
    if known is None or known.disabled or not known.may(ACTION):
        raise ConfigError(OPERATORS, f"operators.{operator}", "a supervisor", operator)
    private = read_keyfile(key)
    if public_key_text(private.public_key()) != known.public_key:
        raise SigningError(f"{key} is not the key of {operator} in {OPERATORS}")
    made = LimitsSignature(
        operator=operator,
        digest=limits_digest(config),
        deployment=named,
        at=rfc3339(wall_us()),
        reason=reason,
    )
    made = msgspec.structs.replace(made, signature=private.sign(signed_bytes(made)).hex())
    append_signature(folder, made)
    given = load_signatures(folder)
    signed = signers(config, given, Ed25519Verifier(config.operators), named, last_ts(last))
    more = "" if len(signed) >= SIGNERS else "; another supervisor must sign, too"
    typer.echo(f"signed by {', '.join(signed)}{more}")


@app.command()
def advisory(
    directory: Annotated[
        Path | None,
        typer.Argument(
            envvar="RISKWATCH_CONFIG", help="Folder of the files; the shipped one if absent."
        ),
    ] = None,
    *,
    database: Database = DEFAULT,
) -> None:
    """Show which rules, limits and asks only advise, and what they would have done.

    What they advised is counted by the rule or ask that led; a limit advises through the rules
    on limits.
    """
    config = _in_force(load(directory or paths.rules_folder()), database)
    with queries.open_reader(database) as conn:
        now, counts = queries.advised_now(conn), queries.advised_counts(conn)
    lines = advisory_lines(config)
    for line in lines or ["nothing is advisory: everything binds"]:
        typer.echo(line)
    for rule, count in counts.items():
        typer.echo(f"{rule} would have decided {count} times")
    for row in now:
        typer.echo(advised_line(row))


def _in_force(config: Config, database: str | None) -> Config:
    """Configuration that a worker on a database would run; of a new one if there is none."""
    if database is None:
        return config
    with queries.open_reader(database) as conn:
        last = decode_record(last_configuration(conn))
    return with_unproven(with_unconfirmed(config, last), last)
