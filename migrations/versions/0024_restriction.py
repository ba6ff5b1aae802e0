"""What switches and decisions restrict, and the members of groups, issuers and banks."""

# ruff: noqa: S608 - every part of these statements is a constant of this file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

SWITCHES = ("killswitch", "killswitch_history")
BEFORE = (
    "scope", "state", "effective", "quality", "cause", "reasons", "decision_id", "generation",
)  # fmt: skip
AFTER = ("ts", "unwind_max_usd", "unwind_max_slip_bp", "unwind_until")
EFFECT = ("resting_usd", "filled_after_usd", "flat_at")
CONFIRMED = "(SELECT MAX(h.valid_until) FROM heartbeat h) AS valid_until"


def killswitch_now(*more: str) -> str:
    columns = [*(f"k.{name}" for name in BEFORE), CONFIRMED, *(f"k.{name}" for name in AFTER)]
    columns += [*(f"e.{name}" for name in EFFECT), *(f"k.{name}" for name in more)]
    return f"""
    CREATE VIEW killswitch_now AS
    SELECT {", ".join(columns)}
    FROM killswitch k
    LEFT JOIN halt_effect e ON e.scope = k.scope AND k.state = 'HALT'
    """


def decision(more: str = "") -> str:
    return f"""
    CREATE VIEW decision AS
    SELECT id, ts, scope, previous, state, quality, cause, generation, rule, reasons, features,
           contributions, limits, support, refute, flip, exposure_usd, el_usd, exit_cost_usd,
           cause_id, engine{more}
    FROM decision_log
    """


def upgrade() -> None:
    op.execute("DROP VIEW killswitch_now")
    op.execute("DROP VIEW decision")
    for name in (*SWITCHES, "decision_log"):
        op.add_column(
            name, sa.Column("restriction", types.Json(), nullable=False, server_default="{}")
        )
    for name in SWITCHES:
        op.add_column(name, sa.Column("members", types.Json(), nullable=False, server_default="[]"))
    op.execute(killswitch_now("restriction", "members"))
    op.execute(decision(", restriction"))


def downgrade() -> None:
    op.execute("DROP VIEW killswitch_now")
    op.execute("DROP VIEW decision")
    for name in SWITCHES:
        op.drop_column(name, "members")
    for name in (*SWITCHES, "decision_log"):
        op.drop_column(name, "restriction")
    op.execute(killswitch_now())
    op.execute(decision())
