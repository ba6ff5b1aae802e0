"""Rows of the ledger's state."""

from __future__ import annotations

import pytest

from riskwatch.core.ledger.state import LedgerState
from tests.support.facts import balance, fill, order, run, tick


def test_only_dirty_rows_are_drained_with_sorted_keys() -> None:
    """A drain writes what changed since the last one, and nothing twice."""
    state = LedgerState()
    run([balance("1", 0, "5"), order("2", 0, "1", order_id="a/b c")], state)
    rows = state.drain()
    assert list(rows) == [
        "cell/kraken/mm/main//BTC/custody",
        "order/kraken/mm/main/a/b c",
        "party/kraken",
        "stated/kraken/main/feed",
    ]
    assert state.drain() == {}
    run([tick(1)], state)
    assert list(state.drain()) == [
        "party/kraken",
        "shown/kraken/mm/main//custody/BTC",
        "shown/kraken/mm/main//open_order/BTC",
    ]


def test_ids_with_slashes_come_back() -> None:
    """Ids are last in their keys, so that ids with slashes are restored."""
    state, again = LedgerState(), LedgerState()
    perp = {"kind": "perp", "instrument": "BTC/USD:perp/1"}
    run([order("2", 0, "1", order_id="a/b c"), fill("f", 0, **perp), tick(1)], state)
    again.load({key: row for key, row in state.drain().items() if row})
    facts = [order("3", 1, "0", order_id="a/b c"), fill("g", 1, **perp), tick(2)]
    assert run(facts, state) == run(facts, again)
    assert state.drain() == again.drain()


def test_rows_of_no_known_kind_are_an_error() -> None:
    """A row of an unknown kind is not ignored."""
    with pytest.raises(ValueError, match="'pebble/kraken' is of no kind"):
        LedgerState().load({"pebble/kraken": b"1"})
