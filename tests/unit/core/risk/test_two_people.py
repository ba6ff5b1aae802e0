"""Actions of two operators: release, override, raising a limit; and the expiry of requests."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from riskwatch.core.enums import State
from riskwatch.core.events import Tick
from riskwatch.core.operators import Operators, Role
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    CommandApplied,
    ControlChanged,
    DecisionMade,
    KillSwitchChanged,
    LimitMeasured,
)
from riskwatch.core.risk.approvals import limit_scope
from tests.support.people import OPERATORS, SCOPE, answer, command, people, request_of, until
from tests.support.risk import LIMITS, Desk, asset, at, held, market, of

if TYPE_CHECKING:
    from riskwatch.core.reference import Limit


def state(d: Desk, scope: str = SCOPE) -> State:
    """Return the state of a scope."""
    return d.state.scopes[scope].state


def halted_by_data() -> Desk:
    """Return a desk after ten minutes at 300 bp under the peg, holding the asset."""
    d = people()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 10, bp=-300.0)
    assert state(d) is State.HALT
    return d


def test_two_people_release_a_halt() -> None:
    """The first operator requests, an alert reports the request, the second approves it."""
    d = people()
    d.tell(command("rita", "halt", 1))
    asked = d.tell(command("ann", "release", 2))
    assert answer(asked) == "requested"
    assert state(d) is State.HALT
    (waits,) = of(asked, AlertRaised)
    (control,) = of(asked, ControlChanged)
    assert (control.request_by, control.request_id) == ("ann", waits.id)
    out = d.tell(command("bob", "approve", 3, request=waits.id))
    assert answer(out) == "approved"
    assert state(d) is State.NORMAL
    (made,) = of(out, DecisionMade)
    assert [r.split(":")[0] for r in made.reasons] == [
        "release asked for by ann", "approved by bob"
    ]  # fmt: skip
    assert of(out, KillSwitchChanged)[0].effective is State.NORMAL
    assert {a.opened_id for a in of(out, AlertResolved)} >= {waits.id}
    assert of(out, ControlChanged)[0].empty
    assert not d.state.controls


def test_whoever_asks_cannot_approve() -> None:
    """Neither can an operator below a supervisor."""
    d = people()
    d.tell(command("rita", "halt", 1))
    request = request_of(d.tell(command("ann", "release", 2)))
    assert answer(d.tell(command("ann", "approve", 3, request=request))) == "SAME_PERSON"
    assert answer(d.tell(command("rita", "approve", 3, request=request))) == "ROLE_FORBIDDEN"
    assert state(d) is State.HALT


@pytest.mark.parametrize(
    ("now", "refusal"),
    [
        ({"disabled": True}, "OPERATOR_DISABLED"),
        ({"role": Role.RISK}, "ROLE_FORBIDDEN"),
        (None, "OPERATOR_DISABLED"),
    ],
)
def test_who_asked_must_still_be_entitled(now: dict[str, Any] | None, refusal: str) -> None:
    """A request is void if its operator was disabled after making it."""
    d = people()
    d.tell(command("rita", "halt", 1))
    request = request_of(d.tell(command("ann", "release", 2)))
    others = {name: who for name, who in OPERATORS.operators.items() if name != "ann"}
    if now is not None:
        others["ann"] = replace(OPERATORS.operators["ann"], **now)
    d.stage = people(operators=Operators(operators=others)).stage
    assert answer(d.tell(command("bob", "approve", 3, request=request))) == refusal
    assert state(d) is State.HALT


def test_an_approval_is_of_one_request() -> None:
    """It is refused for another request, another scope, or an expired request."""
    d = people()
    d.tell(command("rita", "halt", 1))
    d.tell(command("rita", "halt", 1, "firm"))
    request = request_of(d.tell(command("ann", "release", 2)))
    assert answer(d.tell(command("bob", "approve", 3, request="f" * 32))) == "REQUEST_UNKNOWN"
    other = command("bob", "approve", 3, "firm", request=request)
    assert answer(d.tell(other)) == "REQUEST_UNKNOWN"
    assert answer(d.tell(command("bob", "approve", 4))) == "ARGUMENT_INVALID"
    late = command("bob", "approve", 18, request=request)
    assert answer(d.tell(late)) == "REQUEST_UNKNOWN"
    out = d.tell(Tick(at(18)))
    assert [a.alert for a in of(out, AlertResolved)] == [f"{SCOPE}|request"]
    assert state(d) is State.HALT


def test_somebody_elses_request_is_not_replaced() -> None:
    """A new request replaces one of the same operator, which cannot be approved then."""
    d = people()
    d.tell(command("rita", "halt", 1))
    first = request_of(d.tell(command("ann", "release", 2)))
    assert answer(d.tell(command("bob", "release", 3))) == "REQUEST_OPEN"
    second = request_of(d.tell(command("ann", "release", 4)))
    assert answer(d.tell(command("bob", "approve", 5, request=first))) == "REQUEST_UNKNOWN"
    assert answer(d.tell(command("bob", "approve", 5, key="x", request=second))) == "approved"


def test_a_halt_takes_a_request_back() -> None:
    """A new HALT withdraws the open request for release."""
    d = people()
    d.tell(command("rita", "halt", 1))
    request = request_of(d.tell(command("ann", "release", 2)))
    out = d.tell(command("tom", "halt", 2.5, SCOPE), command("rita", "halt", 3))
    assert of(out, AlertResolved, SCOPE)[0].opened_id == request
    assert of(out, DecisionMade) == []
    assert answer(d.tell(command("bob", "approve", 4, request=request))) == "REQUEST_UNKNOWN"


def test_a_halt_is_not_released_while_its_condition_holds() -> None:
    """Nor if nothing newer is known, or if the condition came back after the request."""
    d = halted_by_data()
    assert answer(d.tell(command("ann", "release", 11))) == "CONDITION_HOLDS"
    d.tell(*(Tick(at(m)) for m in range(12, 200)))
    assert answer(d.tell(command("ann", "release", 200))) == "CONDITION_HOLDS"
    d.minutes(201, 400)
    asked = d.tell(command("ann", "release", 401))
    assert answer(asked) == "requested"
    d.minutes(402, 404, bp=-300.0)
    again = d.tell(command("bob", "approve", 405, request=request_of(asked)))
    assert answer(again) == "CONDITION_HOLDS"
    assert state(d) is State.HALT


def test_a_halt_is_released_once_its_condition_is_over() -> None:
    """The severity must stay below the exit for the rule's time; the scope then stays NORMAL."""
    d = halted_by_data()
    d.minutes(11, 400)
    asked = d.tell(command("ann", "release", 401))
    out = d.tell(command("bob", "approve", 402, request=request_of(asked)))
    assert answer(out) == "approved"
    d.minutes(403, 430)
    assert state(d) is State.NORMAL
    assert d.state.scopes[SCOPE].effective is State.NORMAL


