"""Columns and tables of Kafka workers: lease renewal, dead-letter headers, stage faults."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_PLACE = ("worker", "stream", "position")


def upgrade() -> None:
    op.add_column("lease", sa.Column("renewed_at", types.UtcTime(), nullable=True))
    op.execute("UPDATE lease SET renewed_at = taken_at")
    with op.batch_alter_table("lease") as lease:
        lease.alter_column("renewed_at", existing_type=types.UtcTime(), nullable=False)
    op.add_column("outbox", sa.Column("raw_key", sa.LargeBinary(), nullable=True))
    op.add_column("outbox", sa.Column("headers", types.Json(), nullable=True))
    op.create_table(
        "stage_fault",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("error", types.FreeText(), nullable=False),
        sa.PrimaryKeyConstraint(*_PLACE, name=op.f("pk_stage_fault")),
    )
    op.create_table(
        "quarantine",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("reason", types.FreeText(), nullable=False),
        sa.PrimaryKeyConstraint(*_PLACE, "person", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "dead_letter_replayed",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*_PLACE, name=op.f("pk_dead_letter_replayed")),
    )


def downgrade() -> None:
    op.drop_table("dead_letter_replayed")
    op.drop_table("quarantine")
    op.drop_table("stage_fault")
    op.drop_column("outbox", "headers")
    op.drop_column("outbox", "raw_key")
    op.drop_column("lease", "renewed_at")
