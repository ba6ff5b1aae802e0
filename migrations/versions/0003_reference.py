"""Reference data for look-through."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ref_asset",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("peg", sa.Text(), nullable=True),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("fiat", sa.Boolean(), nullable=False),
        sa.Column("collateral", sa.Text(), nullable=False),
        sa.Column("prior_bp", sa.Double(), nullable=False),
        sa.Column("volatility", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("asset", name=op.f("pk_ref_asset")),
    )
    op.create_table(
        "ref_party",
        sa.Column("party", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("custody", sa.Text(), nullable=False),
        sa.Column("lgd", sa.Double(), nullable=False),
        sa.Column("jurisdiction", sa.Text(), nullable=False),
        sa.Column("native_token", sa.Text(), nullable=True),
        sa.Column("rating", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.Column("withdrawal_cap_usd_day", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("party", name=op.f("pk_ref_party")),
    )
    op.create_table(
        "ref_backing",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "holder", name=op.f("pk_ref_backing")),
    )


def downgrade() -> None:
    op.drop_table("ref_backing")
    op.drop_table("ref_party")
    op.drop_table("ref_asset")
