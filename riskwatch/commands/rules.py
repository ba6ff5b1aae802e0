"""``riskwatch rules``: check the files of a rules folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer

from riskwatch.alerting.routes import (
    NOTIFY,
    load_notify,
    unrouted_severities,
    unusable_routes,
)
from riskwatch.checks.rule_pack import (
    ScopeRuleEngine,
    coverage_lines,
    inherited_fixtures,
    load_fixtures,
    mismatches,
)
from riskwatch.commands.db import DEFAULT, Database, Folder, OptionalDatabase
from riskwatch.commands.query import advised_line
from riskwatch.commands.sender import read_keyfile
from riskwatch.config import consistency, paths
from riskwatch.config.config import (
    LIMITS,
    MODELS,
    NAMES,
    OPERATORS,
    POLICY,
    REFERENCE,
    RULES,
    attempt,
    load,
    load_name_table,
)
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
from riskwatch.config.pack import SHIPPED, inherited_lines, inherits
from riskwatch.config.recorder import decode_record
from riskwatch.config.sources import source_lines, with_unproven
from riskwatch.config.spellings import unlisted_lines
from riskwatch.config.unconfirmed import advisory_lines, with_unconfirmed
from riskwatch.contracts.names_file import encode_names
from riskwatch.contracts.redact import redact_secrets
from riskwatch.contracts.signing import Ed25519Verifier, public_key_text
from riskwatch.core.clock import rfc3339
from riskwatch.engine.clock import wall_us
from riskwatch.errors import ConfigError, RiskwatchError, SigningError, raise_config_errors
from riskwatch.store import queries
from riskwatch.store.audit import last_configuration
from riskwatch.store.deployment import current_deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.checks.rule_pack import Fixture
    from riskwatch.config.config import Config
    from riskwatch.core.alerting.config import NotifyConfig
    from riskwatch.core.rules import RulePack

Part = TypeVar("Part")
Directory = Annotated[
    Path | None, typer.Argument(help="Folder of the files, as --config.", show_default=False)
]

app = typer.Typer(
    help="Reference data, limits, static rules, policy and models.", no_args_is_help=True
)


@app.callback()
def rules() -> None:
    """Check reference data, limits, rules, policy and models."""


@app.command()
def check(
    directory: Directory = None,
    *,
    config: Folder = None,
    database: OptionalDatabase = None,
    secrets: Annotated[
        bool,
        typer.Option(help="Whether the URLs and keys of routes must be here, as for the worker."),
    ] = True,
) -> None:
    """Read a rules folder as a worker would, and run its fixtures.

    It names every error at once, and says of each rule whether a fixture fires it. Exit code 2 if
    the folder cannot be used, or if a step has another state than its fixture expects.
    """
    folder = directory or config or paths.rules_folder()
    errors: list[ConfigError] = []
    made = attempt(load, folder, errors)
    routes = attempt(load_notify, folder, errors)
    if routes is not None and secrets:
        errors += unusable_routes(routes)
    fixtures = (
        {} if made is None else attempt(partial(load_fixtures, pack=made.rules), folder, errors)
    )
    raise_config_errors(errors)
    assert made is not None, "what cannot be read is an error"
    assert routes is not None, "what cannot be read is an error"
    assert fixtures is not None, "what cannot be read is an error"
    inherited = inherited_fixtures(folder, made.rules)
    _print_counts(made, routes, fixtures)
    if inherited:
        typer.echo(f"inherited fixtures: {len(inherited)}")
    for line in _notes(folder, made, routes, database):
        typer.echo(f"note: {line}")
    for line in (*_mismatches(made.rules, inherited), *_lost_fixtures(folder, inherited)):
        typer.echo(f"note: {line}; your rules differ from the shipped ones")
    for line in coverage_lines(made.rules, {**fixtures, **inherited}):
        typer.echo(line)
    broken = _mismatches(made.rules, fixtures)
    for line in broken:
        typer.echo(line, err=True)
    if broken:
        steps = sum(len(fixture.steps) for fixture in fixtures.values())
        raise RiskwatchError(f"{len(broken)} of {steps} steps came out otherwise than expected")


def _mismatches(pack: RulePack, fixtures: dict[str, Fixture]) -> list[str]:
    return [
        f"{where}: {line}"
        for where, fixture in fixtures.items()
        for line in mismatches(pack, fixture, ScopeRuleEngine)
    ]


def _lost_fixtures(folder: Path, inherited: dict[str, Fixture]) -> list[str]:
    """Say which shipped fixtures no rule of the folder is about any more."""
    if not inherits(folder):
        return []
    shipped = load_fixtures(paths.rules_folder(), load(paths.rules_folder()).rules)
    names = [f"{SHIPPED} {where}" for where in shipped]
    return [f"{name}: no rule uses it" for name in names if name not in inherited]


def _print_counts(made: Config, routes: NotifyConfig, fixtures: dict[str, Fixture]) -> None:
    known, models = made.reference, made.policy.models
    steps = sum(len(fixture.steps) for fixture in fixtures.values())
    typer.echo(f"{REFERENCE}: {len(known.assets)} assets, {len(known.parties)} parties")
    names = made.names
    typer.echo(f"{NAMES}: {len(names.assets)} aliases of assets, {len(names.parties)} of parties")
    typer.echo(f"{LIMITS}: {len(made.limits.limits)} limits")
    typer.echo(f"{RULES}: {len(made.rules.rules)} rules")
    typer.echo(f"{POLICY}: good")
    typer.echo(f"{MODELS}: {len(models.targets)} targets, {len(models.generations)} generations")
    typer.echo(f"{NOTIFY}: {len(routes.routes)} routes")
    typer.echo(f"fixtures: {len(fixtures)} with {steps} steps")
    typer.echo(f"digest: {made.digest}")


def _notes(folder: Path, made: Config, routes: NotifyConfig, database: str | None) -> Iterator[str]:
    """Yield what a person should know about a configuration that can be used."""
    in_force = _in_force(made, database)
    yield from inherited_lines(folder)
    if database is not None and _differs(in_force, database):
        yield (
            "this is not the recorded configuration: `riskwatch policy diff recorded "
            f"{folder} --database {redact_secrets(database)}` says what it would have decided"
        )
    yield from consistency.unknown_subjects(made.limits, made.reference)
    yield from advisory_lines(in_force)
    yield from source_lines(in_force)
    yield from unlisted_lines(made.limits, made.policy.risk, made.name_table)
    if routes.routes:
        yield from unrouted_severities(routes)
    if made.operators.operators and not made.operators.states_functions:
        yield f"{OPERATORS} states no function: two traders can release a HALT together"


@app.command("names")
def names_command(
    directory: Directory = None,
    *,
    config: Folder = None,
    out: Annotated[Path, typer.Option(help="File to write.")],
) -> None:
    """Write the table of names to a file, for order paths and senders of events."""
    table = load_name_table(directory or config or paths.rules_folder())
    out.write_bytes(encode_names(table))
    typer.echo(f"{out}: {len(table.assets)} assets, {len(table.parties)} parties, {table.digest}")


@app.command("sign")
def sign_command(
    directory: Directory = None,
    *,
    config: Folder = None,
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
    folder = directory or config or paths.rules_folder()
    made = load(folder)
    with queries.open_reader(database) as conn:
        last = decode_record(last_configuration(conn))
        named = deployment or current_deployment(conn).id
    lines = loosened_limits(made, last)
    for line in lines or ["nothing is looser than what is in force: no signature is needed"]:
        typer.echo(line)
    if not lines:
        return
    known = made.operators.operators.get(operator)
    if known is None or known.disabled or not known.may(ACTION):
        raise ConfigError(OPERATORS, f"operators.{operator}", "a supervisor", operator)
    private = read_keyfile(key)
    if public_key_text(private.public_key()) != known.public_key:
        raise SigningError(f"{key} is not the key of {operator} in {OPERATORS}")
    signature = LimitsSignature(
        operator=operator,
        digest=limits_digest(made),
        deployment=named,
        at=rfc3339(wall_us()),
        reason=reason,
    )
    signed_text = private.sign(signed_bytes(signature)).hex()
    append_signature(folder, msgspec.structs.replace(signature, signature=signed_text))
    given = load_signatures(folder)
    signed = signers(made, given, Ed25519Verifier(made.operators), named, last_ts(last))
    more = "" if len(signed) >= SIGNERS else "; another supervisor must sign, too"
    typer.echo(f"signed by {', '.join(signed)}{more}")


@app.command()
def advisory(
    directory: Directory = None,
    *,
    config: Folder = None,
    database: Database = DEFAULT,
) -> None:
    """Show which rules, limits and asks only advise, and what they would have done.

    What they advised is counted by the rule or ask that led; a limit advises through the rules
    on limits.
    """
    made = _in_force(load(directory or config or paths.rules_folder()), database)
    with queries.open_reader(database) as conn:
        now, counts = queries.advised_now(conn), queries.advised_counts(conn)
    lines = advisory_lines(made)
    for line in lines or ["nothing is advisory: everything binds"]:
        typer.echo(line)
    for rule, count in counts.items():
        typer.echo(f"{rule} would have decided {count} times")
    for row in now:
        typer.echo(advised_line(row))


def _differs(config: Config, database: str) -> bool:
    """Whether a configuration is another one than a worker recorded last on a database."""
    with queries.open_reader(database) as conn:
        last = decode_record(last_configuration(conn))
    return last is not None and last.digest != config.digest


def _in_force(config: Config, database: str | None) -> Config:
    """Configuration that a worker on a database would run; of a new one if there is none."""
    if database is None:
        return config
    with queries.open_reader(database) as conn:
        last = decode_record(last_configuration(conn))
    return with_unproven(with_unconfirmed(config, last), last)
