"""What advisory rules, asks and limits would have decided, and for how long."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

SECONDS = {
    "sqlite": "ROUND((JULIANDAY({end}) - JULIANDAY({begin})) * 86400, 3)",
    "postgresql": "CAST(ROUND(EXTRACT(EPOCH FROM {end} - {begin}), 3) AS DOUBLE PRECISION)",
}
# The last row of an episode has `state` equal to `in_force`: nothing stricter would be set.
ENDED = "MAX(CASE WHEN a.state = a.in_force THEN a.ts END)"
ADVISORY_DECISIONS = """
SELECT f.id, f.scope,
       CASE MAX(CASE WHEN a.state = a.in_force THEN 0 WHEN a.state = 'HALT' THEN 3
                     WHEN a.state = 'REDUCE' THEN 2 ELSE 1 END)
            WHEN 3 THEN 'HALT' WHEN 2 THEN 'REDUCE' ELSE 'WATCH' END AS state,
       f.in_force, f.rule, f.generation, f.cause, f.reasons, f.exposure_usd, f.el_usd,
       f.exit_cost_usd, COUNT(*) AS changes, f.ts AS opened_ts, {ended} AS ended_ts,
       {seconds} AS held_s
FROM advisory_log f
JOIN advisory_log a ON a.opened_id = f.id
WHERE f.id = f.opened_id
GROUP BY f.id
"""


def upgrade() -> None:
    op.create_table(
        "advisory_log",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("in_force", sa.Text(), nullable=False),
        sa.Column("opened_id", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("reasons", types.Json(), nullable=False),
        sa.Column("features", types.Json(), nullable=False),
        sa.Column("contributions", types.Json(), nullable=False),
        sa.Column("limits", types.Json(), nullable=False),
        sa.Column("support", types.Json(), nullable=False),
        sa.Column("refute", types.Json(), nullable=False),
        sa.Column("flip", types.Json(), nullable=False),
        sa.Column("exposure_usd", types.ExactDecimal(), nullable=False),
        sa.Column("el_usd", types.ExactDecimal(), nullable=False),
        sa.Column("exit_cost_usd", types.ExactDecimal(), nullable=False),
        sa.Column("cause_id", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_advisory_log")),
    )
    op.create_index(op.f("ix_advisory_log_ts"), "advisory_log", ["ts"])
    op.create_index(op.f("ix_advisory_log_opened_id"), "advisory_log", ["opened_id"])
    seconds = SECONDS[op.get_bind().dialect.name].format(begin="f.ts", end=ENDED)
    view = ADVISORY_DECISIONS.format(ended=ENDED, seconds=seconds)
    op.execute(f"CREATE VIEW advisory_decisions AS {view}")


def downgrade() -> None:
    op.execute("DROP VIEW advisory_decisions")
    op.drop_table("advisory_log")
