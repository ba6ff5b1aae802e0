"""``riskwatch config``: the effective configuration, and where each value comes from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from pydantic import SecretStr

from riskwatch.commands.db import Folder, OptionalDatabase  # noqa: TC001 - for typer
from riskwatch.commands.query import Json  # noqa: TC001 - for typer
from riskwatch.config import paths
from riskwatch.config.config import LIMITS, MODELS, load
from riskwatch.config.pack import SHIPPED
from riskwatch.config.provenance import DEFAULT, ConfigValue, effective_values
from riskwatch.config.recorder import decode_record
from riskwatch.config.sources import with_unproven
from riskwatch.config.unconfirmed import with_unconfirmed
from riskwatch.contracts.redact import redact_secrets
from riskwatch.core.clock import rfc3339
from riskwatch.store import queries
from riskwatch.store.audit import last_configuration
from riskwatch.worker.settings import PREFIX, ProcessSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from riskwatch.config.config import Config

ENVIRONMENT = "environment"
COMMAND = "command"

app = typer.Typer(help="The effective configuration.", no_args_is_help=True)


@app.callback()
def _config() -> None:
    """Show the effective configuration."""


@app.command("show")
def show_command(
    path: Annotated[
        str | None, typer.Argument(metavar="PATH", help="Only what begins so, as limits.kraken.")
    ] = None,
    *,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what is neither a default nor shipped.")
    ] = False,
    config: Folder = None,
    database: OptionalDatabase = None,
    as_json: Json = False,
) -> None:
    """Print the effective configuration, and where each value comes from.

    With a database it includes what people changed by command, and what waits for confirmation.
    The paths are those that ``remove`` takes.
    """
    folder = config or paths.rules_folder()
    found = [*_values(folder, database), *environment_values(ProcessSettings.read())]
    for each in found:
        if not each.path.startswith(path or ""):
            continue
        if changed and each.layer in (DEFAULT, SHIPPED):
            continue
        typer.echo(msgspec.json.encode(each).decode() if as_json else value_line(each))


def _values(folder: Path, database: str | None) -> Iterator[ConfigValue]:
    config = load(folder)
    if database is None:
        yield from effective_values(folder, config)
        return
    with queries.open_reader(database) as conn:
        last = decode_record(last_configuration(conn))
        config = with_unproven(with_unconfirmed(config, last), last)
        commanded = {(each.file, each.path): each for each in command_values(conn, config)}
    for each in effective_values(folder, config):
        yield commanded.pop((each.file, each.path), each)
    yield from commanded.values()


def command_values(conn: Connection, config: Config) -> Iterator[ConfigValue]:
    """Yield the limits and authorities that people, or evidence, changed while it ran."""
    for limit in config.limits.limits:
        row = queries.limit_override(conn, limit.id)
        if row is None:
            continue
        until = f", until {rfc3339(row.until)}" if row.until else ""
        by = f"{row.by} at {rfc3339(row.us)}{until}"
        for name, value in (("hard_usd", row.hard_usd), ("warning_share", row.warning_share)):
            yield ConfigValue(
                file=LIMITS, path=f"limits.{limit.id}.{name}", value=value, layer=COMMAND, at=by
            )
    for record in queries.authority_records(conn):
        if record["changed"] is not None:
            path = f"generations.{record['generation']}.authority of {record['target']}"
            value, reason = record["authority"], record["reason"]
            yield ConfigValue(file=MODELS, path=path, value=value, layer=COMMAND, at=reason)


def environment_values(settings: ProcessSettings) -> Iterator[ConfigValue]:
    """Yield the settings of a process; of a secret only whether it is set."""
    for name in type(settings).model_fields:
        variable, value = f"{PREFIX}{name.upper()}", getattr(settings, name)
        if isinstance(value, SecretStr):
            value = "(set)" if value.get_secret_value() else ""
        layer = ENVIRONMENT if os.environ.get(variable) else DEFAULT
        shown = None if value is None else redact_secrets(str(value))
        at = variable if layer == ENVIRONMENT else ""
        yield ConfigValue(file=ENVIRONMENT, path=variable, value=shown, layer=layer, at=at)


def value_line(each: ConfigValue) -> str:
    """Return a value as a line of text: file, path, value, layer and place.

    Examples
    --------
    >>> value_line(ConfigValue(file="limits.toml", path="equity_usd", value=2.5, layer="own",
    ...                        at="equity_usd"))
    'limits.toml equity_usd = 2.5  [own]'
    """
    place = each.at if each.layer != ENVIRONMENT and each.at != each.path else ""
    tail = f": {place}" if place else ""
    value = msgspec.json.encode(each.value).decode()
    return f"{each.file} {each.path} = {value}  [{each.layer}{tail}]"
