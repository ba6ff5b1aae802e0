"""Digest of the content of a database: equal histories give equal content."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, collate, select

from riskwatch.core.stage import encode_row
from riskwatch.store.schema import METADATA
from riskwatch.store.truth import DEPLOYMENT, HEARTBEAT, LEASE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.engine import Engine

_FETCH = 2_000
_OWN = (LEASE.name, DEPLOYMENT.name, HEARTBEAT.name)
"""Tables that tell which process ran in which database, and not what happened."""


def dump(
    engine: Engine, *, exclude: Collection[str] = _OWN
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield every row as (table, values), tables by name and rows by primary key.

    Lease, heartbeat and deployment are excluded: they hold who ran where, not what happened. Order
    and values are the same on SQLite and on Postgres.
    """
    with engine.connect().execution_options(yield_per=_FETCH) as conn:
        for name in sorted(METADATA.tables):
            if name not in exclude:
                table = METADATA.tables[name]
                for row in conn.execute(select(table).order_by(*_order(table, engine))):
                    yield name, tuple(row)


def content_digest(engine: Engine, *, exclude: Collection[str] = _OWN) -> str:
    """Return the digest of :func:`dump`, 64 hexadecimal digits."""
    h = blake2b(digest_size=32, person=b"riskwatch-sql")
    for name, row in dump(engine, exclude=exclude):
        line = encode_row((name, row))
        h.update(len(line).to_bytes(8, "big"))
        h.update(line)
    return h.hexdigest()


def _order(table: Table, engine: Engine) -> list[ColumnElement[Any]]:
    """Return the primary key in code-point order, whatever the collation of the database."""
    keys = list(table.primary_key.columns)
    if engine.dialect.name == "sqlite":
        return list(keys)
    return [collate(c, "C") if isinstance(c.type, Text) else c for c in keys]
