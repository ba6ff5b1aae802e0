"""Event time of the refusal of a dead letter, so that lists can start with the newest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What was refused before this column came counts as old.
    op.add_column("dead_letter", sa.Column("us", sa.BigInteger(), nullable=True))
    op.execute("UPDATE dead_letter SET us = 0")
    with op.batch_alter_table("dead_letter") as letters:
        letters.alter_column("us", existing_type=sa.BigInteger(), nullable=False)


def downgrade() -> None:
    op.drop_column("dead_letter", "us")
