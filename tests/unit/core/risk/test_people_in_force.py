"""Operator controls: silences, acknowledgements, unwinds, model authority; the alert budget."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.clock import DAY, moment
from riskwatch.core.enums import Cause, Quality, Restriction, State
from riskwatch.core.events import Credit, Tick
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    AssetValued,
    AuthorityChanged,
    CommandApplied,
    CommandRefused,
    ControlChanged,
    DecisionMade,
    DrillSignalled,
    KillSwitchChanged,
    Unwind,
)
from riskwatch.core.risk.scorer import GenerationConfig, ModelsConfig, TargetConfig
from riskwatch.models.ensemble import Ensemble
from tests.support.people import SCOPE, answer, command, people, request_of, until
from tests.support.risk import asset, at, held, market, news, of

if TYPE_CHECKING:
    from tests.support.risk import Desk

VENUE = "counterparty:kraken"


def test_a_silence_keeps_all_but_a_halt_quiet() -> None:
    """When the silence ends, conditions that remain raise their alert."""
    d = people()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    assert answer(d.tell(command("rita", "silence", 1, until=until(120)))) == "applied"
    quiet = d.minutes(2, 119, bp=-40.0)
    assert of(quiet, DecisionMade, SCOPE)
    assert of(quiet, AlertRaised, SCOPE) == []
    after = d.minutes(120, 121, bp=-40.0)
    assert [a.severity for a in of(after, AlertRaised, SCOPE)] == [State.WATCH]
    assert of(after, ControlChanged)[0].empty


def test_a_halt_is_told_through_a_silence() -> None:
    """A HALT by data and a HALT by an operator both raise an alert."""
    d = people()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.tell(command("rita", "silence", 1, until=until(120)))
    d.minutes(2, 12, bp=-300.0)
    raised = of(d.out, AlertRaised, SCOPE)
    assert [a.severity for a in raised if a.cause is not Cause.OPERATOR] == [State.HALT]


def test_a_silence_can_be_ended() -> None:
    """Ending a silence that does not exist is refused."""
    d = people()
    assert answer(d.tell(command("rita", "silence", 1, end=True))) == "NOTHING_OPEN"
    d.tell(command("rita", "silence", 2, until=until(60)))
    assert answer(d.tell(command("rita", "silence", 3, end=True))) == "applied"
    assert not d.state.controls
    long = command("rita", "silence", 4, until=until(3_000))
    assert answer(d.tell(long)) == "EXPIRY_INVALID"


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_an_end_beyond_the_calendar_is_refused(end: str) -> None:
    """An invalid time gives a refusal, never an exception."""
    d = people()
    assert answer(d.tell(command("rita", "silence", 1, until=end))) == "ARGUMENT_INVALID"


def test_an_alert_is_acknowledged_by_name() -> None:
    """Only an open alert can be acknowledged."""
    d = people()
    assert answer(d.tell(command("rita", "acknowledge", 1))) == "NOTHING_OPEN"
    d.tick(1, held(1, ("USDC", "500000")), market(1, asset()))
    d.minutes(2, 30, bp=-40.0)
    out = d.tell(command("rita", "acknowledge", 31))
    assert answer(out) == "applied"
    assert of(out, ControlChanged)[0].acknowledged_by == "rita"
    d.minutes(31, 400)
    assert not d.state.controls


def test_an_unwind_passes_a_halt_capped_in_size_price_and_time() -> None:
    """The switch carries the unwind within the policy's bounds until it ends."""
    d = people(unwind_max_usd=1_000.0, unwind_max_slip_bp=25.0)
    d.tell(command("rita", "halt", 1))
    opened = command("rita", "unwind", 2, until=until(32), max_usd="600", max_slip_bp="10")
    out = d.tell(opened)
    assert answer(out) == "applied"
    (switch,) = of(out, KillSwitchChanged)
    assert switch.state is State.HALT
    assert switch.unwind == Unwind(Decimal("600.00"), 10.0, moment(at(32)))
    for usd, bp, why in (("401", "10", "UNWIND_CAP"), ("400", "26", "UNWIND_CAP")):
        more = command(
            "rita", "unwind", 3, until=until(32), max_usd=usd, max_slip_bp=bp, key=usd + bp
        )
        assert answer(d.tell(more)) == why
    rest = d.tell(command("rita", "unwind", 4, until=until(40)))
    assert of(rest, KillSwitchChanged)[0].unwind == Unwind(Decimal("1000.00"), 25.0, moment(at(40)))
    # The sum: what was used of the first counts against it.
    over = d.tell(Tick(at(40)))
    assert of(over, KillSwitchChanged)[0].unwind is None
    spent = d.tell(command("rita", "unwind", 41, until=until(50)))
    assert answer(spent) == "UNWIND_CAP"


