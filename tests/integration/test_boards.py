"""The SQL of the dashboards runs and returns rows on both databases."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import upgrade
from tests.conftest import ROOT
from tests.support.views import fill

if TYPE_CHECKING:
    from pathlib import Path

BOARDS: Final = ROOT / "deploy" / "grafana" / "dashboards"
QUERIES: Final = {
    f"{path.stem}: {panel['title']}": target["rawSql"]
    for path in sorted(BOARDS.glob("*.json"))
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
    if "rawSql" in target
}
SILENT: Final = {"risk: Counterparties, issuers and banks"}
"""Panels that the sample history holds nothing for."""


def _plain(query: str) -> str:
    """Replace the one macro of Grafana that is used by what it becomes."""
    plain = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 BETWEEN '2000-01-01' AND '2100-01-01'", query)
    assert "$" not in plain
    return plain


def _rows(url: str) -> dict[str, int]:
    """Ask every panel's question of a database with the sample history; rows per panel."""
    engine = open_engine(url)
    try:
        upgrade(engine)
        fill(engine)
        with engine.connect() as conn:
            return {
                title: len(conn.exec_driver_sql(_plain(query)).fetchall())
                for title, query in QUERIES.items()
            }
    finally:
        engine.dispose()


def test_there_is_a_risk_board() -> None:
    """Exposure, switches, limits, alerts and scores are each asked for by some panel."""
    asked = " ".join(QUERIES.values())
    for view in (
        "exposure_by_counterparty", "exposure_by_issuer", "killswitch_now", "limit_utilisation",
        "alert_open", "score_now",
    ):  # fmt: skip
        assert f"FROM {view}" in asked


def test_panels_answer_on_sqlite(tmp_path: Path) -> None:
    """Every SQL panel runs on SQLite, and shows something of the sample history."""
    found = _rows(f"sqlite:///{tmp_path / 'risk.db'}")
    assert {title for title, rows in found.items() if not rows} <= SILENT


def test_panels_answer_on_postgres(postgres_url: str) -> None:
    """The same on Postgres, where the boards ask."""
    found = _rows(postgres_url)
    assert {title for title, rows in found.items() if not rows} <= SILENT
