"""Transfers: what became of each leg, and by what the other one is linked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

COLUMNS = (
    "counterparty", "direction", "transfer_id", "book", "account", "wallet", "asset", "amount",
    "status", "moved_at", "in_transit", "linked_by", "linked_counterparty", "linked_transfer_id",
    "short", "tx_id", "network", "instruction_id", "ts",
)  # fmt: skip
TRANSFER_NOW = f"CREATE VIEW transfer_now AS SELECT {', '.join(COLUMNS)} FROM transfer"  # noqa: S608 - constants of this file


def upgrade() -> None:
    op.create_table(
        "transfer",
        sa.Column("counterparty", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=False),
        sa.Column("book", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("wallet", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("amount", types.ExactDecimal(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("moved_at", types.UtcTime(), nullable=False),
        sa.Column("in_transit", types.ExactDecimal(), nullable=False),
        sa.Column("linked_by", sa.Text(), nullable=False),
        sa.Column("linked_counterparty", sa.Text(), nullable=False),
        sa.Column("linked_transfer_id", sa.Text(), nullable=False),
        sa.Column("short", types.ExactDecimal(), nullable=True),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("instruction_id", sa.Text(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "counterparty", "direction", "transfer_id", name=op.f("pk_transfer")
        ),
    )
    op.execute(TRANSFER_NOW)


def downgrade() -> None:
    op.execute("DROP VIEW transfer_now")
    op.drop_table("transfer")