def test_an_override_does_not_renew_what_was_authorised() -> None:
    """The cap is per HALT, although order paths count per decision."""
    d = people(unwind_max_usd=1_000.0)
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 10, bp=-300.0)
    d.tell(command("rita", "unwind", 11, until=until(60), max_usd="600"))
    asked = d.tell(command("ann", "override", 12, until=until(20)))
    d.tell(command("bob", "approve", 13, request=request_of(asked)))
    d.minutes(13, 21, bp=-300.0)
    rest = d.tell(command("rita", "unwind", 22, until=until(60)))
    assert of(rest, KillSwitchChanged)[0].unwind == Unwind(Decimal("400.00"), 50.0, moment(at(60)))


@pytest.mark.parametrize(
    ("settings", "args", "why"),
    [
        ({"unwind_max_usd": 0.0}, {"until": until(30)}, "UNWIND_CAP"),
        ({}, {}, "ARGUMENT_INVALID"),
        ({}, {"until": until(3_000)}, "EXPIRY_INVALID"),
        ({}, {"until": until(30), "max_usd": "-1"}, "ARGUMENT_INVALID"),
        ({}, {"until": until(30), "max_usd": "NaN"}, "ARGUMENT_INVALID"),
    ],
)
def test_an_unwind_is_refused_beyond_the_policy(
    settings: dict[str, Any], args: dict[str, Any], why: str
) -> None:
    """It is refused beyond the size or time, or if the policy authorises none."""
    d = people(**settings)
    d.tell(command("rita", "halt", 1))
    assert answer(d.tell(command("rita", "unwind", 2, **args))) == why


def test_an_unwind_is_for_a_halt() -> None:
    """Without a HALT an unwind is refused."""
    made = command("rita", "unwind", 2, until=until(30))
    assert answer(people().tell(made)) == "NOT_HALTED"


def at_reduce(**settings: Any) -> Desk:
    """Return a desk whose venue is at REDUCE, because it has shut withdrawals."""
    d = people(**settings)
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    shut = {"source": "desk", "subject": "kraken", "kind": "withdrawals_suspended"}
    d.tick(1, news(Credit, 1, "1", **shut))
    assert d.state.scopes[VENUE].state is State.REDUCE
    assert d.state.scopes[VENUE].restriction == {Restriction.CLAIM: State.REDUCE}
    return d


def test_an_unwind_at_a_reduce_of_claims_is_for_top_ups() -> None:
    """It is capped, ends with its decision, and takes nothing from that of a later HALT."""
    d = at_reduce(unwind_max_usd=1_000.0)
    opened = command("rita", "unwind", 2, VENUE, until=until(32), max_usd="600")
    out = d.tell(opened)
    assert answer(out) == "applied"
    (switch,) = of(out, KillSwitchChanged, VENUE)
    assert switch.unwind == Unwind(Decimal("600.00"), 50.0, moment(at(32)))
    assert VENUE not in d.state.effects
    more = command("rita", "unwind", 3, VENUE, until=until(32), max_usd="401")
    assert answer(d.tell(more)) == "UNWIND_CAP"
    halted = d.tell(command("rita", "halt", 4, VENUE))
    assert of(halted, KillSwitchChanged, VENUE)[-1].unwind is None
    own = d.tell(command("rita", "unwind", 5, VENUE, until=until(33)))
    (switch,) = of(own, KillSwitchChanged, VENUE)
    assert switch.unwind == Unwind(Decimal("1000.00"), 50.0, moment(at(33)))
    spent = command("rita", "unwind", 6, VENUE, until=until(33), max_usd="1")
    assert answer(d.tell(spent)) == "UNWIND_CAP"


