"""Drills in SQL: the signals of the risk worker, and the evaluated results.

Signals are written by the risk worker in its own transaction. Results are telemetry by wall
clock, written by the acknowledgement worker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import Column, Float, Integer, Table, Text, func, select

from riskwatch.core.risk.state import DrillRow
from riskwatch.store.engine import translate_errors
from riskwatch.store.lease import hold_lease
from riskwatch.store.projections import KILLSWITCH_HISTORY
from riskwatch.store.state_rows import current_row
from riskwatch.store.types import METADATA, FreeText, Json, UtcTime
from riskwatch.store.write import append

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.engine import Connection, Engine

    Row = tuple[Any, ...]

DRILL: Final = Table(
    "drill",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("reason", FreeText, nullable=False),
    Column("sent_ts", UtcTime, nullable=False, index=True),
    Column("outcome", Text, nullable=False),
    Column("expected", Integer, nullable=False),
    Column("answered", Integer, nullable=False),
    Column("slowest_s", Float, nullable=True),
    Column("digest_before", Text, nullable=False),
    Column("digest_after", Text, nullable=False),
    Column("report", Json, nullable=False),
)
"""Result of every drill, with its whole report."""

DRILL_SIGNAL: Final = Table(
    "drill_signal",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("ts", UtcTime, nullable=False, index=True),
    Column("scope", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("reason", FreeText, nullable=False),
    Column("expect", Json, nullable=False),
    Column("cause_id", Text, nullable=False),
    Column("engine", Text, nullable=False),
)
"""Every drill signal of the risk worker."""


def write_drill(engine: Engine, lease: tuple[str, int], row: Row) -> None:
    """Write the result of a drill, under the lease of the writer. A stored result stays.

    Raises
    ------
    FencedError
        If another process took the lease.
    StoreUnavailableError
        If the database does not answer.
    """
    with translate_errors("the drill cannot be kept"), engine.begin() as conn:
        hold_lease(conn, *lease)
        append(conn, DRILL, [row])


def evaluated_since(conn: Connection, since: datetime) -> set[str]:
    """Return the ids of drills sent since a time that are evaluated already."""
    return set(conn.execute(select(DRILL.c.id).where(DRILL.c.sent_ts >= since)).scalars())


def last_drills(conn: Connection) -> list[dict[str, Any]]:
    """Return the last evaluated drill of each scope, with its report."""
    newest = select(DRILL.c.scope, func.max(DRILL.c.sent_ts).label("ts")).group_by(DRILL.c.scope)
    last = newest.subquery()
    query = select(DRILL).join(
        last, (DRILL.c.scope == last.c.scope) & (DRILL.c.sent_ts == last.c.ts)
    )
    return [dict(row) for row in conn.execute(query.order_by(DRILL.c.scope)).mappings()]


def plan_row(conn: Connection, plan: str) -> DrillRow | None:
    """Return the risk worker's state row of a drill plan; ``None`` if there is none."""
    body = current_row(conn, "risk", f"drill/{plan}")
    return None if body is None else msgspec.json.decode(body, type=DrillRow)


def real_changes(conn: Connection, since: datetime) -> list[str]:
    """Return texts of the real switch changes since a time, at most ten."""
    c = KILLSWITCH_HISTORY.c
    query = select(c.scope, c.effective, c.decision_id).where(c.ts >= since).order_by(c.ts)
    rows = conn.execute(query.limit(10))
    return [f"{scope} {effective} ({decision[:12]})" for scope, effective, decision in rows]


def switches_caused_by(conn: Connection, cause_id: str, since: datetime) -> int:
    """Count the real switch changes with a cause since a time; 0 if the cause was a drill."""
    c = KILLSWITCH_HISTORY.c
    query = select(func.count()).where(c.ts >= since, c.cause_id == cause_id)
    found: int = conn.execute(query).scalar_one()
    return found


def drill(conn: Connection, output_id: str) -> dict[str, Any] | None:
    """Return the result of one drill; ``None`` before it is evaluated."""
    found = conn.execute(select(DRILL).where(DRILL.c.id == output_id)).mappings().first()
    return None if found is None else dict(found)


def drills(conn: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the last drills, the newest first; `outcome` is empty before evaluation."""
    rows = conn.execute(select(DRILL).order_by(DRILL.c.sent_ts.desc()).limit(limit)).mappings()
    found = {row["id"]: dict(row) | {"plan": ""} for row in rows}
    signals = select(DRILL_SIGNAL).order_by(DRILL_SIGNAL.c.ts.desc()).limit(limit)
    for signal in conn.execute(signals).mappings():
        known = found.setdefault(signal["id"], _pending_row(signal))
        known["plan"] = signal["plan"]
    newest = sorted(found.values(), key=lambda row: (row["sent_ts"], row["id"]), reverse=True)
    return newest[:limit]


def _pending_row(signal: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(DRILL.c.keys())
    return row | {
        "id": signal["id"],
        "scope": signal["scope"],
        "person": signal["person"],
        "reason": signal["reason"],
        "sent_ts": signal["ts"],
        "outcome": "",
        "expected": len(signal["expect"]),
        "answered": 0,
    }
