"""Wallets of holdings, and wallets and sides of positions; both are empty if not stated."""

# ruff: noqa: S608 - every part of these statements is a constant of this file

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

KEYS = {
    "exposure": ("book", "counterparty", "account", "wallet", "asset", "component"),
    "position": ("book", "counterparty", "account", "wallet", "side", "instrument"),
}
NEW = {"exposure": ("wallet",), "position": ("wallet", "side")}

SIGNED = """
    CASE component WHEN 'borrowed' THEN -1 WHEN 'open_order' THEN 0 ELSE 1 END
    * CAST(value_usd AS NUMERIC)
"""


def exposure_now(more: str = "") -> str:
    return f"""
    SELECT book, counterparty, account, asset, component, amount, price_usd, value_usd,
           ROUND({SIGNED}, 2) AS net_usd, ts{more}
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


def grouped(column: str) -> str:
    return f"SELECT {column}, {totals()} FROM exposure_now GROUP BY {column}"


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

BY = {
    "exposure_by_counterparty": grouped("counterparty"),
    "exposure_by_asset": grouped("asset"),
    "exposure_by_book": grouped("book"),
    "exposure_by_issuer": EXPOSURE_BY_ISSUER,
}


def _drop_views() -> None:
    for name in (*reversed(BY), "exposure_now"):
        op.execute(f"DROP VIEW {name}")


def _make_views(now: str) -> None:
    for name, query in ({"exposure_now": now} | BY).items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def _set_key(name: str, columns: tuple[str, ...]) -> None:
    with op.batch_alter_table(name, recreate="auto") as table:
        table.drop_constraint(f"pk_{name}", type_="primary")
        table.create_primary_key(f"pk_{name}", list(columns))


def upgrade() -> None:
    _drop_views()
    for name, key in KEYS.items():
        for column in NEW[name]:
            op.add_column(name, sa.Column(column, sa.Text(), nullable=False, server_default=""))
        _set_key(name, key)
    _make_views(exposure_now(", wallet"))


def downgrade() -> None:
    _drop_views()
    for name, key in KEYS.items():
        for column in NEW[name]:
            op.execute(f"DELETE FROM {name} WHERE {column} <> ''")
        _set_key(name, tuple(column for column in key if column not in NEW[name]))
        with op.batch_alter_table(name) as table:
            for column in NEW[name]:
                table.drop_column(column)
    _make_views(exposure_now())
