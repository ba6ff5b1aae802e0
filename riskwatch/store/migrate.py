"""Upgrades and checks the schema of a database, and grants rights on Postgres."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
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
from riskwatch.store.deployment import ensure_deployment
from riskwatch.store.engine import open_engine, translate_errors
from riskwatch.store.schema import METADATA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection


# Rights on Postgres: four group roles, to be granted to logins.
#
# * ``riskwatch_writer`` is for workers, and for people who repair things. It reads and writes rows.
#   It cannot change the schema, nor any row of an append-only table.
# * ``riskwatch_reader`` is for dashboards. It reads the documented tables, but no raw input and no
#   state.
# * ``riskwatch_operator`` is for people who command. It reads what previews and ``verify`` need
#   (everything but the outbox), and writes nothing.
# * ``riskwatch_auditor`` reads everything and writes nothing.
#
# The owner of the tables creates them and is for ``riskwatch db upgrade`` alone.

WRITER: Final = "riskwatch_writer"
READER: Final = "riskwatch_reader"
OPERATOR: Final = "riskwatch_operator"
AUDITOR: Final = "riskwatch_auditor"
ROLES: Final = (WRITER, READER, OPERATOR, AUDITOR)
APPEND_ONLY: Final = (
    "audit_chain", "decision_log", "killswitch_history", "risk_journal", "checkpoint",
    "drill_signal", "advisory_log",
)  # fmt: skip
"""Append-only tables: a writer inserts rows and never changes them."""
READ_ONLY: Final = ("alembic_version",)
"""Tables that a writer only reads."""
INTERNAL_TABLES: Final = ("risk_journal", "state_row", "outbox", "checkpoint_row")
"""Tables that a reader may not read: raw input, state, outbox."""
UNREAD_TABLES: Final = {READER: INTERNAL_TABLES, OPERATOR: ("outbox",)}
"""Tables that a role may not read."""

# Roles belong to the server: the migration of another database may create them meanwhile.
_CREATE_ROLE: Final = """
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
    """Create missing roles; return those that this login may not create."""
    for role in ROLES:
        conn.execute(text(_CREATE_ROLE.format(role=role)))
    return [role for role in ROLES if role not in _present(conn)]


def grant_rights(conn: Connection) -> None:
    """Give each existing role exactly its rights on the current tables.

    Every upgrade ends with this call, so that a new table has its rights from the beginning. On
    SQLite the call does nothing.
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
        hidden = _of(owned, UNREAD_TABLES.get(role, ()))
        rights += [f"REVOKE ALL ON {t} FROM {role}" for t in hidden]
        for right in rights:
            conn.execute(text(right))


def revoke_rights(conn: Connection) -> None:
    """Revoke every right. The roles stay, because other databases of the server may use them."""
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
    """Return the quoted name of the schema of the tables."""
    return str(conn.execute(text("SELECT quote_ident(current_schema())")).scalar_one())


_UPGRADE_LOCK: Final = 0x7269736B
"""Key of the advisory lock of upgrades; any number that nobody else locks."""


def migrations_folder() -> Path:
    """Return the folder of the migrations: in the installed package, or in the source tree.

    Raises
    ------
    StoreError
        If neither folder exists.
    """
    package = Path(riskwatch.__file__).parent
    for folder in (package / "_shipped" / "migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise StoreError("this installation of riskwatch carries no migrations")


def head_revision() -> str:
    """Return the schema revision that this build needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise StoreError(f"{migrations_folder()} holds no revision")
    return found


def upgrade(database: str | Engine, deployment: str | None = None) -> str:
    """Create or upgrade the schema, unless it is current; return the revision reached.

    A database without a deployment id gets one: `deployment`, or a random one.

    Raises
    ------
    StoreError
        If the database cannot be opened or changed, or is newer than this build.
    """
    with _connected(database, readonly=False) as conn:
        if conn.dialect.name == "postgresql":
            # Workers that start together must take turns; on SQLite the write lock does that.
            conn.execute(text("SET LOCAL lock_timeout = 0"))
            conn.execute(select(func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
            _require_utf8(conn)
        _refuse_unknown(conn, _revision(conn))
        config = _config()
        config.attributes["connection"] = conn
        with translate_errors(f"{_name(conn)} cannot be upgraded"):
            command.upgrade(config, "head")
            if conn.dialect.name == "postgresql":
                make_roles(conn)  # of this build: a migration made those of its own time
            grant_rights(conn)
            ensure_deployment(conn, datetime.now(UTC), deployment)
        conn.commit()
        return head_revision()


def _require_utf8(conn: Connection) -> None:
    """Check that a Postgres database can store every text."""
    found = conn.execute(text("SHOW server_encoding")).scalar_one()
    if found != "UTF8":
        raise StoreError(
            f"{_name(conn)} has the encoding {found}, and riskwatch needs UTF8: make another by "
            "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
        )


def current_revision(database: str | Engine) -> str | None:
    """Return the revision of a database; ``None`` if it has no riskwatch schema."""
    with _connected(database, readonly=True) as conn:
        return _revision(conn)


def check(database: str | Engine) -> None:
    """Check that this build can use a database.

    Raises
    ------
    StoreError
        If the database has no schema, an older or an unknown revision, or tables that differ
        from those of this build. The message says what to do.
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
    """Check that the revision is the one of this build, with one cheap query.

    Raises
    ------
    StoreError
        If the revision differs.
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
