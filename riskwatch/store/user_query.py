"""Runs a user's SQL query without any way to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from riskwatch.errors import StoreError

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Rows = list[tuple[Any, ...]]


def run_user_query(conn: Connection, query: str, limit: int) -> tuple[list[str], Rows, bool]:
    """Run one read-only query.

    On SQLite the authorizer refuses everything but reads. On Postgres the session is read-only,
    and the query uses the extended protocol, which takes one statement, so it cannot end the
    transaction and continue. (Privileges of the role limit functions with side effects.)

    Parameters
    ----------
    conn : Connection
        From :func:`riskwatch.store.queries.open_reader`.
    query : str
        One SQL statement.
    limit : int
        Largest number of rows to fetch.

    Returns
    -------
    tuple
        Names of the columns, the rows, and whether there are more rows.

    Raises
    ------
    StoreError
        If the database refuses the statement, or the statement is not a query.
    """
    driver_error = conn.engine.dialect.loaded_dbapi.Error
    cursor: Any = conn.connection.cursor()
    options = {"binary": True} if conn.dialect.name == "postgresql" else {}
    try:
        cursor.execute(query, **options)
        if cursor.description is None:
            raise StoreError("this statement answers nothing; `riskwatch sql` takes a query")
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchmany(limit + 1)
    except driver_error as error:
        message = str(error).strip().splitlines()[0]
        hint = "; `riskwatch sql` only reads" if message == "not authorized" else ""
        raise StoreError(f"the query was refused: {message}{hint}") from error
    finally:
        cursor.close()
    return names, [tuple(row) for row in rows[:limit]], len(rows) > limit
