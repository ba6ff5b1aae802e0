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
from sqlalchemy import func, inspect, select, text
from sqlalchemy.engine import Engine

import riskwatch
from riskwatch.errors import StoreError
from riskwatch.store.engine import open_engine, translate_errors
from riskwatch.store.schema import METADATA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection


# Who may do what on Postgres: three group roles, to be given to logins.
#
# * ``riskwatch_writer``: the workers, and people who mend things. Reads and writes rows; cannot
#   change the schema, nor any row of what is append only.
# * ``riskwatch_reader``: dashboards. Reads what is documented to ask, and no raw input or state.
# * ``riskwatch_auditor``: reads everything, writes nothing.
#
# The owner of the tables makes them and is for ``riskwatch db upgrade`` alone.

WRITER: Final = "riskwatch_writer"
READER: Final = "riskwatch_reader"
AUDITOR: Final = "riskwatch_auditor"
ROLES: Final = (WRITER, READER, AUDITOR)
APPEND_ONLY: Final = (
    "audit_chain", "decision_log", "killswitch_history", "risk_journal", "checkpoint",
    "drill_signal", "advisory_log",
)  # fmt: skip
"""Tables whose rows a writer adds and never touches again."""
READ_ONLY: Final = ("alembic_version",)
"""Tables that a writer only reads."""
INTERNAL_TABLES: Final = ("risk_journal", "state_row", "outbox", "checkpoint_row")
"""Tables that are no reader's business: raw input, state, what waits."""

# Roles belong to the server: another database's migration may make them at the same moment.
_MAKE: Final = """
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
    CREATE ROLE {role} NOLOGIN;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN NULL;
  WHEN insufficient_privilege THEN NULL;
END
$$
"""


def make_roles(conn: Connection) -> list[str]:
    """Make the roles that are missing; returns those that this login may not make."""
    for role in ROLES:
        conn.execute(text(_MAKE.format(role=role)))
    return [role for role in ROLES if role not in _present(conn)]


def grant_rights(conn: Connection) -> None:
    """Give each role that exists exactly its rights on the tables that there are now.

    Called at the end of every upgrade, so that a new table has its rights from the beginning.
    On SQLite there is nothing to do.
    """
    if conn.dialect.name != "postgresql":
        return
    schema, owned = _quoted(conn), set(_tables(conn))
    for role in (role for role in ROLES if role in _present(conn)):
        everything = f"ALL TABLES IN SCHEMA {schema}"
        rights = [f"GRANT USAGE ON SCHEMA {schema} TO {role}"]
        rights += [f"REVOKE ALL ON {everything} FROM {role}"]
        rights += [f"GRANT SELECT ON {everything} TO {role}"]
        if role == WRITER:
            rights += [f"GRANT INSERT, UPDATE, DELETE ON {everything} TO {role}"]
            rights += [f"REVOKE UPDATE, DELETE ON {t} FROM {role}" for t in _of(owned, APPEND_ONLY)]
            rights += [
                f"REVOKE INSERT, UPDATE, DELETE ON {t} FROM {role}" for t in _of(owned, READ_ONLY)
            ]
        elif role == READER:
            rights += [f"REVOKE ALL ON {t} FROM {role}" for t in _of(owned, INTERNAL_TABLES)]
        for right in rights:
            conn.execute(text(right))


def revoke_rights(conn: Connection) -> None:
    """Take every right away again. The roles stay: other databases of the server may use them."""
    schema = _quoted(conn)
    for role in (role for role in ROLES if role in _present(conn)):
        conn.execute(text(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}"))
        conn.execute(text(f"REVOKE ALL ON SCHEMA {schema} FROM {role}"))


def _present(conn: Connection) -> list[str]:
    found = conn.execute(text("SELECT rolname FROM pg_roles WHERE rolname LIKE 'riskwatch%'"))
    return list(found.scalars())


def _of(owned: set[str], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in owned]


def _tables(conn: Connection) -> list[str]:
    return inspect(conn).get_table_names()


def _quoted(conn: Connection) -> str:
    """Name of the schema that the tables are in."""
    return str(conn.execute(text("SELECT quote_ident(current_schema())")).scalar_one())


_TURN: Final = 0x7269736B
"""Any number that nobody else locks in the same database."""


def migrations_folder() -> Path:
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


def head_revision() -> str:
    """Revision that this build needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise StoreError(f"{migrations_folder()} holds no revision")
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
        with translate_errors(f"{_name(conn)} cannot be upgraded"):
            command.upgrade(config, "head")
            grant_rights(conn)
        conn.commit()
        return head_revision()


def current_revision(database: str | Engine) -> str | None:
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
    found, needed = _revision(conn), head_revision()
    if found == needed:
        return
    _refuse_unknown(conn, found)
    was = "has no riskwatch schema" if found is None else f"is at revision {found}"
    raise StoreError(f"{_name(conn)} {was}, this build needs {needed}: run `riskwatch db upgrade`")


def _refuse_unknown(conn: Connection, found: str | None) -> None:
    known = {r.revision for r in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise StoreError(
            f"{_name(conn)} is at revision {found}, which this build ({head_revision()}) "
            "does not know: "
            "it was written by a newer riskwatch"
        )


def _revision(conn: Connection) -> str | None:
    return MigrationContext.configure(conn).get_current_revision()


def _name(conn: Connection) -> str:
    return conn.engine.url.render_as_string(hide_password=True)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
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