def test_what_was_granted_at_reduce_is_forgotten_with_its_decision() -> None:
    """When the REDUCE has ended, and the unwind too, no row is left."""
    d = at_reduce()
    d.tell(command("rita", "unwind", 2, VENUE, until=until(4), max_usd="600"))
    d.tick(5, market(5, asset(seen=5)))
    assert d.state.controls[VENUE].granted == 600.0
    assert d.state.controls[VENUE].unwind is None
    back = {"source": "desk", "subject": "kraken", "kind": "withdrawals_resumed"}
    d.tick(6, news(Credit, 6, "2", **back))
    d.minutes(7, 600, bp=0.0)
    assert d.state.scopes[VENUE].state is not State.REDUCE
    assert VENUE not in d.state.controls


def test_an_override_to_reduce_gives_no_second_sum() -> None:
    """What was granted of the HALT counts while it is overridden, and after that."""
    d = people(unwind_max_usd=1_000.0)
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 10, bp=-300.0)
    d.tell(command("rita", "unwind", 11, until=until(15), max_usd="600"))
    request = request_of(d.tell(command("ann", "override", 12, until=until(60))))
    d.tell(command("bob", "approve", 13, request=request))
    assert of(d.out, KillSwitchChanged, SCOPE)[-1].state is State.REDUCE
    too_much = command("rita", "unwind", 14, until=until(40), max_usd="401")
    assert answer(d.tell(too_much)) == "UNWIND_CAP"
    rest = d.tell(command("rita", "unwind", 16, until=until(40), max_usd="400"))
    (switch,) = of(rest, KillSwitchChanged, SCOPE)
    assert switch.unwind == Unwind(Decimal("400.00"), 50.0, moment(at(40)))
    d.minutes(17, 61, bp=-300.0)
    assert of(d.out, KillSwitchChanged, SCOPE)[-1].state is State.HALT
    spent = command("rita", "unwind", 62, until=until(70), max_usd="1")
    assert answer(d.tell(spent)) == "UNWIND_CAP"


def test_a_reduce_of_market_risk_needs_no_unwind() -> None:
    """Top-ups pass there anyway, so that the command is refused with that reason."""
    d = people()
    d.tick(0, held(0, ("USDC", "3000000")), market(0, asset()))
    assert d.state.scopes["asset:USDC"].restriction == {Restriction.MARKET: State.REDUCE}
    out = d.tell(command("rita", "unwind", 2, "asset:USDC", until=until(30)))
    assert answer(out) == "NOT_HALTED"
    assert "restricts no claims" in of(out, CommandRefused)[0].detail


def test_the_switch_keeps_its_unwind_whatever_else_changes() -> None:
    """A change of data quality publishes the allowance again."""
    d = people()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.tell(command("rita", "halt", 1))
    d.tell(command("rita", "unwind", 2, until=until(50)))
    later = d.tell(*(Tick(at(m)) for m in range(3, 49)))
    said = of(later, KillSwitchChanged, SCOPE)
    assert Quality.UNKNOWN in [s.quality for s in said]
    assert all(s.unwind is not None for s in said)


def test_a_drill_changes_nothing() -> None:
    """A drill is recorded and signalled; only the row of its key changes."""
    d = people()
    d.tell(command("rita", "halt", 1))
    d.state.drain()
    out = d.tell(command("rita", "drill", 2, "firm", expect=["b", "a", "b"]))
    assert [type(o) for o in out] == [CommandApplied, DrillSignalled]
    (signal,) = of(out, DrillSignalled)
    assert (signal.person, signal.plan, signal.expect) == ("rita", "", ["a", "b"])
    assert [key.partition("/")[0] for key in d.state.drain()] == ["command", "meta"]


