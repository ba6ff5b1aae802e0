"""What is known of a HALT's effect, restrictions of effects and limits, deployments of commands."""

# ruff: noqa: S608 - every part of these statements is a constant of this file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

COLUMNS = (
    *("k.scope", "k.state", "k.effective", "k.quality", "k.cause", "k.reasons", "k.decision_id"),
    *("k.generation", "(SELECT MAX(h.valid_until) FROM heartbeat h) AS valid_until", "k.ts"),
    *("k.unwind_max_usd", "k.unwind_max_slip_bp", "k.unwind_until"),
    *("e.resting_usd", "e.filled_after_usd", "e.flat_at", "k.restriction", "k.members"),
)
EFFECT = "CASE WHEN k.state = 'HALT' THEN COALESCE(e.effect, 'unknown') END AS effect"
COMMANDS = (
    *("id", "ts", "commanded_at", "operator", "role", "action", "scope", "reason", "args"),
    *("idempotency_key", "outcome", "refusal", "detail", "request_id", "authentic", "signature"),
    *("cause_id", "engine"),
)


def killswitch_now(*more: str) -> str:
    return f"""
    CREATE VIEW killswitch_now AS
    SELECT {", ".join([*COLUMNS, *more])}
    FROM killswitch k
    LEFT JOIN halt_effect e ON e.scope = k.scope AND k.state = 'HALT'
    """


def commands(*more: str) -> str:
    return f"CREATE VIEW commands AS SELECT {', '.join([*COMMANDS, *more])} FROM operator_command"


def upgrade() -> None:
    op.execute("DROP VIEW killswitch_now")
    op.execute("DROP VIEW commands")
    op.add_column(
        "halt_effect", sa.Column("effect", sa.Text(), nullable=False, server_default="unknown")
    )
    op.add_column(
        "halt_effect", sa.Column("restriction", types.Json(), nullable=False, server_default="{}")
    )
    op.add_column(
        "headroom", sa.Column("restriction", sa.Text(), nullable=False, server_default="")
    )
    op.add_column("operator_command", sa.Column("deployment", sa.Text(), nullable=True))
    op.execute(killswitch_now(EFFECT))
    op.execute(commands("deployment"))


def downgrade() -> None:
    op.execute("DROP VIEW killswitch_now")
    op.execute("DROP VIEW commands")
    op.drop_column("operator_command", "deployment")
    op.drop_column("headroom", "restriction")
    op.drop_column("halt_effect", "restriction")
    op.drop_column("halt_effect", "effect")
    op.execute(killswitch_now())
    op.execute(commands())
