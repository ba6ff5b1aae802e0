"""The history of the tables of latest rows, as intervals of event time."""

# ruff: noqa: S608 - every part of these statements is a constant of this file

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

TABLES: dict[str, tuple[int, tuple[sa.Column[Any], ...]]] = {
    "exposure": (
        6,
        (
            sa.Column("book", sa.Text(), nullable=False),
            sa.Column("counterparty", sa.Text(), nullable=False),
            sa.Column("account", sa.Text(), nullable=False),
            sa.Column("wallet", sa.Text(), nullable=False),
            sa.Column("asset", sa.Text(), nullable=False),
            sa.Column("component", sa.Text(), nullable=False),
            sa.Column("amount", types.ExactDecimal(), nullable=False),
            sa.Column("price_usd", types.ExactDecimal(), nullable=True),
            sa.Column("value_usd", types.ExactDecimal(), nullable=True),
            sa.Column("output_id", sa.Text(), nullable=False),
            sa.Column("valued_by", sa.Text(), nullable=True),
            sa.Column("priced_at", types.UtcTime(), nullable=True),
            sa.Column("confirmed_at", types.UtcTime(), nullable=True),
        ),
    ),
    "position": (
        6,
        (
            sa.Column("book", sa.Text(), nullable=False),
            sa.Column("counterparty", sa.Text(), nullable=False),
            sa.Column("account", sa.Text(), nullable=False),
            sa.Column("wallet", sa.Text(), nullable=False),
            sa.Column("side", sa.Text(), nullable=False),
            sa.Column("instrument", sa.Text(), nullable=False),
            sa.Column("base", sa.Text(), nullable=False),
            sa.Column("quote", sa.Text(), nullable=False),
            sa.Column("qty", types.ExactDecimal(), nullable=False),
            sa.Column("entry_price", types.ExactDecimal(), nullable=True),
            sa.Column("mark_price", types.ExactDecimal(), nullable=True),
            sa.Column("liquidation_price", types.ExactDecimal(), nullable=True),
            sa.Column("notional_usd", types.ExactDecimal(), nullable=True),
            sa.Column("output_id", sa.Text(), nullable=False),
            sa.Column("valued_by", sa.Text(), nullable=True),
            sa.Column("priced_at", types.UtcTime(), nullable=True),
            sa.Column("confirmed_at", types.UtcTime(), nullable=True),
        ),
    ),
    "asset_value": (
        1,
        (
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
            sa.Column("output_id", sa.Text(), nullable=False),
        ),
    ),
    "score": (
        3,
        (
            sa.Column("scope", sa.Text(), nullable=False),
            sa.Column("target", sa.Text(), nullable=False),
            sa.Column("generation", sa.Text(), nullable=False),
            sa.Column("authority", sa.Text(), nullable=False),
            sa.Column("probability", sa.Double(), nullable=False),
            sa.Column("severity", sa.Double(), nullable=False),
            sa.Column("features", types.Json(), nullable=False),
            sa.Column("contributions", types.Json(), nullable=False),
            sa.Column("output_id", sa.Text(), nullable=False),
        ),
    ),
    "counterparty_assessment": (
        1,
        (
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
            sa.Column("output_id", sa.Text(), nullable=False),
        ),
    ),
    "limit_state": (
        2,
        (
            sa.Column("limit_id", sa.Text(), nullable=False),
            sa.Column("scope", sa.Text(), nullable=False),
            sa.Column("used_usd", types.ExactDecimal(), nullable=False),
            sa.Column("hard_usd", types.ExactDecimal(), nullable=False),
            sa.Column("warning_usd", types.ExactDecimal(), nullable=False),
            sa.Column("utilisation", sa.Double(), nullable=False),
            sa.Column("status", sa.Text(), nullable=False),
            sa.Column("output_id", sa.Text(), nullable=False),
            sa.Column("why", types.FreeText(), nullable=False),
        ),
    ),
    "drawdown": (
        1,
        (
            sa.Column("scope", sa.Text(), nullable=False),
            sa.Column("unit_value", sa.Double(), nullable=False),
            sa.Column("high_water_mark", sa.Double(), nullable=False),
            sa.Column("drawdown_bp", sa.Double(), nullable=False),
            sa.Column("equity_usd", types.ExactDecimal(), nullable=False),
            sa.Column("coverage", sa.Double(), nullable=False),
            sa.Column("unpriced", sa.BigInteger(), nullable=False),
            sa.Column("linked", sa.Boolean(), nullable=False),
            sa.Column("output_id", sa.Text(), nullable=False),
        ),
    ),
}
"""Number of key columns, and the columns but for the time, by the name of the table."""

EXPOSURE_AT = """
CREATE FUNCTION exposure_at(at TIMESTAMP WITH TIME ZONE) RETURNS SETOF exposure_history
LANGUAGE sql STABLE AS $$
  SELECT * FROM exposure_history
  WHERE valid_from <= at AND (valid_to IS NULL OR valid_to > at)
$$
"""


def upgrade() -> None:
    for name, (keys, columns) in TABLES.items():
        history = f"{name}_history"
        key = [c.name for c in columns[:keys]]
        op.create_table(
            history,
            *columns[:keys],
            sa.Column("valid_from", types.UtcTime(), nullable=False),
            sa.Column("valid_to", types.UtcTime(), nullable=True),
            *columns[keys:],
            sa.PrimaryKeyConstraint(*key, "valid_from", name=op.f(f"pk_{history}")),
        )
        op.create_index(op.f(f"ix_{history}_valid_to"), history, ["valid_to"])
        # What holds now opens the history.
        names = [c.name for c in columns]
        into = ", ".join([*names, "valid_from"])
        op.execute(f"INSERT INTO {history} ({into}) SELECT {', '.join(names)}, ts FROM {name}")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(EXPOSURE_AT)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION exposure_at")
    for name in reversed(TABLES):
        op.drop_table(f"{name}_history")
