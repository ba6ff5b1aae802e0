"""``riskwatch db``: the schema of a database."""

from __future__ import annotations

from typing import Annotated

import typer

from riskwatch.contracts.redact import redact_secrets
from riskwatch.errors import StoreError
from riskwatch.store import migrate

DEFAULT = "sqlite:///riskwatch.db"
Database = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="RISKWATCH_DATABASE",
        help="sqlite:///file.db or postgresql://user@host/name.",
    ),
]

app = typer.Typer(help="Create, update and check the database.", no_args_is_help=True)


@app.command("upgrade")
def upgrade_command(database: Database = DEFAULT) -> None:
    """Create the tables and views, or update them to this build."""
    typer.echo(f"at revision {migrate.upgrade(database)}")


@app.command("current")
def current_command(database: Database = DEFAULT) -> None:
    """Print the revision of a database."""
    found = migrate.current_revision(database)
    if found is None:
        raise StoreError(
            f"{redact_secrets(database)} has no riskwatch schema: run `riskwatch db upgrade`"
        )
    newest = migrate.head_revision()
    typer.echo(f"at revision {found}" + ("" if found == newest else f", this build has {newest}"))


@app.command("check")
def check_command(database: Database = DEFAULT) -> None:
    """Check that the schema of a database is exactly that of this build; exit code 2 if not."""
    migrate.check(database)
    typer.echo(f"as this build needs it, at revision {migrate.head_revision()}")
