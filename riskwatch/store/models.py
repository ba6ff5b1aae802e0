"""Questions about models: where each stands, and how its authority came about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from riskwatch.store.projections import AUTHORITY_CHANGE, MODEL_STANDING, SCORE

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from riskwatch.store.queries import Found

_HEIGHT = {"shadow": 0, "advisory": 1, "bounded": 2, "full": 3}


def standings(conn: Connection, generation: str | None = None) -> list[Found]:
    """Where every generation stands, by target, the highest authority first."""
    query = select(MODEL_STANDING)
    if generation is not None:
        query = query.where(MODEL_STANDING.c.generation == generation)
    rows = [dict(row) for row in conn.execute(query).mappings()]
    return sorted(
        rows,
        key=lambda row: (row["target"], -_HEIGHT.get(row["authority"], 0), row["generation"]),
    )


def authority_changes(conn: Connection, generation: str) -> list[Found]:
    """Every change of a generation's authority, in order of time."""
    c = AUTHORITY_CHANGE.c
    query = select(AUTHORITY_CHANGE).where(c.generation == generation).order_by(c.ts, c.id)
    return [dict(row) for row in conn.execute(query).mappings()]


def last_features(conn: Connection) -> dict[str, dict[str, float]]:
    """Return one set of features that was scored lately, by generation."""
    query = select(SCORE.c.generation, SCORE.c.features).order_by(SCORE.c.ts, SCORE.c.scope)
    rows = conn.execute(query).all()
    return {row.generation: row.features for row in rows}
