"""``riskwatch db``: the schema of a database."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import Annotated

import typer

from riskwatch.contracts.redact import redact_secrets
from riskwatch.errors import ConfigError, StoreError
from riskwatch.store import migrate
from riskwatch.store.deployment import adopt, current_deployment
from riskwatch.store.engine import open_engine
from riskwatch.worker.lease import process_holder

DEFAULT = "sqlite:///riskwatch.db"
Database = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="RISKWATCH_DATABASE",
        help="sqlite:///file.db or postgresql://user@host/name.",
    ),
]

OptionalDatabase = Annotated[
    str | None,
    typer.Option(
        "--database",
        help="Also what holds on this database: sqlite:///file.db or postgresql://user@host/name.",
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="RISKWATCH_CONFIG", help="Folder of rules and limits; else the shipped."
    ),
]

app = typer.Typer(help="Create, update and check the database.", no_args_is_help=True)


@app.command("upgrade")
def upgrade_command(database: Database = DEFAULT) -> None:
    """Create the tables and views, or update them to this build.

    A database that has no deployment id gets a random one.
    """
    typer.echo(f"at revision {migrate.upgrade(database)}, deployment {_deployment(database)}")


@app.command("current")
def current_command(database: Database = DEFAULT) -> None:
    """Print the revision of a database."""
    found = migrate.current_revision(database)
    if found is None:
        raise StoreError(
            f"{redact_secrets(database)} has no riskwatch schema: run `riskwatch db upgrade`"
        )
    newest = migrate.head_revision()
    if found == newest:
        typer.echo(f"at revision {found}, deployment {_deployment(database)}")
    else:
        typer.echo(f"at revision {found}, this build has {newest}")


@app.command("adopt")
def adopt_command(
    *,
    deployment: Annotated[
        str | None, typer.Option(help="New id: letters, digits, '-'; for a copy of a database.")
    ] = None,
    moved: Annotated[
        bool, typer.Option("--moved", help="Keep the id: its broker was replaced by another one.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; it is recorded with your name.")],
    person: Annotated[
        str | None, typer.Option(help="Who does it; else the name of the login.")
    ] = None,
    database: Database = DEFAULT,
) -> None:
    """Give a copied database an id of its own, or declare that the broker was replaced.

    Stop the workers of the database first. The adoption is a row of the audit chain. The next
    worker accepts any broker, keeps to it from then on, and publishes the whole table of scopes
    there. Commands must be signed for the new id, and guards that were given an id need the new
    one.
    """
    if moved == (deployment is not None):
        raise ConfigError("command line", "--deployment", "either --deployment or --moved")
    if not reason.strip():
        raise ConfigError("command line", "--reason", "a reason")
    engine = open_engine(database)
    try:
        with engine.connect() as conn:
            migrate.require_current(conn)
        done = adopt(
            engine,
            process_holder(),
            time.time_ns() // 1_000,
            deployment=deployment,
            person=getpass.getuser() if person is None else person,
            reason=reason,
        )
    finally:
        engine.dispose()
    if moved:
        typer.echo(f"deployment {done.deployment} accepts the next broker that a worker meets")
    else:
        typer.echo(f"deployment {done.previous} is deployment {done.deployment} from here on")


def _deployment(database: str) -> str:
    engine = open_engine(database, readonly=True)
    try:
        with engine.connect() as conn:
            return current_deployment(conn).id
    finally:
        engine.dispose()


@app.command("check")
def check_command(database: Database = DEFAULT) -> None:
    """Check that the schema of a database is exactly that of this build; exit code 2 if not."""
    migrate.check(database)
    typer.echo(f"as this build needs it, at revision {migrate.head_revision()}")
