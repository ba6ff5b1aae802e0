"""Projection tables: the outputs as rows to query."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "exposure",
        sa.Column("book", sa.Text(), nullable=False),
        sa.Column("counterparty", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("amount", types.ExactDecimal(), nullable=False),
        sa.Column("price_usd", types.ExactDecimal(), nullable=True),
        sa.Column("value_usd", types.ExactDecimal(), nullable=True),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "book", "counterparty", "account", "asset", "component", name=op.f("pk_exposure")
        ),
    )
    op.create_table(
        "position",
        sa.Column("book", sa.Text(), nullable=False),
        sa.Column("counterparty", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("instrument", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("qty", types.ExactDecimal(), nullable=False),
        sa.Column("entry_price", types.ExactDecimal(), nullable=True),
        sa.Column("mark_price", types.ExactDecimal(), nullable=True),
        sa.Column("liquidation_price", types.ExactDecimal(), nullable=True),
        sa.Column("notional_usd", types.ExactDecimal(), nullable=True),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "book", "counterparty", "account", "instrument", name=op.f("pk_position")
        ),
    )
    op.create_table(
        "asset_value",
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("price_usd", sa.Double(), nullable=False),
        sa.Column("deviation_bp", sa.Double(), nullable=False),
        sa.Column("value_bp", sa.Double(), nullable=False),
        sa.Column("direct_bp", sa.Double(), nullable=True),
        sa.Column("sd_bp", sa.Double(), nullable=False),
        sa.Column("live", sa.Integer(), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("asset", name=op.f("pk_asset_value")),
    )
    op.create_table(
        "score",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("severity", sa.Double(), nullable=False),
        sa.Column("features", types.Json(), nullable=False),
        sa.Column("contributions", types.Json(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "target", "generation", name=op.f("pk_score")),
    )
    op.create_table(
        "counterparty_assessment",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("gross_usd", types.ExactDecimal(), nullable=False),
        sa.Column("net_usd", types.ExactDecimal(), nullable=False),
        sa.Column("ead_usd", types.ExactDecimal(), nullable=False),
        sa.Column("pd", sa.Double(), nullable=False),
        sa.Column("lgd", sa.Double(), nullable=False),
        sa.Column("el_usd", types.ExactDecimal(), nullable=False),
        sa.Column("exit_cost_usd", types.ExactDecimal(), nullable=False),
        sa.Column("stuck_usd", types.ExactDecimal(), nullable=False),
        sa.Column("jump_to_default_share", sa.Double(), nullable=False),
        sa.Column("horizon_s", sa.Double(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_counterparty_assessment")),
    )
    op.create_table(
        "limit_state",
        sa.Column("limit_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("used_usd", types.ExactDecimal(), nullable=False),
        sa.Column("hard_usd", types.ExactDecimal(), nullable=False),
        sa.Column("warning_usd", types.ExactDecimal(), nullable=False),
        sa.Column("utilisation", sa.Double(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("limit_id", "scope", name=op.f("pk_limit_state")),
    )
    op.create_table(
        "decision_log",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
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
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision_log")),
    )
    op.create_index(op.f("ix_decision_log_scope_ts"), "decision_log", ["scope", "ts"], unique=False)
    op.create_index(op.f("ix_decision_log_ts"), "decision_log", ["ts"], unique=False)
    op.create_table(
        "killswitch",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("effective", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column("reasons", types.Json(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("valid_until", types.UtcTime(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", name=op.f("pk_killswitch")),
    )
    op.create_table(
        "killswitch_history",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("ts", types.UtcTime(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("effective", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.Column("reasons", types.Json(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Text(), nullable=False),
        sa.Column("valid_until", types.UtcTime(), nullable=False),
        sa.Column("cause_id", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_killswitch_history")),
    )
    op.create_index(
        op.f("ix_killswitch_history_scope_ts"), "killswitch_history", ["scope", "ts"], unique=False
    )
    op.create_index(op.f("ix_killswitch_history_ts"), "killswitch_history", ["ts"], unique=False)
    op.create_table(
        "alert",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("title", types.FreeText(), nullable=False),
        sa.Column("reasons", types.Json(), nullable=False),
        sa.Column("exposure_usd", types.ExactDecimal(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=True),
        sa.Column("opened_ts", types.UtcTime(), nullable=False),
        sa.Column("last_ts", types.UtcTime(), nullable=False),
        sa.Column("last_id", sa.Text(), nullable=False),
        sa.Column("raised", sa.BigInteger(), nullable=False),
        sa.Column("resolved_ts", types.UtcTime(), nullable=True),
        sa.Column("resolved_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert")),
    )
    op.create_index(
        "uq_alert_open",
        "alert",
        ["alert"],
        unique=True,
        sqlite_where=sa.text("resolved_ts IS NULL"),
        postgresql_where=sa.text("resolved_ts IS NULL"),
    )
    op.create_table(
        "data_quality",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("issue", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", types.FreeText(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("opened_ts", types.UtcTime(), nullable=False),
        sa.Column("last_ts", types.UtcTime(), nullable=False),
        sa.Column("last_id", sa.Text(), nullable=False),
        sa.Column("raised", sa.BigInteger(), nullable=False),
        sa.Column("resolved_ts", types.UtcTime(), nullable=True),
        sa.Column("resolved_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("worker", "id", name=op.f("pk_data_quality")),
    )
    op.create_index(
        "uq_data_quality_open",
        "data_quality",
        ["worker", "issue", "subject"],
        unique=True,
        sqlite_where=sa.text("resolved_ts IS NULL"),
        postgresql_where=sa.text("resolved_ts IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("data_quality")
    op.drop_table("alert")
    op.drop_table("killswitch_history")
    op.drop_table("killswitch")
    op.drop_table("decision_log")
    op.drop_table("limit_state")
    op.drop_table("counterparty_assessment")
    op.drop_table("score")
    op.drop_table("asset_value")
    op.drop_table("position")
    op.drop_table("exposure")
