"""Every collection is bounded: if full, it refuses new entities and names the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.enums import QualityIssue, RejectReason
from riskwatch.core.ledger.config import LedgerConfig
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import DataQualityRaised, EventRejected
from tests.support.facts import (
    amounts,
    balance,
    bust,
    fill,
    loan,
    order,
    position,
    read,
    run,
    settlement,
    tick,
    transfer,
)

if TYPE_CHECKING:
    from riskwatch.core.events import LedgerEvent

DAY = 86_400
SETTLING = fill("t", 0, settles_at=60)

CASES: list[tuple[str, int, LedgerEvent, LedgerEvent, LedgerEvent]] = [
    # limit, value, first, one too many, about the first
    ("max_counterparties", 1, fill("1", 0), fill("2", 1, counterparty="okx"), fill("3", 2)),
    ("max_holdings", 3, fill("1", 0), fill("2", 1, base="ETH", quote="EUR"), fill("3", 2)),
    ("max_positions", 1, position("1", 0, "1"), position("2", 1, "1", instrument="X"),
     position("3", 2, "1")),
    ("max_transfers", 1, transfer("1", 0, "sent"), transfer("2", 1, "sent", transfer_id="x"),
     transfer("3", 2, "confirmed")),
    ("max_trades", 1, SETTLING, fill("2", 1, settles_at=60),
     settlement("3", 2, SETTLING, "delivered")),
    ("max_orders", 1, order("1", 0, "1"), order("2", 1, "1", order_id="x"), order("3", 2, "0")),
    ("max_loans", 1, loan("1", 0, "1"), loan("2", 1, "1", loan_id="x"), loan("3", 2, "0")),
]  # fmt: skip


@pytest.mark.parametrize(("limit", "value", "first", "more", "again"), CASES)
def test_a_full_collection_refuses_the_new_and_serves_the_known(
    limit: str, value: int, first: LedgerEvent, more: LedgerEvent, again: LedgerEvent
) -> None:
    """The refusal names the limit and is told with its source; known entities go on working."""
    kwargs: dict[str, Any] = {limit: value}
    stage, state = LedgerStage(LedgerConfig(**kwargs)), LedgerState()
    assert run([first], state, stage) == []
    state.drain()
    told, refused = run([more], state, stage)
    assert isinstance(told, DataQualityRaised)
    assert isinstance(refused, EventRejected)
    assert (told.issue, told.subject) == (QualityIssue.TABLE_FULL, "ledger:feed")
    assert refused.detail in told.detail
    assert refused.reason is RejectReason.LIMIT_REACHED
    assert refused.detail == f"limit={limit} value={value}"
    assert refused.cause_id == f"feed/{more.event_id}"
    assert list(state.drain()) == ["refused/feed"]
    assert run([again], state, stage) == []
    assert state.drain() != {}


def test_state_stays_bounded_over_a_long_stream() -> None:
    """Weeks of orders, transfers, trades and expiring instruments do not grow the state."""
    state, stage = LedgerState(), LedgerStage()
    rows: dict[str, bytes] = {}
    sizes = []
    for day in range(40):
        for n in range(12):
            name, t = f"{day}-{n}", day * DAY + n * 7200.0
            trade = fill(f"f{name}", t, settles_at=t + 60)
            perp = {"kind": "perp", "instrument": f"X{day}"}
            where = {"transfer_id": name}
            facts = [
                order(f"o{name}", t, "1", order_id=name),
                order(f"p{name}", t + 1, "0", order_id=name),
                transfer(f"a{name}", t, "requested", **where),
                transfer(f"b{name}", t + 5, "confirmed", **where),
                trade,
                settlement(f"s{name}", t + 9, trade, "delivered"),
                fill(f"x{name}", t + 10, **perp),
                fill(f"y{name}", t + 11, **perp, side="sell"),
                loan(f"l{name}", t, "1", loan_id=name),
                loan(f"m{name}", t + 1, "0", loan_id=name),
            ]
            run([*facts, tick(t + 600)], state, stage)
        for key, row in state.drain().items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        sizes.append(len(rows))
    assert max(sizes[20:]) <= max(sizes[:20])
    again = LedgerState()
    again.load(rows)
    assert len(again.parties["kraken"].positions) <= 9


def test_facts_about_what_was_forgotten_are_refused() -> None:
    """A delta, loan or settlement from before the horizon is refused as too late."""
    state = LedgerState()
    trade = fill("t", 0, settles_at=60, base="ETH")
    facts = [
        balance("s", 0, "0", asset="OLD"),
        position("p", 0, "0", instrument="OLD"),
        loan("l", 0, "0"),
        trade,
        settlement("d", 60, trade, "delivered"),
        fill("now", 9 * DAY),
    ]
    run([*facts, tick(9 * DAY)], state)
    late = [
        fill("a", 0, base="OLD"),
        position("b", 0, "1", instrument="OLD"),
        loan("c", 0, "5"),
        settlement("e", 60, trade, "failed"),
        bust("g", 9 * DAY, trade),
    ]
    refused = run(late, state)
    assert [getattr(out, "reason", None) for out in refused] == [RejectReason.FACT_TOO_LATE] * 5


def test_a_holding_that_was_forgotten_can_come_back() -> None:
    """Fills of a pair whose holdings were dropped create them again."""
    state = LedgerState()
    flat = [
        fill("1", 0, base="ETH", quote="EUR"),
        fill("2", 1, base="ETH", quote="EUR", side="sell"),
    ]
    run([*flat, tick(1), fill("now", 9 * DAY), tick(9 * DAY)], state)
    assert ("mm", "main", "", "ETH", "custody") not in state.parties["kraken"].cells
    again = fill("3", 9 * DAY + 1, base="ETH", quote="EUR")
    assert amounts(read(run([again, tick(9 * DAY + 2)], state)))["ETH custody"] == "1"
