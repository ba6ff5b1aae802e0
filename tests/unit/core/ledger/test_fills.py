"""Fills, busts and settlements: their effects on holdings and positions."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations

import pytest

from riskwatch.core.clock import micros
from riskwatch.core.enums import QualityIssue, RejectReason
from riskwatch.core.ledger.party import MAX_SLIPS
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, EventRejected
from riskwatch.core.readings import OpenPosition
from tests.support.facts import (
    amounts,
    at,
    balance,
    bust,
    fill,
    held,
    position,
    read,
    run,
    settlement,
    tick,
)


def test_a_spot_fill_moves_both_legs_and_its_fee() -> None:
    """Buying brings base and takes quote and fee; selling the other way round."""
    assert held(fill("1", 0, qty="0.5", fee="3", fee_asset="USD")) == {
        "BTC custody": "0.5",
        "USD custody": "-10003",
    }
    assert held(fill("1", 0, side="sell", fee="0.01", fee_asset="BTC")) == {
        "BTC custody": "-1.01",
        "USD custody": "20000",
    }


def test_a_fee_may_be_in_a_third_asset_a_rebate_or_without_an_asset() -> None:
    """A negative fee is income; a fee that names no asset is in quote."""
    assert held(fill("1", 0, fee="-2", fee_asset="BNB"))["BNB custody"] == "2"
    assert held(fill("1", 0, fee="2"))["USD custody"] == "-20002"


def test_sums_are_exact_with_eighteen_digits() -> None:
    """No bit is lost between the largest and the smallest amounts of the wire."""
    big, small = "999999999999999999999999", "0.000000000000000001"
    events = [
        fill("1", 0, qty=big, price="1.000000000000000001"),
        fill("2", 1, qty=small, price=small),
    ]
    held_now = held(*events)
    assert held_now["BTC custody"] == big + "." + small[2:]
    cost = "1000000000000000000999998.999999999999999999000000000000000001"
    assert held_now["USD custody"] == "-" + cost


def test_a_derivative_moves_a_position_and_no_coins_but_its_fee() -> None:
    """A perp fill changes lots; only the fee touches custody."""
    short = fill("1", 0, kind="perp", instrument="BTC-PERP", side="sell", fee="1.5")
    reading = read(run([short, fill("2", 1, kind="future", qty="3"), tick(2)]))
    assert amounts(reading) == {"USD custody": "-1.5"}
    assert [(p.instrument, str(p.qty)) for p in reading.positions] == [
        ("BTC-PERP", "-1"),
        ("BTC/USD", "3"),
    ]


def test_a_position_snapshot_replaces_and_later_fills_add() -> None:
    """Prices are the snapshot's; lots are the snapshot's plus later fills, in any order."""
    perp = {"kind": "perp", "instrument": "BTC-PERP"}
    facts = [
        fill("1", 5, **perp),
        position("s", 10, "-4", entry_price="19000", liquidation_price="30000"),
        fill("2", 15, **perp, qty="0.5"),
    ]
    expected = OpenPosition(
        "mm", "main", "BTC-PERP", "BTC", "USD", Decimal("-3.5"), Decimal(19000), None,
        Decimal(30000), confirmed=micros(at(10)),
    )  # fmt: skip
    for order in permutations(facts):
        assert read(run([*order, tick(20)])).positions == [expected]


def test_an_instrument_keeps_its_pair() -> None:
    """The same instrument on another pair is a conflict."""
    state = LedgerState()
    run([position("s", 0, "1")], state)
    for other in (
        position("t", 1, "1", base="ETH"),
        fill("f", 1, base="ETH", kind="perp", instrument="BTC-PERP"),
    ):
        [refused] = run([other], state)
        assert isinstance(refused, EventRejected)
        assert refused.reason is RejectReason.FACT_CONFLICT


@pytest.mark.parametrize("kind", ["spot", "perp"])
def test_a_bust_takes_everything_back_whatever_came_first(kind: str) -> None:
    """Fill and bust cancel in either order, fee included; positions likewise."""
    trade = fill("1", 0, kind=kind, fee="2", fee_asset="BNB")
    for events in ([trade, bust("b", 5, trade)], [bust("b", 5, trade), trade]):
        reading = read(run([*events, tick(9)]))
        assert reading.holdings == []
        assert reading.positions == []


def test_a_bust_counts_at_its_own_time() -> None:
    """A snapshot between fill and bust has the fill, so the bust still takes it back."""
    trade = fill("1", 0)
    events = [trade, balance("s", 5, "1"), bust("b", 9, trade)]
    for order in permutations(events):
        assert held(*order).get("BTC custody", "0") == "0"


def test_a_second_bust_of_one_fill_is_refused() -> None:
    """A fill can be busted once."""
    trade = fill("1", 0)
    outputs = run([trade, bust("b1", 5, trade), bust("b2", 6, trade)])
    assert [getattr(out, "reason", None) for out in outputs] == [RejectReason.FACT_CONFLICT]


def test_a_settling_fill_waits_is_delivered_or_fails() -> None:
    """Legs are unsettled until delivered at the settlement's time, or cancelled."""
    trade = fill("1", 0, settles_at=3600, fee="5")
    waiting = {"BTC unsettled": "1", "USD custody": "-5", "USD unsettled": "-20000"}
    assert held(trade) == waiting
    done = settlement("d", 100, trade, "delivered")
    failed = settlement("x", 100, trade, "failed")
    for order in permutations([trade, done, balance("s", 50, "2")]):
        assert held(*order) == {"BTC custody": "3", "USD custody": "-20005"}
    for order in permutations([trade, failed]):
        assert held(*order) == {"USD custody": "-5"}
    for order in permutations([trade, done, bust("b", 200, trade)]):
        assert held(*order) == {}
    for order in permutations([trade, bust("b", 200, trade)]):
        assert held(*order) == {}


