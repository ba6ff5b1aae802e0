"""Whether a HALT took effect, the drawdown of the firm, and its high-water marks."""

# ruff: noqa: S608 - every part of these statements is a constant of this file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0020"
down_revision = "0022"
branch_labels = None
depends_on = None

COLUMNS = (
    "scope", "state", "effective", "quality", "cause", "reasons", "decision_id", "generation",
    "valid_until", "ts", "unwind_max_usd", "unwind_max_slip_bp", "unwind_until",
)  # fmt: skip
FORMER = f"CREATE VIEW killswitch_now AS SELECT {', '.join(COLUMNS)} FROM killswitch"
EFFECT = ("resting_usd", "filled_after_usd", "flat_at")
KILLSWITCH_NOW = f"""
CREATE VIEW killswitch_now AS
SELECT {", ".join(f"k.{name}" for name in COLUMNS)}, {", ".join(f"e.{name}" for name in EFFECT)}
FROM killswitch k
LEFT JOIN halt_effect e ON e.scope = k.scope AND k.state = 'HALT'
"""
DRAWDOWN_NOW = """
CREATE VIEW drawdown_now AS
SELECT scope, drawdown_bp, unit_value, high_water_mark, equity_usd, coverage, unpriced, linked, ts
FROM drawdown
"""


def upgrade() -> None:
    op.create_table(
        "halt_effect",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("halted_at", types.UtcTime(), nullable=False),
        sa.Column("finding", sa.Text(), nullable=True),
        sa.Column("filled_after_usd", types.ExactDecimal(), nullable=False),
        sa.Column("fills", sa.BigInteger(), nullable=False),
        sa.Column("fills_unknown", sa.BigInteger(), nullable=False),
        sa.Column("resting_usd", types.ExactDecimal(), nullable=True),
        sa.Column("resting", sa.BigInteger(), nullable=False),
        sa.Column("flat_at", types.UtcTime(), nullable=True),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_halt_effect")),
    )
    op.create_table(
        "drawdown",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("unit_value", sa.Double(), nullable=False),
        sa.Column("high_water_mark", sa.Double(), nullable=False),
        sa.Column("drawdown_bp", sa.Double(), nullable=False),
        sa.Column("equity_usd", types.ExactDecimal(), nullable=False),
        sa.Column("coverage", sa.Double(), nullable=False),
        sa.Column("unpriced", sa.BigInteger(), nullable=False),
        sa.Column("linked", sa.Boolean(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_drawdown")),
    )
    op.create_table(
        "high_water_mark",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("former", sa.Double(), nullable=False),
        sa.Column("high_water_mark", sa.Double(), nullable=False),
        sa.Column("unit_value", sa.Double(), nullable=False),
        sa.Column("former_bp", sa.Double(), nullable=False),
        sa.Column("drawdown_bp", sa.Double(), nullable=False),
        sa.Column("equity_usd", types.ExactDecimal(), nullable=False),
        sa.Column("coverage", sa.Double(), nullable=False),
        sa.Column("requested_by", types.FreeText(), nullable=False),
        sa.Column("approved_by", types.FreeText(), nullable=False),
        sa.Column("reason", types.FreeText(), nullable=False),
        sa.Column("cause_id", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_high_water_mark")),
    )
    op.create_index(op.f("ix_high_water_mark_ts"), "high_water_mark", ["ts"], unique=False)
    op.execute("DROP VIEW killswitch_now")
    op.execute(KILLSWITCH_NOW)
    op.execute(DRAWDOWN_NOW)


def downgrade() -> None:
    op.execute("DROP VIEW drawdown_now")
    op.execute("DROP VIEW killswitch_now")
    op.execute(FORMER)
    op.drop_table("high_water_mark")
    op.drop_table("drawdown")
    op.drop_table("halt_effect")
