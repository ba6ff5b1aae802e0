"""Who may do what on Postgres: three group roles, to be given to logins.

* ``riskwatch_writer``: the workers, and people who mend things. Reads and writes rows; cannot
  change the schema, nor any row of what is append only.
* ``riskwatch_reader``: dashboards. Reads what is documented to ask, and no raw input or state.
* ``riskwatch_auditor``: reads everything, writes nothing.

The owner of the tables makes them and is for ``riskwatch db upgrade`` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

WRITER: Final = "riskwatch_writer"
READER: Final = "riskwatch_reader"
AUDITOR: Final = "riskwatch_auditor"
ROLES: Final = (WRITER, READER, AUDITOR)
APPEND_ONLY: Final = (
    "audit_chain", "decision_log", "killswitch_history", "risk_journal", "checkpoint",
    "drill_signal",
)  # fmt: skip
"""Tables whose rows a writer adds and never touches again."""
READ_ONLY: Final = ("alembic_version",)
"""Tables that a writer only reads."""
INTERNAL: Final = ("risk_journal", "state_row", "outbox", "checkpoint_row")
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


def grant(conn: Connection) -> None:
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
            rights += [f"REVOKE ALL ON {t} FROM {role}" for t in _of(owned, INTERNAL)]
        for right in rights:
            conn.execute(text(right))


def revoke(conn: Connection) -> None:
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
