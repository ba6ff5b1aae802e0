"""Decisions: states, explanations, switches and alerts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.events import Credit
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    DecisionMade,
    KillSwitchChanged,
    Output,
)
from riskwatch.core.readings import FlowFeatures, OpenPosition
from riskwatch.core.risk.config import Ask, RiskConfig
from riskwatch.core.risk.explanation import EvaluationContext, ExposureAtStake, rule_sentence
from riskwatch.core.risk.rule_engine import RuleEngine, score_feature
from riskwatch.core.risk.state import ScopeRow
from riskwatch.core.rules import RulePack
from tests.support.risk import (
    LIMITS,
    RULES,
    asset,
    at,
    bitcoin,
    desk,
    held,
    market,
    news,
    of,
    venue,
    without,
)


def halted(**kwargs: object) -> tuple[list[Output], DecisionMade]:
    """Return a desk that holds USDC and sees it break."""
    d = desk()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    out = d.minutes(1, 10, bp=-300.0, **kwargs)
    return out, of(out, DecisionMade, "asset:USDC")[-1]


def test_up_to_halt_and_never_down_by_data() -> None:
    """Decisions come only with changes of state, and HALT latches."""
    d = desk()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    made = of(d.minutes(1, 10, bp=-300.0), DecisionMade, "asset:USDC")
    assert [(m.previous, m.state) for m in made] == [(State.NORMAL, State.HALT)]
    later = d.minutes(11, 300, bp=0.0)
    assert of(later, DecisionMade, "asset:USDC") == []
    assert d.state.scopes["asset:USDC"].state is State.HALT


def test_one_bad_print_is_nothing() -> None:
    """One bad print changes no state, whatever its size."""
    d = desk()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.tick(1, market(1, asset(bp=-5_000.0, seen=2)))
    d.minutes(2, 30)
    assert of(d.out, DecisionMade) == []


def test_a_decision_carries_its_grounds() -> None:
    """It has inputs, thresholds, severities, feeds, exposure and the counterfactual."""
    _, made = halted(support=["kraken:USDC/USD"], refute=["x:USDC/USDT"])
    assert made.rule == "asset.discount.halt"
    assert made.cause is Cause.ISSUER
    assert made.features["discount_bp"] == 300.0
    assert made.limits["discount_bp"] == 250.0
    assert made.contributions["asset.discount.halt"] == 1.2
    assert (made.support, made.refute) == (["kraken:USDC/USD"], ["x:USDC/USDT"])
    assert made.exposure_usd == Decimal("485000.00")
    assert made.el_usd > 0
    assert any("300" in reason and "250" in reason for reason in made.reasons)
    assert made.flip == {
        "rule": made.rule, "feature": "discount_bp", "value": 300.0, "needed": 250.0, "unit": "bp"
    }  # fmt: skip


@pytest.mark.parametrize(("bp", "state"), [(-249.9, State.REDUCE), (-250.0, State.HALT)])
def test_the_flip_is_true(bp: float, state: State) -> None:
    """Just below the value of the counterfactual the state is another."""
    d = desk()
    d.tick(0, market(0, asset()))
    made = of(d.minutes(1, 10, bp=bp), DecisionMade, "asset:USDC")
    assert made[-1].state is state


def test_going_down_says_what_would_have_kept_it() -> None:
    """The counterfactual names the value at which the ended rule would have stayed active."""
    d = desk()
    d.tick(0, market(0, asset()))
    d.minutes(1, 7, bp=-30.0)
    (down,) = of(d.minutes(8, 70, bp=-10.0), DecisionMade, "asset:USDC")
    assert (down.previous, down.state, down.cause) == (State.WATCH, State.NORMAL, Cause.NONE)
    assert down.flip["needed"] == 14.0
    assert down.flip["value"] == 10.0


def test_the_switch_follows_and_expires() -> None:
    """The switch names the decision, and its validity counts from it."""
    out, made = halted()
    switch = of(out, KillSwitchChanged, "asset:USDC")[-1]
    assert (switch.state, switch.effective, switch.decision_id) == (
        State.HALT, State.HALT, made.id
    )  # fmt: skip
    assert (switch.valid_until - made.ts).total_seconds() == 60.0


def test_no_data_reduces_what_we_hold_and_lets_go_by_itself() -> None:
    """Half an hour without data makes REDUCE effective; the state does not change."""
    d = desk()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset(), venues=[venue()]))
    dark = market(1, asset(live=0), venues=[venue(live=0)])
    for minute in range(1, 40):
        d.tick(minute, dark)
    switches = of(d.out, KillSwitchChanged, "asset:USDC")
    assert [(s.state, s.effective, s.quality) for s in switches] == [
        (State.NORMAL, State.NORMAL, Quality.UNKNOWN),
        (State.NORMAL, State.REDUCE, Quality.UNKNOWN),
    ]
    assert of(d.out, KillSwitchChanged, "counterparty:kraken")[-1].effective is State.REDUCE
    assert of(d.out, DecisionMade) == []
    (raised,) = of(d.out, AlertRaised, "asset:USDC")
    assert (raised.severity, raised.cause) == (State.REDUCE, Cause.FEED)
    assert raised.reasons[0] == "asset:USDC: nothing has been heard for 31 minutes"
    back = d.tick(41, market(41, asset(seen=9), venues=[venue()]))
    assert of(back, KillSwitchChanged, "asset:USDC")[-1].effective is State.NORMAL
    assert of(back, AlertResolved, "asset:USDC")[0].opened_id == raised.id


def test_darkness_where_we_hold_nothing_reduces_nothing() -> None:
    """Only the quality is published."""
    d = desk()
    d.tick(0, market(0, asset()))
    for minute in range(1, 60):
        d.tick(minute, market(minute, asset(live=0)))
    assert [s.effective for s in of(d.out, KillSwitchChanged)] == [State.NORMAL]
    assert of(d.out, AlertRaised) == []


def test_readings_that_stop_are_darkness_too() -> None:
    """The market stage itself sends no readings."""
    d = desk()
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    for minute in range(1, 60):
        d.tick(minute)
    assert of(d.out, KillSwitchChanged, "asset:USDC")[-1].effective is State.REDUCE


@pytest.mark.parametrize(
    ("component", "amount"), [("custody", "5"), ("borrowed", "5"), ("open_order", "5")]
)
def test_paging_follows_whatever_is_at_stake(component: str, amount: str) -> None:
    """Holdings, debts and open orders count."""
    d = desk()
    d.tick(0, held(0, ("USDC", amount), component=component), market(0, asset()))
    d.minutes(1, 10, bp=-300.0)
    assert [a.severity for a in of(d.out, AlertRaised, "asset:USDC")] == [State.HALT]


def test_a_position_is_at_stake() -> None:
    """A short perpetual counts by its size."""
    d = desk()
    short = OpenPosition("mm", "main", "P", "USDC", "USD", Decimal(-9), None, None, None)
    d.tick(0, held(0, positions=[short]), market(0, asset()))
    d.minutes(1, 10, bp=-300.0)
    assert of(d.out, AlertRaised, "asset:USDC")[0].exposure_usd > 0


def test_nothing_at_stake_pages_nobody_until_it_is() -> None:
    """Without exposure the switch changes without an alert, which follows a purchase."""
    d = desk()
    d.tick(0, market(0, asset()))
    d.minutes(1, 10, bp=-300.0)
    assert d.state.scopes["asset:USDC"].state is State.HALT
    assert of(d.out, AlertRaised) == []
    later = d.tick(11, held(11, ("USDC", "5")), market(11, asset(bp=-300.0, seen=50)))
    assert [a.severity for a in of(later, AlertRaised, "asset:USDC")] == [State.HALT]


def test_alerts_follow_the_state_and_end_with_it() -> None:
    """There is one open alert per scope, raised again at a stricter state, resolved at NORMAL."""
    d = desk()
    d.tick(0, held(0, ("USDC", "5")), market(0, asset()))
    d.minutes(1, 7, bp=-30.0)
    d.minutes(8, 14, bp=-100.0)
    d.minutes(15, 400, bp=0.0)
    raised = of(d.out, AlertRaised, "asset:USDC")
    assert [a.severity for a in raised] == [State.WATCH, State.REDUCE]
    (resolved,) = of(d.out, AlertResolved, "asset:USDC")
    assert resolved.opened_id == raised[0].id


def test_causes_by_what_decided() -> None:
    """Limits, a venue's prices and a venue's conduct are different causes."""
    d = desk()
    d.tick(0, held(0, ("USD", "1200000")))
    (limit,) = of(d.out, DecisionMade, "counterparty:kraken")
    assert (limit.state, limit.cause) == (State.REDUCE, Cause.LIMIT)
    d = desk(limits=without(LIMITS, "any", "group"))
    for minute in range(20):
        d.tick(minute, market(minute, bitcoin(), venues=[venue(dislocation_bp=90.0)]))
    (moved,) = of(d.out, DecisionMade, "counterparty:kraken")
    assert (moved.state, moved.cause) == (State.WATCH, Cause.VENUE)
    d = desk()
    for minute in range(20):
        local = [venue(local=[("USDC", -350.0, minute)])]
        d.tick(minute, market(minute, asset(), venues=local))
    made = of(d.out, DecisionMade)
    assert [m.scope for m in made] == ["venue-asset:kraken/USDC"]
    assert (made[-1].state, made[-1].cause) == (State.REDUCE, Cause.VENUE)


def test_a_feed_that_froze_is_no_local_market() -> None:
    """The same gap without a fresh observation leads to no decision."""
    d = desk()
    for minute in range(60):
        d.tick(minute, market(minute, asset(), venues=[venue(local=[("USDC", -900.0, 7)])]))
    assert of(d.out, DecisionMade) == []


def test_a_model_asks_within_its_authority() -> None:
    """Authority caps the state; unknown generations request nothing; rules have no cap."""
    ask = Ask(target="t", generation="g", state=State.REDUCE, at=0.5, dwell_s=0.0, observations=1)
    rules = RuleEngine(RulePack(rules=()), RiskConfig(asks=(ask,))).of("asset:USDC")
    features = {score_feature("g", "t"): 0.9}
    for caps, state in (
        ({score_feature("g", "t"): State.REDUCE}, State.REDUCE),
        ({score_feature("g", "t"): State.WATCH}, State.WATCH),
        ({score_feature("g", "t"): State.NORMAL}, State.NORMAL),
        ({score_feature("g", "u"): State.HALT}, State.NORMAL),
        ({}, State.NORMAL),
    ):
        look = rules.evaluate(ScopeRow(), features, Cause.NONE, elapsed=0, fresh=1, caps=caps)
        assert look.state is state


def test_the_strictest_leads_then_the_most_severe() -> None:
    """Every active rule gives a reason, the deciding one first."""
    rules = RuleEngine(RULES).of("asset:USDC")
    row = ScopeRow()
    for _ in range(7):
        look = rules.evaluate(
            row, {"discount_bp": 500.0}, Cause.ISSUER, elapsed=at(1) - at(0), fresh=1
        )
    assert [r.rule.id for r in look.requests] == [
        "asset.discount.halt", "asset.discount.reduce", "asset.discount.watch"
    ]  # fmt: skip


def test_a_new_ground_is_told_within_the_same_state() -> None:
    """A breached limit does not hide a later stop of withdrawals; each is reported once."""
    d = desk()
    slow = FlowFeatures(50_000.0, 0.0, 0, 1, 0, {}, {}, 0.0, 0)
    d.tick(0, held(0, ("USD", "1200000")))
    for minute in range(1, 30):
        d.tick(minute, held(minute, ("USD", "1200000"), flow=slow))
    raised = of(d.out, AlertRaised, "counterparty:kraken")
    assert [(a.severity, a.cause) for a in raised] == [
        (State.REDUCE, Cause.LIMIT), (State.REDUCE, Cause.COUNTERPARTY)
    ]  # fmt: skip
    assert raised[0].alert == raised[1].alert
    assert any("withdrawal" in reason for reason in raised[1].reasons)
    assert len(of(d.out, DecisionMade, "counterparty:kraken")) == 1


def test_the_same_ground_is_not_told_twice() -> None:
    """A second rule on the same input raises no further alert."""
    d = desk()
    d.tick(0, held(0, ("USDC", "5")), market(0, asset()))
    d.minutes(1, 90, bp=-300.0)
    active = [k for k, t in d.state.scopes["asset:USDC"].trackers.items() if t.active]
    assert {"asset.discount.halt", "asset.discount.halt-lasting"} <= set(active)
    assert len(of(d.out, AlertRaised, "asset:USDC")) == 1


def test_behind_a_shut_gate_leaving_costs_what_is_not_recovered() -> None:
    """If withdrawals are gated, leaving means selling the claim at its recovery value."""
    d = desk()
    d.tick(0, held(0, ("USD", "900000")))
    told = news(Credit, 1, "1", source="desk", subject="kraken", kind="withdrawals_suspended")
    d.tick(1, told)
    (made,) = of(d.out, DecisionMade, "counterparty:kraken")[-1:]
    assert made.exit_cost_usd == Decimal("675000.00")  # LGD 0.6, a quarter more behind a gate


def test_sentences_have_no_stray_blanks() -> None:
    """Rules without a unit leave no blanks either."""
    rule = next(r for r in RULES.rules if r.id == "counterparty.suspended.reduce")
    context = EvaluationContext(
        us=0,
        scope="counterparty:x",
        features={rule.any[0].feature: 0.34},
        cause=Cause.COUNTERPARTY,
        quality=Quality.GOOD,
        support=[],
        refute=[],
        stakes=lambda: ExposureAtStake(0.0, 0.0, 0.0),
    )
    said = rule_sentence(rule, rule.any[0], context)
    assert said == "counterparty:x has shut withdrawals: suspended_weight is 0.34"
