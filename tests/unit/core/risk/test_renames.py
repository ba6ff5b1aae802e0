"""A table of names that changes: what was decided about an alias holds for its canonical name."""

from __future__ import annotations

import pytest

from riskwatch.core.enums import Restriction, State
from riskwatch.core.outputs import AlertRaised, AlertResolved, DecisionMade, KillSwitchChanged
from riskwatch.core.risk.state import ControlRow, HaltOverride, RiskState
from riskwatch.engine import bootstrap
from tests.support.people import answer, command, people, request_of
from tests.support.risk import Desk, at, held, of

NAMES = bootstrap.configuration().name_table


def renamed(before: Desk) -> Desk:
    """Load the rows of a desk without names into one with the shipped table, as a start does."""
    rows = before.state.drain()
    after = people(names=NAMES)
    after.state = RiskState(after.stage.scorer.fresh())
    after.state.load({key: row for key, row in rows.items() if row is not None})
    return after


def row_state(d: Desk, scope: str) -> State:
    """State of a scope now."""
    return d.state.scopes[scope].state


def test_a_halt_of_an_alias_is_a_halt_of_its_name() -> None:
    """It is published at once, stays latched, pages, and needs two people."""
    before = people()
    before.tell(command("rita", "halt", 1, "asset:XBT", restriction="claim"))
    d = renamed(before)
    out = d.tick(2)
    (switch,) = of(out, KillSwitchChanged, "asset:BTC")
    assert (switch.effective, switch.restriction) == (State.HALT, {Restriction.CLAIM: State.HALT})
    assert "asset:XBT is asset:BTC now" in switch.reasons[0]
    assert of(out, DecisionMade, "asset:BTC")
    assert of(out, AlertRaised, "asset:BTC")
    assert of(out, AlertResolved)
    assert list(d.state.scopes) == ["asset:BTC"]
    assert not of(out, KillSwitchChanged, "asset:XBT")
    d.tick(3)
    request = request_of(d.tell(command("ann", "release", 4, "asset:XBT")))
    assert row_state(d, "asset:BTC") is State.HALT
    out = d.tell(command("bob", "approve", 5, "asset:XBT", request=request))
    assert answer(out) == "approved"
    assert row_state(d, "asset:BTC") is State.NORMAL


@pytest.mark.parametrize("first", ["asset:XBT", "asset:BTC", "asset:XXBT"])
def test_the_strictest_of_merged_names_wins(first: str) -> None:
    """Whichever of them is at HALT, and whatever each restricts."""
    before = people()
    before.tell(command("rita", "halt", 1, first, restriction="market"))
    before.tell(command("rita", "halt", 2, "asset:XBT", restriction="claim"))
    d = renamed(before)
    d.tick(3)
    row = d.state.scopes["asset:BTC"]
    assert row.state is State.HALT
    assert set(row.restriction) == {Restriction.CLAIM, Restriction.MARKET}
    assert list(d.state.scopes) == ["asset:BTC"]


def test_an_override_of_one_name_does_not_loosen_the_other() -> None:
    """The HALT that was lifted is back, and its open requests are gone."""
    for lifted, other in (("asset:XBT", "asset:BTC"), ("asset:BTC", "asset:XBT")):
        before = people()
        before.tell(command("rita", "halt", 1, lifted))
        before.state.scopes[lifted].state = State.WATCH
        override = HaltOverride("ann", "bob", at(600), State.WATCH, "a drill")
        before.state.controls[lifted] = ControlRow(override=override)
        before.state.mark(f"control/{lifted}")
        before.tell(command("rita", "halt", 1, other, restriction="claim"))
        before.tell(command("ann", "release", 2, other))
        d = renamed(before)
        d.tick(3)
        assert row_state(d, "asset:BTC") is State.HALT
        restricted = d.state.scopes["asset:BTC"].restriction
        assert set(restricted) == {Restriction.CLAIM, Restriction.FULL}
        assert not d.state.controls


def test_it_happens_once_and_is_the_same_from_the_same_rows() -> None:
    """Rows and outputs do not depend on the process."""
    before = people()
    for scope in ("asset:XBT", "counterparty:kraken-pro", "venue-asset:okex/XXBT"):
        before.tell(command("rita", "halt", 1, scope))
    rows = before.state.drain()
    made = []
    for _ in range(2):
        d = people(names=NAMES)
        d.state.load({key: row for key, row in rows.items() if row is not None})
        out = [(type(each).__name__, each) for each in d.tick(2)]
        made.append((out, d.state.drain()))
        assert sorted(d.state.scopes) == [
            "asset:BTC", "counterparty:kraken", "venue-asset:okx/BTC",
        ]  # fmt: skip
        assert not of(d.tick(3), KillSwitchChanged, "asset:BTC")
    assert made[0] == made[1]


def test_holdings_under_an_alias_count_under_the_name() -> None:
    """In the unit of the name, and with what is held under the name already."""
    d = people(names=NAMES)
    d.tick(1, held(1, ("XBT", "2"), ("BTC", "1"), ("1000PEPE", "3")))
    (row,) = d.state.parties.values()
    assert {each.asset: int(each.amount) for each in row.holdings} == {"BTC": 3, "PEPE": 3000}
