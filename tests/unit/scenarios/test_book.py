"""The sample firm: every snapshot equals the sum of fills and transfers, to the last digit."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from itertools import pairwise

import pytest

from riskwatch import scenarios
from riskwatch.core.clock import micros
from riskwatch.core.events import (
    LEDGER_EVENTS,
    Balance,
    Event,
    Fill,
    OpenOrder,
    Position,
    Tick,
    Transfer,
)
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.readings import CounterpartyReading
from riskwatch.errors import RiskwatchError
from riskwatch.scenarios import book_events

START = datetime(2022, 5, 7, tzinfo=UTC)
DAYS = timedelta(days=3)
LIFE = {
    ("withdrawal", None): {"requested"},
    ("withdrawal", "requested"): {"pending", "cancelled"},
    ("withdrawal", "pending"): {"sent", "failed"},
    ("withdrawal", "sent"): {"confirmed"},
    ("deposit", None): {"pending"},
    ("deposit", "pending"): {"confirmed"},
}


def folded(events: list[Event]) -> int:
    """Sum up fills and transfers from the opening, compare every snapshot, and count them."""
    held: dict[tuple[str, str, str], Decimal] = {}
    compared = 0
    with localcontext() as context:
        context.prec = 60
        for e in events:
            if isinstance(e, Balance) and e.kind == "custody":
                key = (e.counterparty, e.account, e.asset)
                total = e.free + (e.locked or 0)
                if key in held:
                    assert total == held[key], (key, e.ts)
                    compared += 1
                held[key] = total
            elif isinstance(e, Fill):
                sign = 1 if e.side == "buy" else -1
                held[e.counterparty, e.account, e.base] += sign * e.qty
                held[e.counterparty, e.account, e.quote] -= sign * e.qty * e.price
                held[e.counterparty, e.account, e.fee_asset or ""] -= e.fee or 0
            elif isinstance(e, Transfer):
                key = (e.counterparty, e.account, e.asset)
                if (e.direction, e.status) == ("withdrawal", "sent"):
                    held[key] -= e.amount
                if (e.direction, e.status) == ("deposit", "confirmed"):
                    held[key] += e.amount
    return compared


@pytest.mark.parametrize("seed", [1, 2])
def test_snapshots_equal_the_fold_of_fills_and_transfers(seed: int) -> None:
    """The snapshots of three days on the coarse path are exact."""
    events = list(book_events(START, START + DAYS, seed))
    assert folded(events) == 72 * 3 * 2 * 4
    assert all(a.ts <= b.ts for a, b in pairwise(events))


def test_snapshots_equal_the_fold_through_the_episode() -> None:
    """The snapshots at the prices of an episode are exact."""
    assert folded(list(scenarios.events("usdc_2023", 3))) == 76 * 3 * 2 * 4


def test_the_ledger_agrees_and_refuses_nothing() -> None:
    """The ledger stage finds no break in a day, and its holdings equal the totals."""
    stage, state = LedgerStage(), LedgerState()
    events = list(book_events(START, START + timedelta(days=1), 4))
    for e in events:
        assert isinstance(e, LEDGER_EVENTS)
        assert stage.step(state, e) == []
    readings = stage.step(state, Tick(micros(START + timedelta(days=1))))
    held = {
        (reading.counterparty, h.account, h.asset): h.amount
        for reading in readings
        if isinstance(reading, CounterpartyReading)
        for h in reading.holdings
        if h.component == "custody"
    }
    stated = {
        (e.counterparty, e.account, e.asset): e.free + (e.locked or 0)
        for e in events
        if isinstance(e, Balance) and e.kind == "custody"
    }
    assert held == stated
    assert len(held) == 24


def test_opening_is_about_twelve_million_in_two_books_at_three_venues() -> None:
    """USD, USDC, USDT and BTC add up to the stated total."""
    opening: dict[str, Decimal] = {}
    for e in book_events(START, START):
        if isinstance(e, Balance):
            opening[e.asset] = opening.get(e.asset, Decimal(0)) + e.free + (e.locked or 0)
    assert opening == {"USD": 4_300_000, "USDC": 3_200_000, "USDT": 2_100_000, "BTC": 120}


def test_nothing_is_ever_overdrawn_and_locks_are_orders_and_withdrawals() -> None:
    """Free and locked are never negative; locked covers the resting orders."""
    events = list(book_events(START, START + DAYS))
    for e in events:
        if isinstance(e, Balance) and e.kind == "custody":
            assert e.free >= 0
            assert e.locked is not None
            assert e.locked >= 0
    locked = [e for e in events if isinstance(e, Balance) and e.locked]
    assert {(e.counterparty, e.asset) for e in locked} >= {
        ("kraken", "USD"), ("kraken", "BTC"), ("binanceus", "USD"),
    }  # fmt: skip


def test_transfers_live_a_whole_life_at_both_ends() -> None:
    """Statuses follow the allowed order, both ends have equal amounts, and every transfer ends."""
    events = list(book_events(START, START + 8 * DAYS, 5))
    last: dict[tuple[str, str], str] = {}
    amounts: dict[str, set[tuple[str, Decimal]]] = {}
    ends = Counter[str]()
    for e in events:
        if isinstance(e, Transfer):
            before = last.get((e.transfer_id, e.direction))
            assert e.status in LIFE[e.direction, before]
            last[e.transfer_id, e.direction] = e.status
            amounts.setdefault(e.transfer_id, set()).add((e.asset, e.amount))
    assert all(len(a) == 1 for a in amounts.values())
    for status in last.values():
        ends[status] += 1
    assert ends["confirmed"] > 600
    assert ends["failed"] > 0
    assert ends["cancelled"] > 0
    assert ends["pending"] + ends["requested"] + ends["sent"] <= 3


def test_a_dropped_holding_appears_nowhere() -> None:
    """Without USDC in `hold`, no event names it."""
    for e in book_events(START, START + timedelta(hours=12), hold=("USDT", "BTC")):
        named = [getattr(e, f, None) for f in ("asset", "base", "quote", "fee_asset")]
        assert "USDC" not in named


def test_one_venue_and_no_coins_still_work() -> None:
    """One venue has no transfers; without coins there are only USD balances."""
    alone = list(book_events(START, START + timedelta(hours=6), venues=("okx",)))
    assert {e.counterparty for e in alone if isinstance(e, Fill)} == {"okx"}
    assert not any(isinstance(e, Transfer) for e in alone)
    poor = list(book_events(START, START + timedelta(hours=6), hold=()))
    assert {type(e) for e in poor} == {Balance}


def test_the_position_is_marked_and_orders_are_replaced_every_hour() -> None:
    """One perpetual with exact profit, and no order remains longer than an hour."""
    events = list(book_events(START, START + timedelta(hours=5)))
    marks = [e for e in events if isinstance(e, Position)]
    margin = [e for e in events if isinstance(e, Balance) and e.kind == "margin"]
    assert len(marks) == len(margin) == 6
    for position, balance in zip(marks, margin, strict=True):
        assert position.mark_price is not None
        assert position.entry_price is not None
        moved = position.mark_price - position.entry_price
        assert position.qty is not None
        assert balance.unrealized_pnl == position.qty * moved
    left: dict[str, Decimal] = {}
    for e in events:
        if isinstance(e, OpenOrder):
            left[e.order_id] = e.qty
    assert sum(1 for qty in left.values() if qty) == 4
    assert sum(1 for qty in left.values() if not qty) == 20


@pytest.mark.parametrize(("hold", "venues"), [(("DOGE",), ("kraken",)), (("BTC",), ())])
def test_what_the_firm_cannot_hold_is_refused(
    hold: tuple[str, ...], venues: tuple[str, ...]
) -> None:
    """An asset that the firm does not trade, or no venue, is refused."""
    with pytest.raises(RiskwatchError, match="sample book holds"):
        book_events(START, START + DAYS, hold=hold, venues=venues)
