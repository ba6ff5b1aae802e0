"""What a derivative is worth, and exposures with derivatives in them."""

# ruff: noqa: S608 - every part of these statements is a constant of this file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

TEXTS = ("kind", "contract_type", "settle")
NUMBERS = ("contract_size", "delta", "delta_usd", "pnl", "pnl_usd", "option_value_usd")
GROUPED = ("counterparty", "asset", "book")
POSITION_NOW = """
SELECT book, counterparty, account, wallet, side, instrument, kind, contract_type, contract_size,
       base, quote, settle, qty, notional_usd, delta, delta_usd, pnl, pnl_usd, option_value_usd,
       entry_price, mark_price, liquidation_price, valued_by, priced_at, confirmed_at, ts
FROM position
"""
# An option counts by its delta, and by its notional while that is not known.
EXPOSURE_WITH_DERIVATIVES = """
SELECT book, counterparty, account, asset, component, value_usd, net_usd, ts FROM exposure_now
UNION ALL
SELECT book, counterparty, account, base AS asset, 'derivative' AS component,
       notional_usd AS value_usd,
       ROUND(CAST(CASE WHEN kind = 'option' THEN COALESCE(delta_usd, notional_usd)
                       ELSE notional_usd END AS NUMERIC), 2) AS net_usd, ts
FROM position
"""


def totals(share: str = "1", *, derivatives: bool = True) -> str:
    net = f"net_usd * CAST({share} AS NUMERIC)"
    apart = (
        f"""ROUND(COALESCE(SUM(CASE component WHEN 'derivative' THEN ABS({net}) ELSE 0 END), 0), 2)
        AS derivatives_usd,"""
        if derivatives
        else ""
    )
    return f"""
    ROUND(COALESCE(SUM(CASE WHEN net_usd > 0 THEN {net} ELSE 0 END), 0), 2) AS long_usd,
    ROUND(COALESCE(SUM(CASE WHEN net_usd < 0 THEN -{net} ELSE 0 END), 0), 2) AS short_usd,
    ROUND(COALESCE(SUM(ABS({net})), 0), 2) AS gross_usd,
    ROUND(COALESCE(SUM({net}), 0), 2) AS net_usd,
    {apart}
    SUM(CASE WHEN value_usd IS NULL AND component <> 'open_order' THEN 1 ELSE 0 END)
        AS unpriced_rows,
    MAX(ts) AS ts
    """


def exposure_by_issuer(rows: str, *, derivatives: bool) -> str:
    direct, backing = (totals(s, derivatives=derivatives) for s in ("1", "b.share"))
    return f"""
    SELECT a.issuer AS party, 'direct' AS level, a.issuer AS via,
           CAST(1 AS DOUBLE PRECISION) AS share, FALSE AS additive, {direct}
    FROM {rows} JOIN ref_asset a USING (asset)
    WHERE a.issuer IS NOT NULL
    GROUP BY a.issuer
    UNION ALL
    SELECT b.holder AS party, 'backing' AS level, b.issuer AS via, b.share AS share,
           FALSE AS additive, {backing}
    FROM {rows} JOIN ref_asset a USING (asset) JOIN ref_backing b ON b.issuer = a.issuer
    GROUP BY b.holder, b.issuer, b.share
    """


def drop_views() -> None:
    for name in ("exposure_by_issuer", *(f"exposure_by_{name}" for name in GROUPED)):
        op.execute(f"DROP VIEW {name}")


def create_views(rows: str, *, derivatives: bool) -> None:
    for name in GROUPED:
        query = f"SELECT {name}, {totals(derivatives=derivatives)} FROM {rows} GROUP BY {name}"
        op.execute(f"CREATE VIEW exposure_by_{name} AS {query}")
    by_issuer = exposure_by_issuer(rows, derivatives=derivatives)
    op.execute(f"CREATE VIEW exposure_by_issuer AS {by_issuer}")


def upgrade() -> None:
    drop_views()
    for table in ("position", "position_history"):
        for name in TEXTS:
            op.add_column(table, sa.Column(name, sa.Text(), nullable=False, server_default=""))
        for name in NUMBERS:
            op.add_column(table, sa.Column(name, types.ExactDecimal(), nullable=True))
    op.execute(f"CREATE VIEW position_now AS {POSITION_NOW}")
    op.execute(f"CREATE VIEW exposure_with_derivatives AS {EXPOSURE_WITH_DERIVATIVES}")
    create_views("exposure_with_derivatives", derivatives=True)


def downgrade() -> None:
    drop_views()
    op.execute("DROP VIEW exposure_with_derivatives")
    op.execute("DROP VIEW position_now")
    for table in ("position", "position_history"):
        for name in (*TEXTS, *NUMBERS):
            op.drop_column(table, name)
    create_views("exposure_now", derivatives=False)
