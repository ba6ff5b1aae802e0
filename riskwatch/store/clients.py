"""Order paths (clients) in SQL: their last report, and their acknowledgements.

This is telemetry by wall clock. It is not state of a stage, and no decision depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Float, Table, Text, delete, select

from riskwatch.core.scopes import table_digest
from riskwatch.store.engine import translate_errors
from riskwatch.store.lease import hold_lease
from riskwatch.store.projections import ALERT, KILLSWITCH
from riskwatch.store.types import METADATA, FreeText, Json, UtcTime
from riskwatch.store.write import append, upsert

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.engine import Connection, Engine

    Row = tuple[Any, ...]

CLIENT: Final = Table(
    "client",
    METADATA,
    Column("client", Text, primary_key=True),
    Column("seen_ts", UtcTime, nullable=False),
    Column("started_ts", UtcTime, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("beat_ts", UtcTime, nullable=True),
    Column("digest", Text, nullable=False),
    Column("floor", Text, nullable=False),
    Column("why", FreeText, nullable=False),
    Column("sources", Json, nullable=False),
    Column("unwound", Json, nullable=False),
    Column("late", Json, nullable=False),
)
"""Last report of each order path."""

CLIENT_ACK: Final = Table(
    "client_ack",
    METADATA,
    Column("client", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("decision_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("published_ts", UtcTime, nullable=False),
    Column("applied_ts", UtcTime, nullable=False),
    Column("acked_ts", UtcTime, nullable=False, index=True),
    Column("seconds", Float, nullable=False),
)
"""Each decision that a client applied, with the time to acknowledge it."""


def write_clients(
    engine: Engine,
    lease: tuple[str, int],
    clients: Sequence[Row],
    acks: Sequence[Row],
    gone: Sequence[str] = (),
) -> None:
    """Write reports and acknowledgements of clients, under the lease of the writer.

    Parameters
    ----------
    engine : Engine
        The database.
    lease : tuple of str, int
        Worker and epoch.
    clients, acks : sequence of tuple
        Rows of `client` (replaced) and of `client_ack` (a stored row stays).
    gone : sequence of str
        Clients to delete.

    Raises
    ------
    FencedError
        If another process took the lease.
    StoreUnavailableError
        If the database does not answer.
    """
    with translate_errors("what clients said cannot be written"), engine.begin() as conn:
        hold_lease(conn, *lease)
        upsert(conn, CLIENT, clients)
        append(conn, CLIENT_ACK, acks)
        if gone:
            conn.execute(delete(CLIENT).where(CLIENT.c.client.in_(gone)))


def forget_acks(engine: Engine, before: datetime) -> int:
    """Delete rows of `client_ack` from before a time; return their number.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    with translate_errors("old acknowledgements cannot be deleted"), engine.begin() as conn:
        done = conn.execute(delete(CLIENT_ACK).where(CLIENT_ACK.c.acked_ts < before))
        return done.rowcount


def open_alerts(engine: Engine, prefix: str) -> dict[str, tuple[str, str]]:
    """Return scope and last raise id of the open alerts whose key begins with `prefix`.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    c = ALERT.c
    query = select(c.alert, c.scope, c.last_id).where(
        c.resolved_ts.is_(None), c.alert.startswith(prefix, autoescape=True)
    )
    with translate_errors("open alerts cannot be read"), engine.connect() as conn:
        return {alert: (scope, last) for alert, scope, last in conn.execute(query)}


def switch_digest(conn: Connection) -> str:
    """Return the digest of the current scope table, as in heartbeats."""
    k = KILLSWITCH.c
    rows = conn.execute(select(k.scope, k.effective, k.decision_id))
    return table_digest((scope, effective, decision) for scope, effective, decision in rows)


def clients(conn: Connection) -> list[dict[str, Any]]:
    """Return the last report of every client, with quantiles of its acknowledgement times."""
    a, found = CLIENT_ACK.c, []
    for row in conn.execute(select(CLIENT).order_by(CLIENT.c.client)).mappings():
        query = select(a.seconds).where(a.client == row["client"]).order_by(a.seconds)
        times = list(conn.execute(query).scalars())
        found.append(
            dict(row)
            | {
                "acks": len(times),
                "p50_s": quantile(times, 0.5),
                "p99_s": quantile(times, 0.99),
            }
        )
    return found


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest ordered value that at least `share` of the values do not exceed.

    Examples
    --------
    >>> quantile([1.0, 2.0, 3.0], 0.5), quantile([], 0.5)
    (2.0, None)
    """
    if not ordered:
        return None
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
