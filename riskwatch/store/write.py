"""Writes many rows into one table, with statements that are compiled once per dialect.

Rows are tuples in the order of the table's columns. SQLAlchemy compiles the statement and binds
the types, and the driver's ``executemany`` runs it. ``Connection.execute`` with dictionaries
costs several times as much per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from sqlalchemy import LargeBinary, bindparam, delete
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import Table
    from sqlalchemy.engine import Connection, Dialect

Row = tuple[Any, ...]
T = TypeVar("T")
Verb = Literal["upsert", "append", "add", "delete"]
_CACHED: Final = 256
_CHUNK: Final = 200
"""Number of keys per statement: databases bound the number of parameters."""


@dataclass(frozen=True, slots=True)
class _Statement:
    """SQL with positional parameters, and the functions that bind some of them."""

    sql: str
    binders: tuple[tuple[int, Callable[[Any], Any]], ...]

    def run(self, conn: Connection, rows: Sequence[Row]) -> None:
        if self.binders:
            rows = [self._bound(row) for row in rows]
        conn.exec_driver_sql(self.sql, rows)

    def _bound(self, row: Row) -> Row:
        values = list(row)
        for at, bind in self.binders:
            values[at] = bind(values[at])
        return tuple(values)


def chunks(keys: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield keys in portions of which a statement may name all."""
    for at in range(0, len(keys), _CHUNK):
        yield keys[at : at + _CHUNK]


def upsert(conn: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, replacing those with the same primary key. Pass one row per key."""
    if rows:
        _statement(table, "upsert", conn.dialect).run(conn, rows)


def append(conn: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows; rows that exist already stay unchanged."""
    if rows:
        _statement(table, "append", conn.dialect).run(conn, rows)


def add(conn: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows; a row that exists already is an error."""
    if rows:
        _statement(table, "add", conn.dialect).run(conn, rows)


def remove(conn: Connection, table: Table, keys: Sequence[Row]) -> None:
    """Delete rows by primary key."""
    if keys:
        _statement(table, "delete", conn.dialect).run(conn, keys)


def insert_into(table: Table, dialect: Dialect) -> Any:
    """Return an insert into `table` in the dialect's form, which supports ON CONFLICT."""
    return (sqlite if dialect.name == "sqlite" else postgresql).insert(table)


@lru_cache(maxsize=_CACHED)
def _statement(table: Table, verb: Verb, dialect: Dialect) -> _Statement:
    keys = list(table.primary_key.columns)
    if verb == "delete":
        columns = keys
        query: Any = delete(table).where(*(c == bindparam(c.name, type_=c.type) for c in keys))
    else:
        columns = list(table.columns)
        insert = insert_into(table, dialect)
        if verb == "append":
            query = insert.on_conflict_do_nothing()
        elif verb == "add":
            query = insert
        else:
            rest = {c.name: insert.excluded[c.name] for c in columns if not c.primary_key}
            query = insert.on_conflict_do_update(index_elements=keys, set_=rest)
    names = [c.name for c in columns]
    compiled = query.compile(dialect=dialect, column_keys=None if verb == "delete" else names)
    assert compiled.positiontup == names, f"{table.name}: parameters are not in column order"
    binders = (
        (at, c.type.dialect_impl(dialect).bind_processor(dialect))
        for at, c in enumerate(columns)
        # Both drivers take bytes as they are.
        if not isinstance(c.type, LargeBinary)
    )
    return _Statement(str(compiled), tuple((at, bind) for at, bind in binders if bind))
