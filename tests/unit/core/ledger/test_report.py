"""Ticks: readings, their throttle, and flow features."""

from __future__ import annotations

import pytest

from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.readings import CounterpartyReading
from tests.support.facts import amounts, balance, fill, position, read, run, tick, transfer

HOUR = 3600


def test_only_what_changed_is_reported_once_sorted() -> None:
    """One reading per changed counterparty by name; holdings by book, account, asset."""
    state = LedgerState()
    facts = [
        fill("1", 0, counterparty="okx"),
        fill("2", 0, counterparty="binance", book="z"),
        fill("3", 0, counterparty="binance", account="a"),
    ]
    readings = run([*facts, tick(1)], state)
    assert [getattr(r, "counterparty", "") for r in readings] == ["binance", "okx"]
    assert isinstance(readings[0], CounterpartyReading)
    keys = [(h.book, h.account, h.asset) for h in readings[0].holdings]
    assert keys == sorted(keys)
    assert len(keys) == 4
    assert run([tick(2), tick(99999)], state) == []
    assert len(run([fill("4", 5, counterparty="okx"), tick(100000)], state)) == 1


def test_what_becomes_zero_is_told_once() -> None:
    """A closed holding and a closed position are reported as zero, then no more."""
    state = LedgerState()
    run([balance("1", 0, "5"), position("p", 0, "2"), tick(1)], state)
    closing = [balance("2", 2, "0"), position("q", 2, "0"), tick(3)]
    closed = read(run(closing, state))
    assert amounts(closed) == {"BTC custody": "0"}
    assert [str(p.qty) for p in closed.positions] == ["0"]
    after = read(run([fill("x", 4, base="ETH"), tick(5)], state))
    assert sorted(amounts(after)) == ["ETH custody", "USD custody"]
    assert after.positions == []


def test_what_never_was_is_not_told() -> None:
    """A holding that was zero at both ticks is not in a reading."""
    assert read(run([balance("1", 0, "0"), tick(1)])).holdings == []


def test_a_waiting_withdrawal_is_reported_once_a_minute() -> None:
    """Its age grows with event time; ticks within one minute report it once."""
    state = LedgerState()
    run([transfer("1", 0, "requested"), tick(0)], state)
    told = run([tick(t) for t in range(1, 181)], state)
    ages = [r.flow.oldest_withdrawal_s for r in told if isinstance(r, CounterpartyReading)]
    assert ages == [60.0, 120.0, 180.0]
    run([transfer("2", 200, "confirmed"), tick(200)], state)
    assert run([tick(260), tick(320)], state) == []


def test_the_baseline_is_the_median_of_the_last_64_completed() -> None:
    """It is over times from request to sent; a withdrawal that fails later is removed."""
    facts = []
    for n in range(70):
        name = {"transfer_id": f"w{n}"}
        facts.append(transfer(f"r{n}", 100 * n, "requested", **name))
        facts.append(transfer(f"s{n}", 100 * n + (n if n >= 6 else 99), "sent", **name))
    state = LedgerState()
    flow = read(run([*facts[::-1], tick(20_000)], state)).flow
    assert flow.withdrawals_done == 64
    assert flow.withdrawal_baseline_s == pytest.approx(37.5)
    failed = transfer("x", 9000, "failed", transfer_id="w69")
    flow = read(run([failed, tick(20_001)], state)).flow
    assert (flow.withdrawals_done, flow.failed_24h) == (63, 1)


def test_flows_of_a_day_come_and_go_by_the_hour() -> None:
    """Amounts by asset are in 24 hourly buckets; a reading follows when one expires."""
    state = LedgerState()
    facts = [
        transfer("o1", 0, "sent"),
        transfer("o2", 2 * HOUR, "sent", transfer_id="b", amount="1.50"),
        transfer("i", 60, "confirmed", transfer_id="c", direction="deposit", asset="USD"),
        transfer("d", 60, "sent", transfer_id="d", direction="deposit", asset="USD"),
        transfer("f", 60, "failed", transfer_id="e"),
        transfer("n", 60, "cancelled", transfer_id="g"),
    ]
    flow = read(run([*facts, tick(2 * HOUR)], state)).flow
    assert {k: str(v) for k, v in flow.outflow_24h.items()} == {"BTC": "6.5"}
    assert {k: str(v) for k, v in flow.inflow_24h.items()} == {"USD": "5"}
    assert flow.failed_24h == 1
    later = read(run([tick(24 * HOUR)], state)).flow
    assert {k: str(v) for k, v in later.outflow_24h.items()} == {"BTC": "1.5"}
    assert later.inflow_24h == {}
    assert later.failed_24h == 0
    assert read(run([tick(26 * HOUR)], state)).flow.outflow_24h == {}
    assert run([tick(28 * HOUR), tick(90 * HOUR)], state) == []


def test_a_returned_withdrawal_is_no_outflow() -> None:
    """The returned amount does not count as outflow."""
    facts = [transfer("1", 0, "sent"), transfer("2", 60, "failed"), tick(61)]
    assert read(run(facts)).flow.outflow_24h == {}
