"""Cases of losses: a falling day raises the states of the book and of the firm."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.support.cases import Replayed, case

if TYPE_CHECKING:
    from pathlib import Path

DEPOSIT = {
    "type": "transfer", "v": 1, "event_id": "deposit-1", "ts": "2024-05-06T10:20:00Z",
    "source": "desk", "transfer_id": "d1", "counterparty": "kraken", "account": "main",
    "book": "arb", "asset": "USD", "amount": "3000000", "direction": "deposit",
    "status": "confirmed",
}  # fmt: skip
PARTS = ("trading", "fees", "funding", "interest", "revaluation", "unexplained")


@pytest.mark.parametrize("form", ["reported", "with a deposit"])
def test_a_fall_by_half_halts_book_and_firm(form: str, tmp_path: Path) -> None:
    """They are at HALT of the market risk by their losses; a deposit in the middle is no profit."""
    lines = case("drawdown").read_text().splitlines()
    if form == "with a deposit":
        lines.append(json.dumps(DEPOSIT))
    lines.sort(key=lambda line: str(json.loads(line)["ts"]))
    seen = Replayed(tmp_path, lines)
    states = dict(seen.rows("SELECT scope, state FROM killswitch_now"))
    assert (states["book:arb"], states["firm"]) == ("HALT", "HALT")
    rules = {rule for (rule,) in seen.rows("SELECT rule FROM decision WHERE state = 'HALT'")}
    assert {"book.loss.halt", "firm.loss.halt"} <= rules
    sums = ", ".join(f"{part}_usd" for part in PARTS)
    query = f"SELECT equity_start_usd, equity_usd, flow_usd, pnl_usd, {sums} FROM pnl_today"
    found = seen.rows(f"{query} WHERE scope = 'firm'")
    ((start, equity, flow, pnl, *parts),) = ([Decimal(str(x)) for x in row] for row in found)
    assert sum(parts) == pnl
    assert start + pnl + flow == equity
    assert pnl == pytest.approx(Decimal(-4_800_000), rel=Decimal("0.01"))