@pytest.mark.parametrize("expect", ["desk-1", ["desk 1"], [1], ["a"] * 101, [""]])
def test_a_drill_names_clients(expect: object) -> None:
    """Anything but a list of order paths is refused."""
    d = people()
    out = d.tell(command("rita", "drill", 2, "firm", expect=expect))
    assert answer(out) == "ARGUMENT_INVALID"
    assert not of(out, DrillSignalled)


def test_the_authority_of_models_is_changed_where_their_ceiling_lets_it() -> None:
    """Other changes are refused with a reason; the ensemble stores the change."""
    ladder = Ensemble(
        ModelsConfig(
            targets=(TargetConfig(threshold=50.0, horizon_s=3600.0),),
            generations=(
                GenerationConfig(model="rules", authority="full"),
                GenerationConfig(model="anchored", authority="advisory"),
            ),
        )
    )
    args = {"target": "depeg(discount 50bp, 1h)", "generation": "anchored", "to": "shadow"}
    made = command("ann", "demote", 1, "firm", **args)
    assert answer(people().tell(made)) == "AUTHORITY_REFUSED"
    d = people(scorer=ladder)
    out = d.tell(made)
    assert answer(out) == "applied"
    (changed,) = of(out, AuthorityChanged)
    assert (changed.former, changed.authority, changed.by) == ("advisory", "shadow", "ann")
    for n, other in enumerate(({"generation": "other"}, {"to": "full"}, {"target": "t"}), start=2):
        refused = command("ann", "promote", n, "firm", **(args | other))
        assert answer(d.tell(refused)) == "AUTHORITY_REFUSED"
    assert answer(d.tell(command("ann", "promote", 9, "firm"))) == "ARGUMENT_INVALID"


def test_alerts_of_watch_have_a_budget() -> None:
    """Alerts beyond it are folded into one; REDUCE and HALT have no budget."""
    d = people(watch_alerts_month=2)
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    minute = 1
    for _ in range(5):
        d.minutes(minute, minute + 20, bp=-40.0)
        d.minutes(minute + 21, minute + 200)
        minute += 201
    watched = [a for a in of(d.out, AlertRaised, SCOPE) if a.severity is State.WATCH]
    assert len([m for m in of(d.out, DecisionMade, SCOPE) if m.state is State.WATCH]) == 5
    assert len(watched) == 2
    folded = [a for a in of(d.out, AlertRaised) if a.alert == "firm|folded"]
    assert [a.title.split()[0] for a in folded] == ["1", "2"]
    assert d.state.budget.folded == 3
    d.minutes(minute, minute + 15, bp=-300.0)
    assert [a.severity for a in of(d.out, AlertRaised, SCOPE)][-1] is State.HALT


def test_a_new_month_has_a_new_budget() -> None:
    """The folded alert of the old month ends when an alert is folded in the new one."""
    d = people(watch_alerts_month=0)
    month = 31 * DAY // 60_000_000
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    for start in (1, month):
        d.tick(start, held(start, ("USDC", "500000")), market(start, asset(seen=start)))
        d.minutes(start + 1, start + 20, bp=-40.0)
        d.minutes(start + 21, start + 200)
    folded = [o for o in of(d.out, AlertRaised) if o.alert == "firm|folded"]
    over = [o for o in of(d.out, AlertResolved) if o.alert == "firm|folded"]
    assert len(folded) == 2
    assert [o.opened_id for o in over] == [folded[0].id]


def test_what_was_folded_is_not_resolved() -> None:
    """A folded alert was never raised on its own, so it is not resolved."""
    d = people(watch_alerts_month=0)
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 20, bp=-40.0)
    d.minutes(21, 300)
    assert of(d.out, AlertResolved, SCOPE) == []
    assert of(d.out, AssetValued)
