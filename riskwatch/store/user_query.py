"""One query of a user's own, with no way to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from riskwatch.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Rows = list[tuple[Any, ...]]


def run_user_query(conn: Connection, query: str, limit: int) -> tuple[list[str], Rows, bool]:
    """Run one query that reads.

    SQLite's authorizer refuses anything but reading. On Postgres the session is read-only and
    the query goes by the extended protocol, which takes one statement: a query cannot end the
    transaction and go on. (Functions that act are a matter of the role's privileges.)

    Parameters
    ----------
    conn : Connection
        From :func:`riskwatch.store.queries.open_reader`.
    query : str
        One SQL statement.
    limit : int
        Most rows to fetch.

    Returns
    -------
    tuple
        Names of the columns, the rows, and whether there were more.

    Raises
    ------
    StoreError
        If the database refuses it, or it answers nothing.
    """
    drivers_own = conn.engine.dialect.loaded_dbapi.Error
    cursor: Any = conn.connection.cursor()
    how = {"binary": True} if conn.dialect.name == "postgresql" else {}
    try:
        cursor.execute(query, **how)
        if cursor.description is None:
            raise StoreError("this statement answers nothing; `riskwatch sql` takes a query")
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchmany(limit + 1)
    except drivers_own as error:
        said = str(error).strip().splitlines()[0]
        hint = "; `riskwatch sql` only reads" if said == "not authorized" else ""
        raise StoreError(f"the query was refused: {said}{hint}") from error
    finally:
        cursor.close()
    return names, [tuple(row) for row in rows[:limit]], len(rows) > limit
