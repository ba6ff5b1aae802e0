"""The loss by day and over 24 hours, and the profit and loss of each day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0034"
down_revision = "0030"
branch_labels = None
depends_on = None

LOSSES = ("loss_day_bp", "loss_24h_bp")
TRACKED = ("drawdown", "drawdown_history")
MONEY = (
    "equity_usd", "equity_start_usd", "pnl_usd", "trading_usd", "fees_usd", "funding_usd",
    "interest_usd", "revaluation_usd", "unexplained_usd", "flow_usd", "pnl_24h_usd",
)  # fmt: skip
DRAWDOWN_NOW = """
CREATE VIEW drawdown_now AS
SELECT scope, drawdown_bp, unit_value, high_water_mark, equity_usd, coverage, unpriced, linked, ts{}
FROM drawdown
"""
PNL_TODAY = """
CREATE VIEW pnl_today AS
SELECT scope, day, equity_start_usd, equity_usd, pnl_usd, trading_usd, fees_usd, funding_usd,
       interest_usd, revaluation_usd, unexplained_usd, flow_usd, pnl_24h_usd, coverage, ts
FROM pnl
WHERE day = (SELECT MAX(day) FROM pnl)
"""


def upgrade() -> None:
    op.execute("DROP VIEW drawdown_now")
    for table in TRACKED:
        for name in LOSSES:
            op.add_column(table, sa.Column(name, sa.Double(), nullable=False, server_default="0"))
    op.create_table(
        "pnl",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("day", types.UtcTime(), nullable=False),
        *(sa.Column(name, types.ExactDecimal(), nullable=False) for name in MONEY),
        sa.Column("coverage", sa.Double(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "day", name=op.f("pk_pnl")),
    )
    op.execute(DRAWDOWN_NOW.format(", loss_day_bp, loss_24h_bp"))
    op.execute(PNL_TODAY)


def downgrade() -> None:
    op.execute("DROP VIEW pnl_today")
    op.execute("DROP VIEW drawdown_now")
    op.drop_table("pnl")
    for table in TRACKED:
        for name in LOSSES:
            op.drop_column(table, name)
    op.execute(DRAWDOWN_NOW.format(""))
