"""The scoreboard: results of each run of the bench, and a view of the latest run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Seeds of one episode are averaged; what was reached on no seed is NULL.
SCOREBOARD = """
SELECT r.run, r.episode, r.contender, r.scope, r.generation, COUNT(*) AS seeds,
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
GROUP BY r.run, r.episode, r.contender, r.scope, r.generation
"""


def integer(name: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, primary_key=key, autoincrement=False)


def run() -> sa.Column[int]:
    return sa.Column("run", sa.BigInteger(), primary_key=True, autoincrement=False)


def text(name: str, *, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, primary_key=key)


def double(name: str, *, nullable: bool = True) -> sa.Column[float]:
    return sa.Column(name, sa.Double(), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "scoreboard_run",
        run(),
        text("engine"),
        text("config"),
        integer("cases"),
        integer("trials"),
        sa.PrimaryKeyConstraint("run", name="pk_scoreboard_run"),
    )
    op.create_table(
        "scoreboard_result",
        run(),
        text("episode", key=True),
        integer("seed", key=True),
        text("contender", key=True),
        text("scope", key=True),
        text("generation"),
        double("watch_s"),
        double("reduce_s"),
        double("halt_s"),
        integer("false_watch"),
        integer("false_reduce"),
        integer("false_halt"),
        double("entity_months", nullable=False),
        text("cause"),
        sa.Column("cause_right", sa.Boolean(), nullable=True),
        double("exposed_usd"),
        double("normal_s"),
        sa.Column("latched", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(
            "run", "episode", "seed", "contender", "scope", name="pk_scoreboard_result"
        ),
    )
    op.create_table(
        "scoreboard_probability",
        run(),
        text("episode", key=True),
        integer("seed", key=True),
        text("scope", key=True),
        text("target", key=True),
        text("generation", key=True),
        integer("samples"),
        integer("positives"),
        integer("events"),
        double("average_precision"),
        double("deviation_precision"),
        double("log_loss", nullable=False),
        double("brier", nullable=False),
        double("climatology", nullable=False),
        integer("high"),
        double("high_said"),
        double("high_rate"),
        sa.PrimaryKeyConstraint(
            "run",
            "episode",
            "seed",
            "scope",
            "target",
            "generation",
            name="pk_scoreboard_probability",
        ),
    )
    op.create_table(
        "scoreboard_criterion",
        run(),
        integer("position", key=True),
        text("criterion"),
        text("verdict"),
        text("said"),
        sa.PrimaryKeyConstraint("run", "position", name="pk_scoreboard_criterion"),
    )
    op.execute(f"CREATE VIEW scoreboard AS {SCOREBOARD}")


def downgrade() -> None:
    op.execute("DROP VIEW scoreboard")
    for table in ("criterion", "probability", "result", "run"):
        op.drop_table(f"scoreboard_{table}")
