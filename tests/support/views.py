"""What the views must say of the sample batches, on any database."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from riskwatch.store.reference import sync_reference
from riskwatch.store.transaction import commit, take_lease
from tests.support.batches import REFERENCE, batches

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_DOLLARS: Final = "long_usd, short_usd, gross_usd, net_usd, unpriced_rows"

EXPECTED: Final[dict[str, list[tuple[Any, ...]]]] = {
    f"SELECT counterparty, {_DOLLARS} FROM exposure_by_counterparty ORDER BY 1": [
        ("binance", 0, 0, 0, 0, 1),
        ("kraken", 873, 10194.25, 11067.25, -9321.25, 0),
    ],
    f"SELECT asset, {_DOLLARS} FROM exposure_by_asset ORDER BY 1": [
        ("BTC", 0, 10000.25, 10000.25, -10000.25, 0),
        ("USDC", 873, 194, 1067, 679, 0),
        ("XYZ", 0, 0, 0, 0, 1),
    ],
    f"SELECT book, {_DOLLARS} FROM exposure_by_book ORDER BY 1": [
        ("arb", 0, 0, 0, 0, 0),
        ("mm", 873, 10194.25, 11067.25, -9321.25, 1),
    ],
    f"SELECT party, level, via, share, {_DOLLARS} FROM exposure_by_issuer ORDER BY 1": [
        ("bny", "backing", "circle", 0.5, 436.5, 97, 533.5, 339.5, 0),
        ("circle", "direct", "circle", 1, 873, 194, 1067, 679, 0),
        ("svb", "backing", "circle", 0.1, 87.3, 19.4, 106.7, 67.9, 0),
    ],
    "SELECT counterparty, derivatives_usd FROM exposure_by_counterparty ORDER BY 1": [
        ("binance", 0),
        ("kraken", 10000.25),
    ],
    "SELECT instrument, qty * 1.0, notional_usd * 1.0, delta FROM position_now": [
        ("BTC-PERP", -0.5, -10000.25, None),
    ],
    "SELECT COUNT(*) FROM exposure_by_issuer WHERE additive": [(0,)],
    "SELECT component, net_usd FROM exposure_now WHERE value_usd IS NOT NULL ORDER BY 1": [
        ("borrowed", -194),
        ("custody", 873),
        ("open_order", 0),
    ],
    "SELECT limit_id, scope, utilisation, status, headroom_usd FROM limit_utilisation": [
        ("venue", "counterparty:kraken", 0.20002, "ok", 3999.9),
    ],
    "SELECT scope, target, generation, authority, probability FROM score_now": [
        ("asset:USDC", "depeg_50bp_1h", "anchored", "advisory", 0.93),
    ],
    "SELECT generation, former, authority, reason FROM authority_log ORDER BY ts LIMIT 1": [
        ("anchored", "shadow", "advisory", "evidence"),
    ],
    "SELECT target, generation, authority, labels, e_up, needed FROM model_status": [
        ("depeg_50bp_1h", "anchored", "advisory", 520, 92.5, 240),
    ],
    "SELECT asset, peg, issuer, deviation_bp, direct_bp, live, cause FROM asset_now": [
        ("USDC", "USD", "circle", -180, None, 10, "issuer"),
    ],
    "SELECT alert, severity, severity_rank, raised FROM alert_open": [("asset:USDC", "HALT", 3, 2)],
    "SELECT scope, state, effective FROM killswitch_now": [("asset:USDC", "HALT", "HALT")],
    "SELECT scope, previous, state, rule FROM decision WHERE ts > '2023-03-11T03:01'": [
        ("asset:USDC", "WATCH", "REDUCE", "asset.discount"),
    ],
    "SELECT scope, state, in_force, changes, held_s FROM advisory_decisions": [
        ("asset:USDC", "HALT", "REDUCE", 2, 120),
    ],
    "SELECT reason, COUNT(*), MAX(payload_bytes) FROM dead_letter GROUP BY reason": [
        ("UTF8_INVALID", 5, 140_000),
    ],
    "SELECT issue, subject, raised FROM data_quality WHERE resolved_ts IS NULL": [
        ("FEED_STALE", "kraken:USDC/USD", 1),
    ],
}


def fill(engine: Engine) -> None:
    """Write the sample history and its reference data."""
    with engine.begin() as conn:
        sync_reference(conn, REFERENCE)
    for batch in batches(take_lease(engine, "w", "test").epoch):
        commit(engine, batch)


def answers(conn: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Ask every question; numbers as floats, for the databases differ in what they add in."""
    return {
        query: [tuple(map(_plain, row)) for row in conn.exec_driver_sql(query)]
        for query in EXPECTED
    }


def _plain(value: Any) -> Any:
    assert not isinstance(value, datetime)
    return float(value) if isinstance(value, Decimal) else value
