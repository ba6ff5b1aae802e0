"""Order paths: their reports, their acknowledgements of switches, and drills."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "client",
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("seen_ts", types.UtcTime(), nullable=False),
        sa.Column("started_ts", types.UtcTime(), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("beat_ts", types.UtcTime(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("floor", sa.Text(), nullable=False),
        sa.Column("why", types.FreeText(), nullable=False),
        sa.Column("sources", types.Json(), nullable=False),
        sa.Column("unwound", types.Json(), nullable=False),
        sa.Column("late", types.Json(), nullable=False),
        sa.PrimaryKeyConstraint("client", name=op.f("pk_client")),
    )
    op.create_table(
        "client_ack",
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("published_ts", types.UtcTime(), nullable=False),
        sa.Column("applied_ts", types.UtcTime(), nullable=False),
        sa.Column("acked_ts", types.UtcTime(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("client", "scope", "decision_id", name=op.f("pk_client_ack")),
    )
    op.create_index(op.f("ix_client_ack_acked_ts"), "client_ack", ["acked_ts"])
    op.create_table(
        "drill",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("reason", types.FreeText(), nullable=False),
        sa.Column("sent_ts", types.UtcTime(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("slowest_s", sa.Float(), nullable=True),
        sa.Column("digest_before", sa.Text(), nullable=False),
        sa.Column("digest_after", sa.Text(), nullable=False),
        sa.Column("report", types.Json(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drill")),
    )
    op.create_index(op.f("ix_drill_sent_ts"), "drill", ["sent_ts"])


def downgrade() -> None:
    op.drop_table("drill")
    op.drop_table("client_ack")
    op.drop_table("client")
