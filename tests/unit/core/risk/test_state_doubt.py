"""Counterparties of a failed worker are restricted at once, until the worker resumes."""

from __future__ import annotations

from riskwatch.core.enums import Quality, State
from riskwatch.core.outputs import AlertRaised, AlertResolved, KillSwitchChanged
from riskwatch.core.readings import PartitionFault
from riskwatch.core.risk.state import ScopeRow
from tests.support import risk as r

KRAKEN = "counterparty:kraken"


def fault(minutes: float, *names: str) -> PartitionFault:
    """Report counterparties of a failed ledger worker."""
    return PartitionFault(r.at(minutes), "ledger/3", "f1", list(names))


def holding(*parties: str) -> r.Desk:
    """Return a desk that holds a bitcoin with each counterparty."""
    desk = r.desk()
    prices = r.market(0, r.bitcoin(), venues=[r.venue("kraken")])
    desk.tick(0, prices, *(r.held(0, ("BTC", "1"), party=p) for p in parties))
    return desk


def switch(desk: r.Desk, name: str = "kraken") -> tuple[State, State, Quality]:
    """Return state, effective state and quality as last published."""
    last = r.of(desk.out, KillSwitchChanged, f"counterparty:{name}")[-1]
    return last.state, last.effective, last.quality


def test_what_is_held_there_is_reduced_at_once() -> None:
    """The restriction comes at the next tick, and an alert states the reason."""
    desk = holding("kraken", "coinbase")
    out = desk.tick(1, fault(1, "kraken"))
    (turned,) = r.of(out, KillSwitchChanged)
    assert (turned.scope, switch(desk)) == (KRAKEN, (State.NORMAL, State.REDUCE, Quality.UNKNOWN))
    said = "counterparty:kraken: ledger/3 stays down: what we have with kraken is not kept up"
    assert turned.reasons == [said]
    (raised,) = r.of(out, AlertRaised)
    assert (raised.alert, raised.severity) == (f"{KRAKEN}|data", State.REDUCE)
    assert raised.exposure_usd > 0
    assert desk.tick(2) == []


def test_a_later_reading_ends_it() -> None:
    """It ends the fault for its own counterparty only."""
    desk = holding("kraken", "coinbase")
    desk.tick(1, fault(1, "coinbase", "kraken"))
    out = desk.tick(2, r.held(2, ("BTC", "2")))
    assert switch(desk) == (State.NORMAL, State.NORMAL, Quality.GOOD)
    assert [o.alert for o in r.of(out, AlertResolved)] == [f"{KRAKEN}|data"]
    assert switch(desk, "coinbase")[1:] == (State.REDUCE, Quality.UNKNOWN)
    assert desk.state.faults == {"ledger/3": ["coinbase"]}


def test_going_on_ends_it_for_all() -> None:
    """Counterparties without a new reading are included."""
    desk = holding("kraken", "coinbase")
    desk.tick(1, fault(1, "coinbase", "kraken"))
    desk.tick(2, fault(2))
    for name in ("coinbase", "kraken"):
        assert switch(desk, name) == (State.NORMAL, State.NORMAL, Quality.GOOD)
    assert desk.state.faults == {}


def test_a_reading_from_before_ends_nothing() -> None:
    """A delayed repeat does not count as a new reading."""
    desk = holding("kraken")
    desk.tick(2, r.held(2, ("BTC", "2")))
    desk.tick(3, fault(3, "kraken"))
    desk.tick(4, r.held(1, ("BTC", "1")))
    assert switch(desk)[1:] == (State.REDUCE, Quality.UNKNOWN)


def test_where_nothing_is_held_nobody_is_paged() -> None:
    """The quality is published without a restriction, also for an unknown counterparty."""
    desk = holding("coinbase")
    out = desk.tick(1, fault(1, "kraken", "okx"))
    for name in ("kraken", "okx"):
        assert switch(desk, name) == (State.NORMAL, State.NORMAL, Quality.UNKNOWN)
    assert r.of(out, AlertRaised) == []


def test_a_halt_stays() -> None:
    """Neither the fault nor its end releases a HALT."""
    desk = holding("kraken")
    desk.state.scopes[KRAKEN] = row = ScopeRow(state=State.HALT, effective=State.HALT)
    desk.tick(1, fault(1, "kraken"))
    assert switch(desk)[:2] == (State.HALT, State.HALT)
    desk.tick(2, fault(2))
    assert switch(desk)[:2] == (State.HALT, State.HALT)
    assert row.state is State.HALT


def test_the_doubt_survives_a_restart() -> None:
    """The fault is stored in a row, which is deleted when it ends."""
    desk = holding("kraken")
    desk.state.drain()
    desk.tell(fault(1, "kraken"))
    rows = desk.state.drain()
    assert rows["fault/ledger/3"] == b'["kraken"]'
    again = r.desk()
    again.state.load({key: row for key, row in rows.items() if row is not None})
    assert again.state.faults == {"ledger/3": ["kraken"]}
    again.tell(r.held(2, ("BTC", "1")))
    assert again.state.drain()["fault/ledger/3"] is None
