"""Commands of operators, controls in force, and unwind permissions during a HALT."""

# ruff: noqa: S608 - every part of these statements is a constant of this file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_SWITCHES = ("killswitch", "killswitch_history")
_PASSES = "unwind_max_usd, unwind_max_slip_bp, unwind_until"

COMMANDS = """
SELECT id, ts, commanded_at, operator, role, action, scope, reason, args, idempotency_key, outcome,
       refusal, detail, request_id, authentic, signature, cause_id, engine
FROM operator_command
"""

REQUEST_OPEN = """
SELECT scope, request_id, request_action AS action, request_by AS requested_by,
       request_until AS until, ts
FROM scope_control WHERE request_id IS NOT NULL
"""

OVERRIDE_NOW = """
SELECT scope, override_state AS state, override_by AS requested_by,
       override_approved_by AS approved_by, override_until AS until, ts
FROM scope_control WHERE override_by IS NOT NULL
"""

SILENCE_NOW = """
SELECT scope, silence_by AS author, silence_until AS until, ts
FROM scope_control WHERE silence_by IS NOT NULL
"""

VIEWS = {
    "commands": COMMANDS,
    "request_open": REQUEST_OPEN,
    "override_now": OVERRIDE_NOW,
    "silence_now": SILENCE_NOW,
}


def killswitch_now(more: str = "") -> str:
    return f"""
    CREATE VIEW killswitch_now AS
    SELECT scope, state, effective, quality, cause, reasons, decision_id, generation, valid_until,
           ts{more}
    FROM killswitch
    """


def upgrade() -> None:
    op.create_table(
        "operator_command",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("commanded_at", types.UtcTime(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("reason", types.FreeText(), nullable=False),
        sa.Column("args", types.Json(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("detail", types.FreeText(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("authentic", sa.Boolean(), nullable=False),
        sa.Column("signature", types.FreeText(), nullable=False),
        sa.Column("cause_id", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_command")),
    )
    for columns in (["ts"], ["idempotency_key"], ["scope", "ts"]):
        op.create_index(
            op.f(f"ix_operator_command_{'_'.join(columns)}"), "operator_command", columns
        )
    op.create_table(
        "scope_control",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("request_action", sa.Text(), nullable=True),
        sa.Column("request_by", sa.Text(), nullable=True),
        sa.Column("request_until", types.UtcTime(), nullable=True),
        sa.Column("override_state", sa.Text(), nullable=True),
        sa.Column("override_by", sa.Text(), nullable=True),
        sa.Column("override_approved_by", sa.Text(), nullable=True),
        sa.Column("override_until", types.UtcTime(), nullable=True),
        sa.Column("silence_by", sa.Text(), nullable=True),
        sa.Column("silence_until", types.UtcTime(), nullable=True),
        sa.Column("retired_by", sa.Text(), nullable=True),
        sa.Column("retired_ts", types.UtcTime(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("acknowledged_ts", types.UtcTime(), nullable=True),
        sa.Column("unwind_by", sa.Text(), nullable=True),
        sa.Column("unwind_max_usd", types.ExactDecimal(), nullable=True),
        sa.Column("unwind_max_slip_bp", sa.Double(), nullable=True),
        sa.Column("unwind_until", types.UtcTime(), nullable=True),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_scope_control")),
    )
    op.execute("DROP VIEW killswitch_now")
    for name in _SWITCHES:
        op.add_column(name, sa.Column("unwind_max_usd", types.ExactDecimal(), nullable=True))
        op.add_column(name, sa.Column("unwind_max_slip_bp", sa.Double(), nullable=True))
        op.add_column(name, sa.Column("unwind_until", types.UtcTime(), nullable=True))
    op.execute(killswitch_now(f", {_PASSES}"))
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
    op.execute("DROP VIEW killswitch_now")
    for name in _SWITCHES:
        for column in ("unwind_until", "unwind_max_slip_bp", "unwind_max_usd"):
            op.drop_column(name, column)
    op.execute(killswitch_now())
    op.drop_table("scope_control")
    op.drop_table("operator_command")
