"""Models: every change of authority, and the record of every generation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

AUTHORITY_LOG = """
SELECT id, ts, target, generation, former, authority, ceiling, reason, detail, "by", evidence,
       cause_id, engine
FROM authority_change
"""

MODEL_STATUS = """
SELECT target, generation, authority, ceiling, reason, changed, quarantined, e_up, e_down, needed,
       labels, positives, events, entities, log_loss, brier, reliability, resolution, uncertainty,
       bins, ts
FROM model_standing
"""


def upgrade() -> None:
    op.create_table(
        "authority_change",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("former", sa.Text(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("ceiling", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", types.FreeText(), nullable=False),
        sa.Column("by", types.FreeText(), nullable=False),
        sa.Column("evidence", types.Json(), nullable=False),
        sa.Column("cause_id", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authority_change")),
    )
    op.create_index(op.f("ix_authority_change_ts"), "authority_change", ["ts"], unique=False)
    op.create_table(
        "model_standing",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("ceiling", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed", types.UtcTime(), nullable=True),
        sa.Column("quarantined", sa.Boolean(), nullable=False),
        sa.Column("e_up", sa.Double(), nullable=False),
        sa.Column("e_down", sa.Double(), nullable=False),
        sa.Column("needed", sa.Double(), nullable=False),
        sa.Column("labels", sa.BigInteger(), nullable=False),
        sa.Column("positives", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("entities", sa.BigInteger(), nullable=False),
        sa.Column("log_loss", sa.Double(), nullable=False),
        sa.Column("brier", sa.Double(), nullable=False),
        sa.Column("reliability", sa.Double(), nullable=False),
        sa.Column("resolution", sa.Double(), nullable=False),
        sa.Column("uncertainty", sa.Double(), nullable=False),
        sa.Column("bins", types.Json(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("target", "generation", name=op.f("pk_model_standing")),
    )
    op.execute(f"CREATE VIEW authority_log AS {AUTHORITY_LOG}")
    op.execute(f"CREATE VIEW model_status AS {MODEL_STATUS}")


def downgrade() -> None:
    op.execute("DROP VIEW model_status")
    op.execute("DROP VIEW authority_log")
    op.drop_table("model_standing")
    op.drop_table("authority_change")
