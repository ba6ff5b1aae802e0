"""A worker that stays down leaves its counterparties in doubt: at once, and until it goes on."""

from __future__ import annotations

from riskwatch.core.enums import Quality, State
from riskwatch.core.outputs import AlertRaised, AlertResolved, KillSwitchChanged
from riskwatch.core.readings import PartitionFault
from riskwatch.core.risk.state import ScopeRow
from tests.support import risk as r

KRAKEN = "counterparty:kraken"


def fault(minutes: float, *names: str) -> PartitionFault:
    """Say who is in doubt because of a ledger worker."""
    return PartitionFault(r.at(minutes), "ledger/3", "f1", list(names))


def holding(*parties: str) -> r.Desk:
    """A desk that holds a bitcoin with each of them."""
    desk = r.desk()
    prices = r.market(0, r.bitcoin(), venues=[r.venue("kraken")])
    desk.tick(0, prices, *(r.held(0, ("BTC", "1"), party=p) for p in parties))
    return desk


def switch(desk: r.Desk, name: str = "kraken") -> tuple[State, State, Quality]:
    """State, effective and quality as last put out."""
    last = r.of(desk.out, KillSwitchChanged, f"counterparty:{name}")[-1]
    return last.state, last.effective, last.quality


def test_what_is_held_there_is_reduced_at_once() -> None:
    """At the next tick, without any wait, and people are told why."""
    desk = holding("kraken", "coinbase")
    out = desk.tick(1, fault(1, "kraken"))
    (turned,) = r.of(out, KillSwitchChanged)
    assert (turned.scope, switch(desk)) == (KRAKEN, (State.NORMAL, State.REDUCE, Quality.UNKNOWN))
    said = "counterparty:kraken: ledger/3 stays down: what we have with kraken is not kept up"
    assert turned.reasons == [said]
    (raised,) = r.of(out, AlertRaised)
    assert (raised.alert, raised.severity) == (f"{KRAKEN}|data", State.WATCH)
    assert raised.exposure_usd > 0
    assert desk.tick(2) == []


def test_a_later_reading_ends_it() -> None:
    """For the one that it is of, and for no other."""
    desk = holding("kraken", "coinbase")
    desk.tick(1, fault(1, "coinbase", "kraken"))
    out = desk.tick(2, r.held(2, ("BTC", "2")))
    assert switch(desk) == (State.NORMAL, State.NORMAL, Quality.GOOD)
    assert [o.alert for o in r.of(out, AlertResolved)] == [f"{KRAKEN}|data"]
    assert switch(desk, "coinbase")[1:] == (State.REDUCE, Quality.UNKNOWN)
    assert desk.state.faults == {"ledger/3": ["coinbase"]}


def test_going_on_ends_it_for_all() -> None:
    """Also for those of which there is nothing new to say."""
    desk = holding("kraken", "coinbase")
    desk.tick(1, fault(1, "coinbase", "kraken"))
    desk.tick(2, fault(2))
    for name in ("coinbase", "kraken"):
        assert switch(desk, name) == (State.NORMAL, State.NORMAL, Quality.GOOD)
    assert desk.state.faults == {}


def test_a_reading_from_before_ends_nothing() -> None:
    """A repeat that was delayed says nothing of the present."""
    desk = holding("kraken")
    desk.tick(2, r.held(2, ("BTC", "2")))
    desk.tick(3, fault(3, "kraken"))
    desk.tick(4, r.held(1, ("BTC", "1")))
    assert switch(desk)[1:] == (State.REDUCE, Quality.UNKNOWN)


def test_where_nothing_is_held_nobody_is_paged() -> None:
    """The doubt is shown, and restricts nothing; also of somebody never heard of."""
    desk = holding("coinbase")
    out = desk.tick(1, fault(1, "kraken", "okx"))
    for name in ("kraken", "okx"):
        assert switch(desk, name) == (State.NORMAL, State.NORMAL, Quality.UNKNOWN)
    assert r.of(out, AlertRaised) == []


def test_a_halt_stays() -> None:
    """Neither the doubt nor its end releases what data cannot."""
    desk = holding("kraken")
    desk.state.scopes[KRAKEN] = row = ScopeRow(state=State.HALT, effective=State.HALT)
    desk.tick(1, fault(1, "kraken"))
    assert switch(desk)[:2] == (State.HALT, State.HALT)
    desk.tick(2, fault(2))
    assert switch(desk)[:2] == (State.HALT, State.HALT)
    assert row.state is State.HALT


def test_the_doubt_survives_a_restart() -> None:
    """It is in the rows, and gone from them when it ended."""
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
