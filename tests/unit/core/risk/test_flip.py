"""The counterfactual of a decision: it is sufficient, and no smaller change is."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.risk.explanation import EvaluationContext, ExposureAtStake, counterfactual
from riskwatch.core.risk.rule_engine import RuleEvaluation, RuleRequest
from riskwatch.core.risk.scorer import RULES_GENERATION
from riskwatch.core.risk.state import ScopeRow
from riskwatch.core.rules import Condition, Rule

NAMES = ("discount_bp", "limit_ratio", "pending_age_s")
UP = (State.WATCH, State.REDUCE, State.HALT)
CONDITIONS = st.builds(
    Condition, feature=st.sampled_from(NAMES), at=st.integers(1, 50).map(float), unit=st.just("x")
)
RULES_OF = st.lists(
    st.builds(
        Rule,
        id=st.uuids().map(str),
        scope_kind=st.just("asset"),
        state=st.sampled_from(UP),
        any=st.lists(CONDITIONS, min_size=1, max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=5,
)
FEATURES = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 100).map(float), min_size=1)


def decision_from_normal(
    rules: list[Rule], features: dict[str, float]
) -> tuple[State, dict[str, Any]]:
    """Decide from NORMAL with all met rules active; return the state and its counterfactual."""
    requests = [
        RuleRequest(rule, RULES_GENERATION, rule.state, severity)
        for rule in rules
        if (severity := rule.severity(features)[0]) >= 1.0
    ]
    requests.sort(key=lambda r: r.order)
    decisive = {
        r.rule.id: found for r in requests if (found := r.rule.severity(features)[1]) is not None
    }
    look = RuleEvaluation(requests, {}, decisive, moving=False, changed=True, before=None)
    scene = EvaluationContext(
        0,
        "asset:X",
        features,
        Cause.ISSUER,
        Quality.GOOD,
        [],
        [],
        lambda: ExposureAtStake(0.0, 0.0, 0.0),
    )
    return look.state, counterfactual(ScopeRow(), look.state, look, scene)


def requested(rules: list[Rule], features: dict[str, float]) -> State:
    """Return the strictest requested state."""
    met = [rule.state for rule in rules if rule.severity(features)[0] >= 1.0]
    return max(met, key=lambda state: state.rank, default=State.NORMAL)


@given(RULES_OF, FEATURES)
def test_the_smallest_change_is_enough_and_needed(
    rules: list[Rule], features: dict[str, float]
) -> None:
    """Just below the named values the state is less strict; leaving one out, it is not."""
    assume(requested(rules, features) is not State.NORMAL)
    state, found = decision_from_normal(rules, features)
    changes = [found, *found.get("also", [])]
    lower = {change["feature"]: change["needed"] * (1 - 1e-9) for change in changes}
    assert len(lower) == len(changes)
    assert requested(rules, features | lower).rank < state.rank
    for name in lower:
        rest = {other: value for other, value in lower.items() if other != name}
        assert requested(rules, features | rest) is state
        at = next(c["needed"] for c in changes if c["feature"] == name)
        assert requested(rules, features | lower | {name: at}) is state


def test_the_lowest_threshold_counts_where_several_ask() -> None:
    """Two rules halt by one input: falling below the higher threshold changes nothing."""
    halt = Rule(
        id="a",
        scope_kind="asset",
        state=State.HALT,
        any=(Condition(feature="discount_bp", at=100.0, unit="bp"),),
    )
    sooner = msgspec.structs.replace(
        halt, id="b", any=(Condition(feature="discount_bp", at=60.0, unit="bp"),)
    )
    _, found = decision_from_normal([halt, sooner], {"discount_bp": 120.0})
    assert (found["needed"], found["value"], "also" in found) == (60.0, 120.0, False)
