"""The ledger against the books of a venue: a real account of two and a half years."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from riskwatch.core.clock import micros
from riskwatch.core.events import Tick
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import EventRejected
from riskwatch.core.readings import CounterpartyReading
from tests.support.wallet_history import balances, entries, events

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.events import LedgerEvent


def test_movements_alone_give_the_venues_balance_after_every_entry(recordings: Path) -> None:
    """No event has a balance; after each time and currency the sum is the venue's, to the unit."""
    path = recordings / "accounts" / "bitmex_wallet_history_2020_2022.csv.gz"
    if not path.is_file():
        pytest.skip(f"no wallet history: {path} is no file")
    rows = entries(path)
    stated = balances(rows)
    stage, state = LedgerStage(), LedgerState()
    seen: dict[int, dict[str, int]] = {}
    waiting = sorted(stated)
    made = list(events(rows))
    for n, event in enumerate(made):
        outputs = stage.step(state, cast("LedgerEvent", event))
        us = micros(event.ts)
        if n + 1 == len(made) or micros(made[n + 1].ts) != us:
            outputs += stage.step(state, Tick(us))
        assert not [each for each in outputs if isinstance(each, EventRejected)]
        for reading in outputs:
            if isinstance(reading, CounterpartyReading):
                assert {h.component for h in reading.holdings} == {"custody"}
                seen[us] = {h.asset: int(h.amount) for h in reading.holdings}
    assert list(seen) == waiting
    assert len(rows) == 3_638
    for us in waiting:
        assert seen[us] == {asset: n for asset, n in stated[us].items() if n or asset in seen[us]}
