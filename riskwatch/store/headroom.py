"""Headroom in SQL: what is left of each limit, and what each client may use of it.

It shows what the last heartbeat carries. No decision depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Column, Table, Text, delete

from riskwatch.store.engine import translate_errors
from riskwatch.store.lease import hold_lease
from riskwatch.store.types import METADATA, ExactDecimal, FreeText, Json, UtcTime
from riskwatch.store.write import add

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Engine

    Row = tuple[Any, ...]

HEADROOM: Final = Table(
    "headroom",
    METADATA,
    Column("scope", Text, primary_key=True),
    Column("limit_id", Text, nullable=False),
    Column("hard_usd", ExactDecimal, nullable=False),
    Column("used_usd", ExactDecimal, nullable=False),
    Column("orders_usd", ExactDecimal, nullable=False),
    Column("left_usd", ExactDecimal, nullable=True),
    Column("why", FreeText, nullable=False),
    Column("grants", Json, nullable=False),
    Column("measured_ts", UtcTime, nullable=False),
    Column("until_ts", UtcTime, nullable=False),
    Column("restriction", Text, nullable=False, server_default=""),
)
"""The tightest limit of each scope, with the grants of the last heartbeat."""


def write_headroom(engine: Engine, lease: tuple[str, int], rows: Sequence[Row]) -> None:
    """Replace all rows of `headroom`, under the lease of the worker that grants.

    Parameters
    ----------
    engine : Engine
        The database.
    lease : tuple of str, int
        Worker and epoch.
    rows : sequence of tuple
        The new rows.

    Raises
    ------
    FencedError
        If another process took the lease.
    StoreUnavailableError
        If the database does not answer.
    """
    with translate_errors("headroom cannot be written"), engine.begin() as conn:
        hold_lease(conn, *lease)
        conn.execute(delete(HEADROOM))
        add(conn, HEADROOM, rows)
