"""Until when the last heartbeat confirms the table of scopes, in SQL."""

# ruff: noqa: S608 - every part of these statements is a constant of this file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0023"
down_revision = "0020"
branch_labels = None
depends_on = None

BEFORE = (
    "scope", "state", "effective", "quality", "cause", "reasons", "decision_id", "generation",
)  # fmt: skip
AFTER = ("ts", "unwind_max_usd", "unwind_max_slip_bp", "unwind_until")
EFFECT = ("resting_usd", "filled_after_usd", "flat_at")
CONFIRMED = "(SELECT MAX(h.valid_until) FROM heartbeat h) AS valid_until"


def killswitch_now(valid_until: str) -> str:
    columns = [f"k.{name}" for name in BEFORE]
    columns += [valid_until, *(f"k.{name}" for name in AFTER), *(f"e.{name}" for name in EFFECT)]
    return f"""
    CREATE VIEW killswitch_now AS
    SELECT {", ".join(columns)}
    FROM killswitch k
    LEFT JOIN halt_effect e ON e.scope = k.scope AND k.state = 'HALT'
    """


def upgrade() -> None:
    op.create_table(
        "heartbeat",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("valid_until", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("worker", name=op.f("pk_heartbeat")),
    )
    op.execute("DROP VIEW killswitch_now")
    op.execute(killswitch_now(CONFIRMED))


def downgrade() -> None:
    op.execute("DROP VIEW killswitch_now")
    op.execute(killswitch_now("k.valid_until"))
    op.drop_table("heartbeat")
