"""Bring a database to the schema of this build, and say where it stands."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select
from sqlalchemy.engine import Engine

import riskwatch
from riskwatch.errors import StoreError
from riskwatch.store.engine import answering, open_engine
from riskwatch.store.roles import grant
from riskwatch.store.schema import METADATA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection

_TURN: Final = 0x7269736B
"""Any number that nobody else locks in the same database."""


def migrations() -> Path:
    """Folder of the migrations: inside the installed package, or beside it in the source.

    Raises
    ------
    StoreError
        If neither exists.
    """
    package = Path(riskwatch.__file__).parent
    for folder in (package / "_shipped" / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StoreError("this installation of riskwatch carries no migrations")


def head() -> str:
    """Revision that this build needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise StoreError(f"{migrations()} holds no revision")
    return found


def upgrade(database: str | Engine) -> str:
    """Create or update the schema; returns the revision reached. Does nothing if up to date.

    Raises
    ------
    StoreError
        If the database cannot be opened or changed, or is newer than this build.
    """
    with _connected(database, readonly=False) as conn:
        if conn.dialect.name == "postgresql":
            # Workers that start together take turns; SQLite's write lock does the same.
            conn.execute(select(func.pg_advisory_xact_lock(_TURN)))
        _refuse_unknown(conn, _revision(conn))
        config = _config()
        config.attributes["connection"] = conn
        with answering(f"{_name(conn)} cannot be upgraded"):
            command.upgrade(config, "head")
            grant(conn)
        conn.commit()
        return head()


def current(database: str | Engine) -> str | None:
    """Revision of a database, ``None`` if it holds no schema of riskwatch."""
    with _connected(database, readonly=True) as conn:
        return _revision(conn)


def check(database: str | Engine) -> None:
    """Return quietly if a database can be used by this build.

    Raises
    ------
    StoreError
        If it has no schema, an older or an unknown revision, or tables that differ from those
        of this build; the message says what to do.
    """
    with _connected(database, readonly=True) as conn:
        require_current(conn)
        differences = compare_metadata(MigrationContext.configure(conn), METADATA)
        if differences:
            raise StoreError(
                f"{_name(conn)} differs from the schema of this build in {len(differences)} "
                f"places, first: {differences[0]}"
            )


def require_current(conn: Connection) -> None:
    """Return quietly if the revision is the one of this build: one cheap query.

    Raises
    ------
    StoreError
        If it is not.
    """
    found, needed = _revision(conn), head()
    if found == needed:
        return
    _refuse_unknown(conn, found)
    was = "has no riskwatch schema" if found is None else f"is at revision {found}"
    raise StoreError(f"{_name(conn)} {was}, this build needs {needed}: run `riskwatch db upgrade`")


def _refuse_unknown(conn: Connection, found: str | None) -> None:
    known = {r.revision for r in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"{_name(conn)} is at revision {found}, which this build ({head()}) does not know: "
            "it was written by a newer riskwatch"
        )


def _revision(conn: Connection) -> str | None:
    return MigrationContext.configure(conn).get_current_revision()


def _name(conn: Connection) -> str:
    return conn.engine.url.render_as_string(hide_password=True)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    return config


@contextmanager
def _connected(database: str | Engine, *, readonly: bool) -> Iterator[Connection]:
    if isinstance(database, Engine):
        with database.connect() as conn:
            yield conn
        return
    engine = open_engine(database, readonly=readonly)
    try:
        with engine.connect() as conn:
            yield conn
    finally:
        engine.dispose()
