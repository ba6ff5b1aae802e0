"""What gives a holding its value, when the venue last confirmed it, and why a limit is unknown."""

# ruff: noqa: S608 - every part of these statements is a constant of this file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from riskwatch.store import types

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

SIGNED = """
    CASE component WHEN 'borrowed' THEN -1 WHEN 'open_order' THEN 0 ELSE 1 END
    * CAST(value_usd AS NUMERIC)
"""
MORE = ("valued_by", "priced_at", "confirmed_at")
GROUPED = ("counterparty", "asset", "book")


def exposure_now(*more: str) -> str:
    columns = "".join(f", {name}" for name in more)
    return f"""
    SELECT book, counterparty, account, asset, component, amount, price_usd, value_usd,
           ROUND({SIGNED}, 2) AS net_usd, ts, wallet{columns}
    FROM exposure
    """


def totals(share: str = "1") -> str:
    net = f"net_usd * CAST({share} AS NUMERIC)"
    return f"""
    ROUND(COALESCE(SUM(CASE WHEN net_usd > 0 THEN {net} ELSE 0 END), 0), 2) AS long_usd,
    ROUND(COALESCE(SUM(CASE WHEN net_usd < 0 THEN -{net} ELSE 0 END), 0), 2) AS short_usd,
    ROUND(COALESCE(SUM(ABS({net})), 0), 2) AS gross_usd,
    ROUND(COALESCE(SUM({net}), 0), 2) AS net_usd,
    SUM(CASE WHEN value_usd IS NULL AND component <> 'open_order' THEN 1 ELSE 0 END)
        AS unpriced_rows,
    MAX(ts) AS ts
    """


EXPOSURE_BY_ISSUER = f"""
SELECT a.issuer AS party, 'direct' AS level, a.issuer AS via, CAST(1 AS DOUBLE PRECISION) AS share,
       FALSE AS additive, {totals()}
FROM exposure_now JOIN ref_asset a USING (asset)
WHERE a.issuer IS NOT NULL
GROUP BY a.issuer
UNION ALL
SELECT b.holder AS party, 'backing' AS level, b.issuer AS via, b.share AS share,
       FALSE AS additive, {totals("b.share")}
FROM exposure_now JOIN ref_asset a USING (asset) JOIN ref_backing b ON b.issuer = a.issuer
GROUP BY b.holder, b.issuer, b.share
"""


def limit_utilisation(more: str = "") -> str:
    return f"""
    SELECT limit_id, scope, used_usd, hard_usd, warning_usd, utilisation, status,
           ROUND(CAST(hard_usd AS NUMERIC) - CAST(used_usd AS NUMERIC), 2) AS headroom_usd, ts{more}
    FROM limit_state
    """


def drop_views() -> None:
    for name in ("exposure_by_issuer", *(f"exposure_by_{name}" for name in GROUPED)):
        op.execute(f"DROP VIEW {name}")
    op.execute("DROP VIEW exposure_now")
    op.execute("DROP VIEW limit_utilisation")


def create_views(*more: str, why: str = "") -> None:
    op.execute(f"CREATE VIEW exposure_now AS {exposure_now(*more)}")
    for name in GROUPED:
        query = f"SELECT {name}, {totals()} FROM exposure_now GROUP BY {name}"
        op.execute(f"CREATE VIEW exposure_by_{name} AS {query}")
    op.execute(f"CREATE VIEW exposure_by_issuer AS {EXPOSURE_BY_ISSUER}")
    op.execute(f"CREATE VIEW limit_utilisation AS {limit_utilisation(why)}")


def upgrade() -> None:
    drop_views()
    for name in ("exposure", "position"):
        op.add_column(name, sa.Column("valued_by", sa.Text(), nullable=True))
        op.add_column(name, sa.Column("priced_at", types.UtcTime(), nullable=True))
        op.add_column(name, sa.Column("confirmed_at", types.UtcTime(), nullable=True))
    op.add_column(
        "limit_state", sa.Column("why", types.FreeText(), nullable=False, server_default="")
    )
    create_views(*MORE, why=", why")


def downgrade() -> None:
    drop_views()
    for name in ("exposure", "position"):
        for column in MORE:
            op.drop_column(name, column)
    op.drop_column("limit_state", "why")
    create_views()