def test_what_is_not_halted_is_not_released() -> None:
    """WATCH and REDUCE end without an operator."""
    assert answer(people().tell(command("ann", "release", 1))) == "NOT_HALTED"


def test_an_override_lifts_a_halt_for_a_while_by_name() -> None:
    """Two operators set the named state; the latch returns when the override expires."""
    d = halted_by_data()
    asked = d.tell(command("ann", "override", 11, until=until(71)))
    assert (answer(asked), state(d)) == ("requested", State.HALT)
    out = d.tell(command("bob", "approve", 12, request=request_of(asked)))
    assert answer(out) == "approved"
    assert state(d) is State.REDUCE
    (control,) = of(out, ControlChanged)
    assert (control.override_by, control.override_approved_by) == ("ann", "bob")
    d.minutes(13, 70, bp=-300.0)
    assert state(d) is State.REDUCE
    back = d.minutes(71, 71, bp=0.0)
    assert state(d) is State.HALT
    assert "the override of ann and bob ended" in of(back, DecisionMade, SCOPE)[0].reasons[0]
    assert of(back, KillSwitchChanged, SCOPE)[0].effective is State.HALT


def test_a_halt_by_command_ends_an_override() -> None:
    """The override is over at once, and nothing of it is left when its time comes."""
    d = halted_by_data()
    asked = d.tell(command("ann", "override", 11, until=until(71)))
    d.tell(command("bob", "approve", 12, request=request_of(asked)))
    out = d.tell(command("rita", "halt", 13))
    (control,) = of(out, ControlChanged)
    assert (control.override_state, control.override_by, control.override_until) == (None,) * 3
    assert state(d) is State.HALT
    assert of(d.minutes(14, 80, bp=-300.0), DecisionMade, SCOPE) == []
    assert state(d) is State.HALT


def test_the_latch_comes_back_even_if_the_condition_went_meanwhile() -> None:
    """Only operators release a HALT; time does not."""
    d = halted_by_data()
    asked = d.tell(command("ann", "override", 11, until=until(240), state="NORMAL"))
    d.tell(command("bob", "approve", 12, request=request_of(asked)))
    d.minutes(13, 239)
    assert state(d) is not State.HALT
    d.minutes(240, 241)
    assert state(d) is State.HALT


