"""The deployment ids of a database, and the deployment of each checkpoint."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployment",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=True),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_deployment")),
    )
    op.add_column(
        "checkpoint", sa.Column("deployment", sa.Text(), nullable=False, server_default="")
    )


def downgrade() -> None:
    op.drop_column("checkpoint", "deployment")
    op.drop_table("deployment")
