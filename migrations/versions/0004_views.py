"""Views: the documented interface, in SQL that runs on SQLite and Postgres.

SQLite sums text as binary floats, so every sum of dollars here is a valuation to the cent.
Exact quantities are the `amount` of each row; their totals are folded outside of SQL.
"""

# ruff: noqa: S608 - every part of these statements is a constant of this file

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# `borrowed` is what we owe and is stored positive; a resting order is not held yet.
SIGNED = """
    CASE component WHEN 'borrowed' THEN -1 WHEN 'open_order' THEN 0 ELSE 1 END
    * CAST(value_usd AS NUMERIC)
"""

EXPOSURE_NOW = f"""
SELECT book, counterparty, account, asset, component, amount, price_usd, value_usd,
       ROUND({SIGNED}, 2) AS net_usd, ts
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

LIMIT_UTILISATION = """
SELECT limit_id, scope, used_usd, hard_usd, warning_usd, utilisation, status,
       ROUND(CAST(hard_usd AS NUMERIC) - CAST(used_usd AS NUMERIC), 2) AS headroom_usd, ts
FROM limit_state
"""

SCORE_NOW = """
SELECT scope, target, generation, authority, probability, severity, features, contributions, ts
FROM score
"""

ASSET_NOW = """
SELECT v.asset, r.peg, r.issuer, v.price_usd, v.deviation_bp, v.value_bp, v.direct_bp, v.sd_bp,
       v.live, v.expected, v.cause, v.quality, v.ts
FROM asset_value v LEFT JOIN ref_asset r ON r.asset = v.asset
"""

ALERT_OPEN = """
SELECT id, alert, scope, severity,
       CASE severity WHEN 'HALT' THEN 3 WHEN 'REDUCE' THEN 2 WHEN 'WATCH' THEN 1 ELSE 0 END
           AS severity_rank,
       cause, title, reasons, exposure_usd, decision_id, opened_ts, last_ts, raised
FROM alert WHERE resolved_ts IS NULL
"""

KILLSWITCH_NOW = """
SELECT scope, state, effective, quality, cause, reasons, decision_id, generation, valid_until, ts
FROM killswitch
"""

DECISION = """
SELECT id, ts, scope, previous, state, quality, cause, generation, rule, reasons, features,
       contributions, limits, support, refute, flip, exposure_usd, el_usd, exit_cost_usd,
       cause_id, engine
FROM decision_log
"""

VIEWS = {
    "exposure_now": EXPOSURE_NOW,
    "exposure_by_counterparty": grouped("counterparty"),
    "exposure_by_asset": grouped("asset"),
    "exposure_by_book": grouped("book"),
    "exposure_by_issuer": EXPOSURE_BY_ISSUER,
    "limit_utilisation": LIMIT_UTILISATION,
    "score_now": SCORE_NOW,
    "asset_now": ASSET_NOW,
    "alert_open": ALERT_OPEN,
    "killswitch_now": KILLSWITCH_NOW,
    "decision": DECISION,
}


def upgrade() -> None:
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
