"""Headroom of limits, and what each client may use of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0022"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "headroom",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("limit_id", sa.Text(), nullable=False),
        sa.Column("hard_usd", types.ExactDecimal(), nullable=False),
        sa.Column("used_usd", types.ExactDecimal(), nullable=False),
        sa.Column("orders_usd", types.ExactDecimal(), nullable=False),
        sa.Column("left_usd", types.ExactDecimal(), nullable=True),
        sa.Column("why", types.FreeText(), nullable=False),
        sa.Column("grants", types.Json(), nullable=False),
        sa.Column("measured_ts", types.UtcTime(), nullable=False),
        sa.Column("until_ts", types.UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_headroom")),
    )


def downgrade() -> None:
    op.drop_table("headroom")
