"""Legal events at the bounds of the contract pass ticks and commits of the real pipeline."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select

from riskwatch.core.clock import SECOND, rfc3339
from riskwatch.engine import bootstrap
from riskwatch.engine.replay import ReplayJob, ReplaySummary, open_database, replay_files
from riskwatch.store.projections import ASSET_VALUE, DATA_QUALITY, EXPOSURE
from tests.support.toy import START_S

if TYPE_CHECKING:
    from pathlib import Path

HIGHEST: Final = "9" * 24
"""The largest number of the contract."""
CONFIG: Final = bootstrap.configuration()


def line(n: int, kind: str, seconds: float, **fields: Any) -> str:
    """One event."""
    head = {"type": kind, "v": 1, "event_id": f"{kind}-{n}", "source": "feed",
            "ts": rfc3339(round((START_S + seconds) * SECOND))}  # fmt: skip
    return json.dumps(head | fields)


def chain(links: int, price: str = HIGHEST) -> list[str]:
    """Quotes A0/USD, A1/A0, A2/A1 and so on, each at `price`."""
    names = ["USD", *(f"A{i}" for i in range(links))]
    return [
        line(i, "quote", i, venue="kraken", base=names[i + 1], quote=names[i], last=price)
        for i in range(links)
    ]


def replay(folder: Path, lines: list[str]) -> ReplaySummary:
    """Replay lines with all stages into a fresh SQLite file."""
    path = folder / "events.ndjson"
    path.write_text("\n".join(lines) + "\n")
    job = ReplayJob([path], f"sqlite:///{folder}/r.db")
    return replay_files(job, bootstrap.pipeline(CONFIG), config=CONFIG)


def rows(folder: Path, table: Any) -> list[Any]:
    """All rows of a table."""
    with open_database(f"sqlite:///{folder}/r.db") as engine, engine.connect() as conn:
        return list(conn.execute(select(table)))


@pytest.mark.parametrize("links", [1, 12, 13, 40])
def test_chained_quotes_pass_a_tick(tmp_path: Path, links: int) -> None:
    """Thirteen factors of 1e24 exceed a float; the feeds are flagged and nothing raises."""
    done = replay(tmp_path, chain(links))
    assert (done.applied, done.rejected) == (links, 0)
    flagged = {row.subject for row in rows(tmp_path, DATA_QUALITY) if row.issue == "OUT_OF_RANGE"}
    assert "kraken:A0/USD" in flagged
    assert len([name for name in flagged if name.startswith("kraken:")]) == links


@pytest.mark.parametrize("links", [1, 12])
def test_a_holding_of_an_absurd_price_passes_the_commit(tmp_path: Path, links: int) -> None:
    """The value is unknown, not infinite."""
    balance = line(0, "balance", 90, counterparty="kraken", account="main", book="mm",
                   asset=f"A{links - 1}", free=HIGHEST)  # fmt: skip
    later = [line(n, "quote", 60 * n, venue="kraken", base="BTC", quote="USD", last="20000")
             for n in range(100, 104)]  # fmt: skip
    replay(tmp_path, [*chain(links), balance, *later])
    (held,) = rows(tmp_path, EXPOSURE)
    assert (held.amount, held.value_usd) == (Decimal(HIGHEST), None)
    issues = {(row.issue, row.subject) for row in rows(tmp_path, DATA_QUALITY)}
    assert ("PRICE_MISSING", f"asset:A{links - 1}") in issues


def test_a_chain_of_possible_prices_has_a_bound(tmp_path: Path) -> None:
    """Each quote is possible by itself; the product is not, so later assets have no price."""
    replay(tmp_path, chain(70, "100000000000"))
    flagged = {row.subject for row in rows(tmp_path, DATA_QUALITY) if row.issue == "OUT_OF_RANGE"}
    assert "asset:A0" not in flagged
    assert {"asset:A1", "asset:A69"} <= flagged
    values = {row.asset: row for row in rows(tmp_path, ASSET_VALUE)}
    assert values["A0"].quality != "unknown"
    assert values["A69"].quality == "unknown"