def test_a_failure_after_delivery_takes_the_legs_back() -> None:
    """A failure after delivery reverses it; a delivery after failure applies."""
    trade = fill("1", 0, settles_at=3600)
    done, reversed_ = (settlement(s, t, trade, s) for s, t in (("delivered", 10), ("failed", 20)))
    retried = settlement("again", 30, trade, "delivered")
    assert held(trade, done, reversed_) == {}
    first_failed = settlement("failed", 5, trade, "failed")
    assert held(trade, first_failed, retried)["BTC custody"] == "1"
    at_once = settlement("failed", 10, trade, "failed")
    assert held(at_once, trade, done) == {}


def test_a_fill_that_settles_at_once_is_custody() -> None:
    """A `settles_at` not after `ts` applies at once; a bust still reverses it."""
    trade = fill("1", 10, settles_at=10)
    assert held(trade)["BTC custody"] == "1"
    assert held(bust("b", 20, trade), trade) == {}


def test_a_trade_past_its_settlement_time_is_overdue_and_told_once() -> None:
    """A tick after `settles_at` moves the legs to `overdue`; delivery ends it."""
    trade = fill("1", 0, settles_at=3600)
    state = LedgerState()
    assert amounts(read(run([trade, tick(3600)], state)))["BTC unsettled"] == "1"
    told, reading = run([tick(3601)], state)
    assert isinstance(told, DataQualityRaised)
    assert told.issue is QualityIssue.SETTLEMENT_OVERDUE
    assert told.subject == "kraken/mm/main/1"
    assert "BTC:1,USD:-20000" in told.detail
    assert amounts(read([reading])) == {
        "BTC overdue": "1",
        "BTC unsettled": "0",
        "USD overdue": "-20000",
        "USD unsettled": "0",
    }
    assert read([reading]).flow.overdue_count == 1
    assert run([tick(3602)], state) == []
    ended, *rest = run([settlement("d", 3700, trade, "delivered"), tick(3701)], state)
    assert isinstance(ended, DataQualityResolved)
    assert (ended.issue, ended.subject) == (told.issue, told.subject)
    done = read(rest)
    assert amounts(done)["BTC custody"] == "1"
    assert amounts(done)["BTC overdue"] == "0"
    assert done.flow.overdue_count == 0


def test_each_trade_is_overdue_only_past_its_own_time() -> None:
    """At its settlement time a trade is not overdue yet, whatever others are."""
    early, late = fill("1", 0, settles_at=10), fill("2", 0, settles_at=20)
    state = LedgerState()
    told, reading = run([early, late, tick(20)], state)
    assert getattr(told, "subject", "") == "kraken/mm/main/1"
    assert amounts(read([reading]))["BTC unsettled"] == "1"
    told, reading = run([tick(20.000001)], state)
    assert getattr(told, "subject", "") == "kraken/mm/main/2"
    assert read([reading]).flow.overdue_count == 2


def test_a_fill_id_is_filled_once() -> None:
    """Another settling fill under a known id is a conflict."""
    outputs = run([fill("1", 0, settles_at=60), fill("1", 1, settles_at=60, source="other")])
    assert [getattr(out, "reason", None) for out in outputs] == [RejectReason.FACT_CONFLICT]


def test_slippage_is_signed_and_exponentially_weighted() -> None:
    """Paying above or selling below the reference is positive; the newest weighs 5 %."""
    paid = fill("1", 0, price="20020", reference_price="20000")
    sold = fill("2", 1, side="sell", price="20020", reference_price="20000")
    assert read(run([paid, tick(1)])).flow.slippage_bp == pytest.approx(10.0)
    assert read(run([paid, sold, tick(1)])).flow.slippage_bp == pytest.approx(9.0)
    assert read(run([fill("3", 0), tick(1)])).flow.slippage_bp == 0.0


def test_fills_travel_with_what_they_slipped_by_once_and_bounded() -> None:
    """The first fills with a reference price are in the next reading, once."""
    one = fill("1", 0, price="20020", reference_price="20000")
    (slip,) = read(run([one, fill("2", 0), tick(1)])).slips
    assert (slip.asset, slip.quote) == (one.base, one.quote)
    assert slip.bp == pytest.approx(10.0)
    assert slip.notional == float(one.qty * one.price)
    assert read(run([one, tick(1), fill("3", 1), tick(120)])).slips == []
    many = [fill(str(n), 0, reference_price="20000") for n in range(200)]
    assert len(read(run([*many, tick(1)])).slips) == MAX_SLIPS