def test_a_release_ends_an_override_for_good() -> None:
    """Once the condition has ended, two operators may end both."""
    d = halted_by_data()
    asked = d.tell(command("ann", "override", 11, until=until(250)))
    d.tell(command("bob", "approve", 12, request=request_of(asked)))
    d.minutes(13, 230)
    released = d.tell(command("ann", "release", 231))
    out = d.tell(command("bob", "approve", 232, request=request_of(released)))
    assert answer(out) == "approved"
    d.minutes(233, 300)
    assert state(d) is State.NORMAL


def test_a_halt_ends_an_override() -> None:
    """A HALT by an operator ends an override at once."""
    d = halted_by_data()
    asked = d.tell(command("ann", "override", 11, until=until(71)))
    d.tell(command("bob", "approve", 12, request=request_of(asked)))
    d.tell(command("rita", "halt", 13))
    assert state(d) is State.HALT
    d.minutes(14, 80, bp=-300.0)
    assert state(d) is State.HALT


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({}, "ARGUMENT_INVALID"),
        ({"until": "tomorrow"}, "ARGUMENT_INVALID"),
        ({"until": "2023-03-11T01:00:00"}, "ARGUMENT_INVALID"),
        ({"until": until(5)}, "EXPIRY_INVALID"),
        ({"until": until(10_000)}, "EXPIRY_INVALID"),
        ({"until": until(60), "state": "HALT"}, "ARGUMENT_INVALID"),
    ],
)
def test_an_override_has_an_end_and_a_state_below_halt(args: dict[str, str], why: str) -> None:
    """An override without an end or with HALT as its state is refused."""
    assert answer(halted_by_data().tell(command("ann", "override", 11, **args))) == why


def test_there_is_nothing_to_override_where_nothing_asks_for_halt() -> None:
    """A HALT whose condition has ended needs a release instead."""
    d = people()
    d.tell(command("rita", "halt", 1))
    made = d.tell(command("ann", "override", 2, until=until(60)))
    assert answer(made) == "CONDITION_CLEARED"


def test_a_subject_that_is_gone_is_retired() -> None:
    """A retired scope stays at HALT and raises no more alerts."""
    d = halted_by_data()
    out = d.tell(command("ann", "retire", 11))
    assert answer(out) == "applied"
    assert of(out, AlertResolved, SCOPE)
    later = d.minutes(12, 60, bp=-5_000.0)
    assert of(later, AlertRaised, SCOPE) == []
    assert d.state.scopes[SCOPE].effective is State.HALT
    assert answer(d.tell(command("ann", "retire", 61))) == "RETIRED"
    assert answer(people().tell(command("ann", "retire", 1))) == "NOT_HALTED"


def test_a_limit_is_lowered_by_one_and_raised_by_two() -> None:
    """The measured limit follows at the next tick."""
    d = people()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    lower = command("ann", "set_limit", 1, limit="usdc", hard_usd="400000")
    assert answer(d.tell(lower)) == "applied"
    (now,) = [m for m in of(d.tell(Tick(at(2))), LimitMeasured) if m.limit == "usdc"]
    assert (now.hard_usd, now.status) == (Decimal("400000.00"), "breach")
    asked = d.tell(command("ann", "set_limit", 3, limit="usdc", hard_usd="900000"))
    assert answer(asked) == "requested"
    assert d.state.limit_overrides["usdc"].hard_usd == 400_000.0
    out = d.tell(command("bob", "approve", 4, request=request_of(asked)))
    assert (answer(out), d.state.limit_overrides["usdc"].hard_usd) == ("approved", 900_000.0)
    assert d.state.limit_overrides["usdc"].by == "ann and bob"


@pytest.mark.parametrize("limit", LIMITS.limits, ids=lambda limit: limit.id)
def test_every_kind_of_limit_can_be_raised(limit: Limit) -> None:
    """Limits of issuers, banks and groups, which have no switch, are included."""
    d, scope = people(), limit_scope(limit)
    most = str(int(2 * limit.hard_usd))
    asked = d.tell(command("ann", "set_limit", 1, scope, limit=limit.id, hard_usd=most))
    approval = command("bob", "approve", 2, scope, request=request_of(asked))
    assert answer(d.tell(approval)) == "approved"
    assert d.state.limit_overrides[limit.id].hard_usd == 2 * limit.hard_usd
    unknown = command("bob", "approve", 3, scope, request=request_of(asked))
    assert answer(d.tell(unknown)) == "REQUEST_UNKNOWN"


