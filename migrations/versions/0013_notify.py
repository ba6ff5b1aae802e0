"""Notifications: the queue, the status of deliveries, and the fate of each raise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

VIEWS = {
    "notice_undelivered": """
SELECT id, route, kind, severity, level, title, alerts, status, tries, due_ts, reason, made_ts
FROM notice WHERE status <> 'sent'
""",
    "paging": """
SELECT w.raise_id, w.route, w.alert, w.scope, w.severity, w.fate, w.why, w.ts,
       w.notice_id, n.status AS delivery, n.tries, n.done_ts
FROM notice_word w LEFT JOIN notice n ON n.id = w.notice_id
""",
}


def upgrade() -> None:
    op.create_table(
        "notice",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Integer(), nullable=False),
        sa.Column("title", types.FreeText(), nullable=False),
        sa.Column("alerts", sa.Integer(), nullable=False),
        sa.Column("body", types.FreeText(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("made_ts", types.UtcTime(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_ts", types.UtcTime(), nullable=False),
        sa.Column("done_ts", types.UtcTime(), nullable=True),
        sa.Column("reason", types.FreeText(), nullable=False),
        sa.Column("replayed_by", types.FreeText(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
    )
    op.create_index(op.f("ix_notice_made_ts"), "notice", ["made_ts"])
    op.create_index("ix_notice_route_status_place", "notice", ["route", "status", "place"])
    op.create_table(
        "notice_word",
        sa.Column("raise_id", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("fate", sa.Text(), nullable=False),
        sa.Column("why", types.FreeText(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("notice_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("raise_id", "route", name=op.f("pk_notice_word")),
    )
    op.create_index(op.f("ix_notice_word_ts"), "notice_word", ["ts"])
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
    op.drop_table("notice_word")
    op.drop_table("notice")
