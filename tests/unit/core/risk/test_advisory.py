"""Advisory rules, limits and asks: they say what they would have done, and bind nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.core.clock import moment
from riskwatch.core.enums import Cause, Mode, State
from riskwatch.core.outputs import (
    AlertRaised,
    DecisionAdvised,
    DecisionMade,
    KillSwitchChanged,
    LimitMeasured,
    Output,
)
from riskwatch.core.reference import Limit, LimitsConfig
from riskwatch.core.risk.config import Ask, RiskConfig
from riskwatch.core.risk.rule_engine import RuleEngine
from riskwatch.core.risk.scorer import ModelScore
from riskwatch.core.risk.stage import RiskStage
from riskwatch.core.rules import Condition, Rule, RulePack
from tests.support.people import answer, command, people, request_of
from tests.support.risk import (
    LIMITS,
    REFERENCE,
    RULES,
    Desk,
    NoScorer,
    asset,
    at,
    bitcoin,
    desk,
    held,
    market,
    of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

SCOPE = "asset:USDC"
PARTY = "counterparty:kraken"
TRIED = Rule(
    id="asset.discount.tried",
    scope_kind="asset",
    state=State.HALT,
    any=(Condition(feature="discount_bp", at=30.0, unit="bp"),),
    dwell_s=120.0,
    observations=2,
    exit_dwell_s=300.0,
    mode=Mode.ADVISORY,
)
"""Far below the shipped HALT, which takes 150 bp."""
WITH_IT = RulePack(rules=(*RULES.rules, TRIED))


def binding(outputs: Iterable[Output]) -> list[Output]:
    """All but what only advises."""
    return [output for output in outputs if not isinstance(output, DecisionAdvised)]


def test_an_advisory_rule_says_what_it_would_have_done_and_nothing_happens() -> None:
    """One fact when it begins, one when it ends; the scope, the switch and people see nothing."""
    d, plain = desk(WITH_IT), desk()
    for each in (d, plain):
        each.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
        each.minutes(1, 5, bp=-40.0)
    (opened,) = of(d.out, DecisionAdvised)
    assert (opened.scope, opened.previous, opened.state) == (SCOPE, State.NORMAL, State.HALT)
    assert (opened.in_force, opened.rule, opened.ended) == (State.NORMAL, TRIED.id, False)
    assert opened.ts == at_moment(3)
    assert opened.limits["discount_bp"] == 30.0
    assert opened.features["discount_bp"] == 40.0
    assert opened.flip == {
        "rule": TRIED.id, "feature": "discount_bp", "value": 40.0, "needed": 30.0, "unit": "bp",
    }  # fmt: skip
    assert opened.exposure_usd > 0
    assert binding(d.out) == plain.out
    assert d.state.advisories[SCOPE].opened_id == opened.id


def at_moment(minutes: float) -> Any:
    """Event time as outputs carry it."""
    return moment(at(minutes))


def test_what_is_advised_follows_the_state_in_force_and_ends() -> None:
    """WATCH comes into force beneath it; then the rule lets go."""
    d = desk(WITH_IT)
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 12, bp=-40.0)
    d.minutes(13, 25, bp=0.0)
    first, second, last = of(d.out, DecisionAdvised)
    assert (first.in_force, second.in_force) == (State.NORMAL, State.WATCH)
    assert (second.previous, second.state) == (State.HALT, State.HALT)
    assert (last.previous, last.state, last.in_force) == (State.HALT, State.WATCH, State.WATCH)
    assert last.ended
    assert {first.opened_id, second.opened_id, last.opened_id} == {first.id}
    assert d.state.advisories == {}
    assert of(d.out, DecisionMade)[0].state is State.WATCH


def test_a_real_state_that_is_as_strict_ends_what_is_advised() -> None:
    """The shipped HALT follows: there is nothing left to advise, nor while it is latched."""
    d = desk(WITH_IT)
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 40, bp=-300.0)
    advised = of(d.out, DecisionAdvised)
    assert advised[0].state is State.HALT
    assert advised[-1].ended
    assert advised[-1].in_force is State.HALT
    assert advised[-1].reasons == [f"{SCOPE} is HALT: {TRIED.id} asks for nothing stricter"]


def test_an_advisory_rule_does_not_hold_back_a_release() -> None:
    """The very rule refuses it where it binds."""
    outcomes = {}
    for mode in Mode:
        tried = msgspec.structs.replace(TRIED, mode=mode)
        d = people(rules=RulePack(rules=(*RULES.rules, tried)))
        d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
        d.minutes(1, 5, bp=-40.0)
        d.tell(command("rita", "halt", 5.5, SCOPE))
        asked = d.tell(command("ann", "release", 6, SCOPE))
        outcomes[mode] = answer(asked)
        if mode is Mode.ADVISORY:
            approved = d.tell(command("bob", "approve", 7, SCOPE, request=request_of(asked)))
            assert answer(approved) == "approved"
            after = d.tick(8, market(8, asset(seen=20, bp=-40.0)))
            assert of(after, DecisionAdvised)[0].state is State.HALT
    assert outcomes == {Mode.BINDING: "CONDITION_HOLDS", Mode.ADVISORY: "requested"}


def test_the_policy_makes_a_shipped_rule_advisory_without_another_pack() -> None:
    """And a rule that says it is advisory binding."""
    d = desk(WITH_IT, advisory=("asset.discount.watch",), binding=(TRIED.id,))
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 9, bp=-40.0)
    assert [made.rule for made in of(d.out, DecisionMade)] == [TRIED.id]
    assert of(d.out, KillSwitchChanged)[0].state is State.HALT
    quiet = desk(advisory=("asset.discount.watch",))
    quiet.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    quiet.minutes(1, 9, bp=-25.0)
    assert of(quiet.out, DecisionMade, SCOPE) == []
    assert [o.state for o in of(quiet.out, DecisionAdvised)] == [State.WATCH]


def test_a_whole_policy_may_be_advisory() -> None:
    """Nothing is decided but by people."""
    d = desk(advisory=("*",))
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 40, bp=-300.0)
    assert of(d.out, DecisionMade) == []
    assert of(d.out, AlertRaised) == []
    assert of(d.out, DecisionAdvised, SCOPE)[-1].state is State.HALT


def limits(*more: Limit) -> LimitsConfig:
    """The limits, and more of them."""
    return msgspec.structs.replace(LIMITS, limits=(*LIMITS.limits, *more))


TIGHT = Limit(
    id="kraken-tried", scope_kind="counterparty", subject="kraken", hard_usd=100_000.0,
    mode=Mode.ADVISORY,
)  # fmt: skip


def test_an_advisory_limit_is_measured_and_binds_nobody() -> None:
    """Beside the one that binds, which goes on to bind the same counterparty."""
    d, plain = desk(limits=limits(TIGHT)), desk()
    for each in (d, plain):
        for minute in range(3):
            each.tick(
                minute,
                held(minute, ("BTC", "10")),
                market(minute, asset(), bitcoin(seen=minute + 1)),
            )
    (advised,) = of(d.out, DecisionAdvised)
    assert (advised.scope, advised.cause, advised.in_force) == (PARTY, Cause.LIMIT, State.NORMAL)
    assert advised.state.rank >= State.REDUCE.rank
    assert advised.features["limit_ratio"] == 2.0
    measured = of(d.out, LimitMeasured, PARTY)
    assert {m.limit: m.status for m in measured} == {"any": "ok", "kraken-tried": "breach"}
    assert [o for o in binding(d.out) if getattr(o, "limit", "") != TIGHT.id] == plain.out


def test_an_advisory_limit_reaches_scopes_that_nothing_else_knows() -> None:
    """A book that is within its own limit."""
    book = msgspec.structs.replace(TIGHT, id="mm-tried", scope_kind="book", subject="mm")
    d = desk(limits=LimitsConfig(equity_usd=1e6, limits=(book,)))
    d.tick(0, held(0, ("BTC", "10")), market(0, bitcoin()))
    (advised,) = of(d.out, DecisionAdvised)
    assert advised.scope == "book:mm"
    gone = d.tick(1, held(1), market(1, bitcoin(seen=2)))
    gone += d.tick(200, market(200, bitcoin(seen=3)))
    gone += d.tick(400, market(400, bitcoin(seen=4)))
    assert [o.ended for o in of(gone, DecisionAdvised)] == [True]
    assert of(d.out, DecisionMade) == []


class OneScore(NoScorer):
    """One generation that is sure, and may reduce."""

    def __init__(self, cap: State = State.REDUCE) -> None:
        self.cap = cap

    def observe(self, *args: Any, **kwargs: Any) -> list[ModelScore]:
        """Give the same answer each time."""
        del kwargs
        scope = args[2]
        if scope != SCOPE:
            return []
        return [
            ModelScore(
                scope=scope, target="t", generation="g", authority="bounded", cap=self.cap,
                probability=0.9, severity=1.0,
                grounds=lambda: ({"discount_bp": 1.0}, {"discount_bp": 2.2}),
            )
        ]  # fmt: skip


@pytest.mark.parametrize(("cap", "state"), [(State.HALT, State.REDUCE), (State.WATCH, State.WATCH)])
def test_an_advisory_ask_is_capped_by_authority_as_it_would_be(cap: State, state: State) -> None:
    """It advises what the model could have asked for."""
    ask = Ask(
        target="t", generation="g", state=State.REDUCE, at=0.5, dwell_s=0.0, observations=1,
        mode=Mode.ADVISORY,
    )  # fmt: skip
    config = RiskConfig(asks=(ask,), bounded_share=1.0)
    d = Desk(RiskStage(config, REFERENCE, LIMITS, RULES, OneScore(cap)))
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset(bp=-12.0)))
    d.minutes(1, 3, bp=-12.0)
    (advised,) = of(d.out, DecisionAdvised)
    assert (advised.rule, advised.generation) == (ask.rule_id, "g")
    assert advised.state is state
    assert of(d.out, DecisionMade) == []


def test_rows_go_on_bit_for_bit_after_a_restart() -> None:
    """In the middle of a dwell, and while something is advised."""
    for cut in (2, 5):
        whole, first = desk(WITH_IT), desk(WITH_IT)
        for each in (whole, first):
            each.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
            each.minutes(1, cut, bp=-40.0)
        rows = {key: body for key, body in first.state.drain().items() if body is not None}
        assert f"advisory/{SCOPE}" in rows
        second = desk(WITH_IT)
        second.state.load(rows)
        told = second.minutes(cut + 1, 30, bp=0.0)
        assert told == whole.minutes(cut + 1, 30, bp=0.0)


def test_a_rule_that_binds_after_a_restart_ends_its_advice_and_begins_anew() -> None:
    """What it remembered while it advised is not held against anybody."""
    d = desk(WITH_IT)
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 5, bp=-40.0)
    now = desk(WITH_IT, binding=(TRIED.id,))
    now.state.load({key: body for key, body in d.state.drain().items() if body is not None})
    out = now.minutes(6, 9, bp=-40.0)
    assert [o.ended for o in of(out, DecisionAdvised)] == [True]
    made = [(m.rule, m.ts) for m in of(out, DecisionMade)]
    assert made == [("asset.discount.watch", at_moment(6)), (TRIED.id, at_moment(8))]
    assert now.state.advisories == {}
    gone = [key for key, body in now.state.drain().items() if body is None]
    assert gone == [f"advisory/{SCOPE}"]


def test_an_override_that_lifts_a_halt_would_lift_the_advised_one_too() -> None:
    """While it lasts, an advisory rule that asks for HALT has nothing to add."""
    d = people(rules=WITH_IT)
    d.tick(0, held(0, ("USDC", "500000")), market(0, asset()))
    d.minutes(1, 40, bp=-300.0)
    asked = d.tell(
        command("ann", "override", 41, SCOPE, until="2023-03-11T01:30:00Z", state="WATCH")
    )
    d.tell(command("bob", "approve", 42, SCOPE, request=request_of(asked)))
    during = d.minutes(43, 60, bp=-300.0)
    assert of(during, DecisionAdvised) == []


def test_every_kind_of_rule_engine_knows_which_rules_bind() -> None:
    """One constructor, so the preview and `verify` know it, too."""
    engine = RuleEngine(WITH_IT, RiskConfig(advisory=("asset.discount.halt",)))
    bind = [rule.id for rule, _ in engine.of(SCOPE).rules]
    advise = [rule.id for rule, _ in engine.advisory(SCOPE).rules]
    assert sorted(bind + advise) == sorted(r.id for r in WITH_IT.of("asset"))
    assert advise == ["asset.discount.halt", TRIED.id]