@pytest.mark.parametrize(
    ("scope", "args", "why"),
    [
        ("asset:USDT", {"limit": "usdc", "hard_usd": "1"}, "LIMIT_UNKNOWN"),
        (SCOPE, {"limit": "nope", "hard_usd": "1"}, "LIMIT_UNKNOWN"),
        (SCOPE, {"limit": "usdc"}, "ARGUMENT_INVALID"),
        (SCOPE, {"limit": "usdc", "hard_usd": 1}, "ARGUMENT_INVALID"),
        (SCOPE, {"limit": "usdc", "hard_usd": "0"}, "ARGUMENT_INVALID"),
        (SCOPE, {"limit": "usdc", "hard_usd": "1e9"}, "ARGUMENT_INVALID"),
        (SCOPE, {"limit": "usdc", "hard_usd": "1", "warning_share": "2"}, "ARGUMENT_INVALID"),
    ],
)
def test_a_limit_is_named_with_its_scope(scope: str, args: dict[str, Any], why: str) -> None:
    """Its value must be a positive decimal as text."""
    assert answer(people().tell(command("ann", "set_limit", 1, scope, **args))) == why


def test_outcomes_name_the_request() -> None:
    """The record links the request and its approval."""
    d = people()
    d.tell(command("rita", "halt", 1))
    asked = d.tell(command("ann", "release", 2))
    done = d.tell(command("bob", "approve", 3, request=request_of(asked)))
    ids = [o.request_id for o in of([*asked, *done], CommandApplied)]
    assert len(dict.fromkeys(ids)) == 1


def test_a_raise_ends_after_the_longest_time() -> None:
    """Then what was in force before is in force again, also after a second raise in between."""
    d = people(raise_max_s=3_600.0)
    raised = {"limit": "usdc", "hard_usd": "5000000"}
    asked = d.tell(command("ann", "set_limit", 1, **raised))
    (done,) = of(d.tell(command("bob", "approve", 2, request=request_of(asked))), CommandApplied)
    assert done.detail.endswith("until 2023-03-11T01:02:00Z")
    more = raised | {"hard_usd": "6000000"}
    asked = d.tell(command("ann", "set_limit", 30, **more))
    d.tell(command("bob", "approve", 31, request=request_of(asked)))
    reading = held(3, ("USDC", "2500000"))
    measured = of(d.tick(32, reading, market(32, asset())), LimitMeasured, "asset:USDC")
    assert measured[-1].hard_usd == Decimal("6000000.00")
    d.tick(90)
    assert d.state.limit_overrides["usdc"].hard_usd == 6_000_000.0
    back = of(d.tick(92), LimitMeasured, "asset:USDC")
    assert back[-1].hard_usd == Decimal("2000000.00")
    assert back[-1].status == "breach"
    assert d.state.limit_overrides == {}


def test_a_raise_after_a_cut_ends_at_the_cut() -> None:
    """People lowered the limit before: that value is in force again, not the one of the file."""
    d = people(raise_max_s=3_600.0)
    d.tell(command("ann", "set_limit", 1, limit="usdc", hard_usd="1000000"))
    asked = d.tell(command("ann", "set_limit", 2, limit="usdc", hard_usd="3000000"))
    d.tell(command("bob", "approve", 3, request=request_of(asked)))
    d.tick(64)
    assert d.state.limit_overrides["usdc"].hard_usd == 1_000_000.0
    assert d.state.limit_overrides["usdc"].until == 0


@pytest.mark.parametrize(
    ("ann", "bob", "said"),
    [
        ("", "", "approved"),
        ("trading", "trading", "NOT_INDEPENDENT"),
        ("trading", "", "NOT_INDEPENDENT"),
        ("trading", "risk", "approved"),
        ("risk", "", "approved"),
    ],
)
def test_one_of_two_who_release_works_outside_trading(ann: str, bob: str, said: str) -> None:
    """As soon as functions are stated; whoever states none counts as trading."""
    functions = {"ann": ann, "bob": bob}
    known = {
        name: replace(who, function=functions.get(name, ""))
        for name, who in OPERATORS.operators.items()
    }
    d = people(operators=Operators(operators=known))
    d.tell(command("rita", "halt", 1))
    request = request_of(d.tell(command("ann", "release", 2)))
    assert answer(d.tell(command("bob", "approve", 3, request=request))) == said
    assert (state(d) is State.HALT) == (said != "approved")
