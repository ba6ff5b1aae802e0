"""Cases of networks: slow is not dead, and a venue that is dead is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from riskwatch import scenarios
from riskwatch.contracts.codec import encode
from tests.support.cases import CONFIG, Replayed, case

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.events import WireEvent

PD = "SELECT probability FROM score_now WHERE target = 'pd' AND generation = 'served'"
LGD = CONFIG.reference.party("ftx").lgd


def test_a_congested_network_halts_nobody(tmp_path: Path) -> None:
    """BTC withdrawals wait twelve hours at four venues: WATCH because of the network, no PD."""
    seen = Replayed(tmp_path, case("risk/congest"))
    rows = seen.rows("SELECT scope, state, rule FROM decision_log WHERE state = 'WATCH'")
    watched = {scope for scope, _, rule in rows if rule == "counterparty.network.watch"}
    assert watched == {"counterparty:coinbase", "counterparty:kraken"}
    assert seen.rows("SELECT scope FROM decision_log WHERE state = 'HALT'") == []
    by_wait = "SELECT rule FROM decision_log WHERE rule LIKE 'counterparty.withdrawal%'"
    assert seen.rows(by_wait) == []
    assert max(pd for (pd,) in seen.rows(PD)) < 0.02


def test_ftx_is_halted_by_its_pd(tmp_path: Path) -> None:
    """Six hours before the rule on waiting; at the REDUCE, staying costs half of LGD times EAD."""
    lines = (encode(cast("WireEvent", event)).decode() for event in scenarios.events("ftx_2022", 1))
    until = datetime(2022, 11, 8, 16, 10, tzinfo=UTC)
    seen = Replayed(tmp_path, lines, until=until)
    made = seen.rows(
        "SELECT state, rule, exposure_usd, el_usd, exit_cost_usd FROM decision_log "
        "WHERE scope = 'counterparty:ftx' ORDER BY ts"
    )
    assert [(state, rule) for state, rule, *_ in made] == [
        ("WATCH", "counterparty.withdrawal.watch"),
        ("REDUCE", "counterparty.withdrawal.reduce"),
        ("HALT", "model.rules.pd.HALT"),
    ]
    held, loss, leaving = (float(figure) for figure in made[1][2:])
    assert loss >= 0.5 * LGD * held
    assert leaving < 0.01 * loss


def test_a_venue_that_pays_slowly_is_reduced_and_not_halted(tmp_path: Path) -> None:
    """Bybit was robbed and paid: REDUCE because of the theft, and a PD of at most 0.3."""
    lines = (
        encode(cast("WireEvent", event)).decode() for event in scenarios.events("bybit_2025", 1)
    )
    seen = Replayed(tmp_path, lines)
    scope = "WHERE scope = 'counterparty:bybit'"
    states = {state for (state,) in seen.rows(f"SELECT state FROM decision_log {scope}")}
    assert "REDUCE" in states
    assert "HALT" not in states
    highest = seen.rows(
        "SELECT max(probability) FROM score_history WHERE scope = 'counterparty:bybit' "
        "AND target = 'pd' AND generation = 'served'"
    )
    assert 0.1 < highest[0][0] <= 0.3
