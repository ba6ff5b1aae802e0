"""Results per event: a recording may hold several events of one scope."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

KEY = ["run", "episode", "seed", "contender", "scope"]

# Seeds of one episode are averaged; what was reached on no seed is NULL.
SCOREBOARD = """
SELECT r.run, r.episode, r.contender, r.scope, {event} r.generation, COUNT(*) AS seeds,
       AVG(r.watch_s) AS watch_s, AVG(r.reduce_s) AS reduce_s, AVG(r.halt_s) AS halt_s,
       SUM(r.false_watch) AS false_watch, SUM(r.false_reduce) AS false_reduce,
       SUM(r.false_halt) AS false_halt, SUM(r.entity_months) AS entity_months,
       AVG(CASE WHEN r.cause_right IS NULL THEN NULL WHEN r.cause_right THEN 1.0 ELSE 0.0 END)
           AS cause_right_share,
       AVG(r.exposed_usd) AS exposed_usd, AVG(r.normal_s) AS normal_s,
       AVG(p.average_precision) AS average_precision, AVG(p.log_loss) AS log_loss,
       AVG(p.brier) AS brier, AVG(p.climatology) AS climatology
FROM scoreboard_result r
LEFT JOIN (
    SELECT run, episode, seed, generation, AVG(average_precision) AS average_precision,
           AVG(log_loss) AS log_loss, AVG(brier) AS brier, AVG(climatology) AS climatology
    FROM scoreboard_probability GROUP BY run, episode, seed, generation
) p ON p.run = r.run AND p.episode = r.episode AND p.seed = r.seed
    AND p.generation = r.generation
WHERE r.run = (SELECT MAX(run) FROM scoreboard_run)
GROUP BY r.run, r.episode, r.contender, r.scope, {event} r.generation
"""


def upgrade() -> None:
    op.execute("DROP VIEW scoreboard")
    event = sa.Column("event", sa.Integer(), nullable=False, server_default="0")
    with op.batch_alter_table("scoreboard_result") as table:
        table.add_column(event)
        table.drop_constraint("pk_scoreboard_result", type_="primary")
        table.create_primary_key("pk_scoreboard_result", [*KEY, "event"])
    with op.batch_alter_table("scoreboard_result") as table:
        table.alter_column("event", server_default=None)
    op.execute(f"CREATE VIEW scoreboard AS {SCOREBOARD.format(event='r.event,')}")


def downgrade() -> None:
    op.execute("DROP VIEW scoreboard")
    # The key of before holds one event of a scope: of several, the first stays.
    op.execute(
        "DELETE FROM scoreboard_result WHERE EXISTS (SELECT 1 FROM scoreboard_result o"
        " WHERE o.run = scoreboard_result.run AND o.episode = scoreboard_result.episode"
        " AND o.seed = scoreboard_result.seed AND o.contender = scoreboard_result.contender"
        " AND o.scope = scoreboard_result.scope AND o.event < scoreboard_result.event)"
    )
    with op.batch_alter_table("scoreboard_result") as table:
        table.drop_constraint("pk_scoreboard_result", type_="primary")
        table.create_primary_key("pk_scoreboard_result", KEY)
        table.drop_column("event")
    op.execute(f"CREATE VIEW scoreboard AS {SCOREBOARD.format(event='')}")
