"""What a reading says of trading: fills by second and market, and what rests."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.clock import micros
from riskwatch.core.ledger.activity import MAX_FILL_GROUPS, RecentFills
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.readings import FillGroup, RestingOrders
from tests.support.facts import at, fill, order, read, run, tick

if TYPE_CHECKING:
    from riskwatch.core.events import LedgerEvent


def reloaded(state: LedgerState) -> LedgerState:
    """Return a state that is loaded from the rows of another one."""
    made = LedgerState()
    made.load({key: row for key, row in state.drain().items() if row is not None})
    return made


def test_fills_are_summed_by_second_and_market() -> None:
    """Every kind of fill is in a group; a derivative moves no quote."""
    events = [
        fill("a", 1.0, qty="1"),
        fill("b", 1.9, qty="2", price="21000"),
        fill("c", 2.0, qty="1"),
        fill("d", 2.5, side="sell", settles_at=100),
        fill("e", 2.5, kind="perp", instrument="P"),
    ]
    reading = read(run([*events, tick(3)]))
    first, later, settling, perp = reading.fills[0], reading.fills[1], *reading.fills[2:]
    assert (first.count, first.qty, first.notional) == (2, Decimal(3), Decimal(62_000))
    assert (first.first_us, first.last_us) == (micros(at(1.0)), micros(at(1.9)))
    assert later.count == 1
    by_kind = {(g.side, g.spot): g for g in (settling, perp)}
    assert by_kind["sell", True].base_change == Decimal(-1)
    assert by_kind["sell", True].quote_change == Decimal(20_000)
    assert by_kind["buy", False].quote_change == 0
    assert read(run([tick(4), *events[:1], tick(5)])).fills_missed == 0


def test_a_reading_takes_the_fills_once() -> None:
    """The next reading has only what came since."""
    state = LedgerState()
    run([fill("a", 1), tick(2)], state)
    assert [g.count for g in read(run([fill("b", 3), tick(4)], state)).fills] == [1]


def market(n: int) -> tuple[str, str, str, str, str, bool]:
    """Return one of many markets."""
    return ("mm", "main", f"C{n}", "USD", "buy", True)


def test_a_crowd_of_markets_is_bounded_and_loses_no_sum() -> None:
    """Beyond the seconds a market has one group; beyond twice that, fills are counted."""
    fills = RecentFills()
    one = Decimal(1)
    for n in range(MAX_FILL_GROUPS):
        fills.add(n, market(n), one, one)
    for second in range(5):
        fills.add(second * 1_000_000 + 7, market(0), one, one)  # the first is in its own second
    for n in range(3 * MAX_FILL_GROUPS):
        fills.add(9_000_000, market(n), one, one)
    rows = fills.rows()
    assert len(rows) == 2 * MAX_FILL_GROUPS
    assert fills.missed == 2 * MAX_FILL_GROUPS
    of_first: list[FillGroup] = [g for _, g in rows if g.base == "C0"]
    assert sum(g.count for g in of_first) == 7
    assert max(g.last_us for g in of_first) == 9_000_000
    again = RecentFills()
    again.restore(rows, fills.missed)
    for each in (fills, again):
        each.add(77_000_000, market(0), one, one)
    assert again.take() == fills.take()
    assert fills.take() == ([], 0)


def test_fills_before_a_restart_are_in_the_next_reading() -> None:
    """A batch may end between a fill and the tick."""
    state = LedgerState()
    run([fill("a", 1), order("o", 1, "5")], state)
    after = reloaded(state)
    run([fill("b", 1.5)], after)
    reading = read(run([tick(2)], after))
    assert [g.count for g in reading.fills] == [2]
    assert [g.qty for g in reading.orders or []] == [Decimal(5)]


@pytest.mark.parametrize("told", list(permutations(range(3))))
def test_the_latest_snapshot_of_an_order_rests(told: tuple[int, ...]) -> None:
    """In any order of arrival; the sums are by market and side."""
    snaps = [order("a", 1, "5"), order("b", 2, "3", price="10000"), order("c", 3, "2")]
    reading = read(run([*(snaps[n] for n in told), order("x", 1, "4", order_id="o2"), tick(9)]))
    assert reading.orders == [
        RestingOrders("mm", "main", "BTC", "USD", "buy", True, Decimal(6), Decimal(120_000), 2)
    ]


@pytest.mark.parametrize(
    ("more", "left"),
    [({"qty": "0"}, 0), ({"qty": "5", "reduce_only": True}, 0), ({"qty": "5"}, 1)],
)
def test_closed_and_reduce_only_orders_do_not_rest(more: dict[str, Any], left: int) -> None:
    """They are known, and not among the orders that rest."""
    first: list[LedgerEvent] = [order("a", 1, "5")]
    reading = read(run([*first, order("b", 2, **more), tick(3)]))
    assert reading.orders is not None
    assert len(reading.orders) == left


def test_without_orders_nothing_is_known() -> None:
    """No fact about an order is not the same as no order."""
    assert read(run([fill("a", 1), tick(2)])).orders is None
    state = LedgerState()
    run([order("a", 1, "0"), fill("f", 2_000), tick(2_001), fill("g", 3_000)], state)
    swept = read(run([tick(3_001)], reloaded(state)))
    assert swept.orders == []
