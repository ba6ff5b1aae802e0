"""The explanation of a decision: what moved, in which words, and what would have altered it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.money import quantise
from riskwatch.core.outputs import Origin
from riskwatch.core.risk.rule_engine import (
    LIMIT_FEATURES,
    RuleEvaluation,
    RuleRequest,
    score_feature,
)
from riskwatch.core.risk.scorer import ENSEMBLE, RULES_GENERATION, Explanation
from riskwatch.core.scopes import ASSET, VENUE_ASSET, parse

if TYPE_CHECKING:
    from riskwatch.core.risk.state import ScopeRow
    from riskwatch.core.rules import Condition, Rule

ENSEMBLE_SCORE_PREFIX = score_feature(ENSEMBLE, "")
CREDIT_FEATURES = ("_weight", "_parts", "backing_failed_share")


class ExposureAtStake(msgspec.Struct, frozen=True, gc=False):
    """Our dollars on a scope: exposure, expected loss of staying, cost of leaving."""

    exposure: float
    el: float
    exit_cost: float


class EvaluationContext(msgspec.Struct, frozen=True, gc=False):
    """What is known of a scope at the moment at which its rules looked.

    `stakes` is called only when it is needed: sums over all holdings cost time. So are `scores`,
    which say what each probability among the features rests on, by its name.
    `doubt` says why nothing that is known counts any more; empty if it does.
    """

    us: int
    scope: str
    features: dict[str, float]
    cause: Cause
    quality: Quality
    support: list[str]
    refute: list[str]
    stakes: Callable[[], ExposureAtStake]
    scores: dict[str, Callable[[], Explanation]] = {}
    doubt: str = ""

    @property
    def origin(self) -> Origin:
        """What is said of the scope comes from the tick."""
        return Origin.tick(self.us)


class Rationale(msgspec.Struct, frozen=True, gc=False):
    """Why a scope moves; the fields are those of a decision.

    It is worked out without binding anybody, so it can also be had of what will not be done.
    """

    cause: Cause
    generation: str
    rule: str
    reasons: list[str]
    flip: dict[str, Any]
    features: dict[str, float] = {}
    contributions: dict[str, float] = {}
    limits: dict[str, float] = {}
    support: list[str] = []
    refute: list[str] = []


def explain(
    row: ScopeRow,
    to: State,
    look: RuleEvaluation,
    scene: EvaluationContext,
    stakes: ExposureAtStake,
) -> Rationale:
    """Say why rules and asks move a scope from where it is to a state."""
    leading = look.leading
    cause = Cause.NONE if leading is None else request_cause(leading, look, scene)
    return Rationale(
        cause=cause,
        generation=RULES_GENERATION if leading is None else leading.generation,
        rule=row.rule if leading is None else leading.rule.id,
        reasons=decision_reasons(row, look, scene, cause, stakes),
        flip=counterfactual(row, to, look, scene),
        features=dict(sorted(scene.features.items())),
        contributions=contributions(look, scene),
        limits={} if leading is None else rule_thresholds(leading.rule),
        support=scene.support,
        refute=scene.refute,
    )


def leading_feature(request: RuleRequest, look: RuleEvaluation) -> str:
    """Name the input on which a request rests: the one that exceeds its threshold most."""
    condition = look.decisive.get(request.rule.id, request.rule.any[0])
    return condition.feature


def request_cause(request: RuleRequest, look: RuleEvaluation, scene: EvaluationContext) -> Cause:
    """What moved, by the input that decided."""
    feature, kind = leading_feature(request, look), parse(scene.scope).kind
    if feature in LIMIT_FEATURES:
        return Cause.LIMIT
    if kind == ASSET:
        return Cause.ISSUER if feature.endswith(CREDIT_FEATURES) else scene.cause
    if kind == VENUE_ASSET or feature == "dislocation_bp":
        return Cause.VENUE
    return Cause.COUNTERPARTY


def contributions(look: RuleEvaluation, scene: EvaluationContext) -> dict[str, float]:
    """What the leading model's probability is made of; else the severity of every rule."""
    leading = look.leading
    if leading is not None and leading.generation != RULES_GENERATION:
        asked = scene.scores.get(leading.rule.any[0].feature)
        return {} if asked is None else dict(sorted(asked()[1].items()))
    return {k: quantise(v) for k, v in sorted(look.severities.items())}


def rule_thresholds(rule: Rule) -> dict[str, float]:
    """Thresholds in force of a rule, by name."""
    out = {condition.feature: condition.at for condition in rule.any}
    return out | {
        "dwell_s": rule.dwell_s,
        "observations": float(rule.observations),
        "exit": rule.exit,
        "exit_dwell_s": rule.exit_dwell_s,
    }


def rule_sentence(rule: Rule, condition: Condition, value: float, scope: str) -> str:
    """Say in the rule's own words what it has seen."""
    words = rule.text.format(
        scope=scope,
        feature=condition.feature,
        value=f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}",
        at=f"{condition.at:,.4g}" if abs(condition.at) < 1e4 else f"{condition.at:,.0f}",
        unit=condition.unit,
    )
    return " ".join(words.split())


def decision_reasons(
    row: ScopeRow,
    look: RuleEvaluation,
    scene: EvaluationContext,
    cause: Cause,
    stakes: ExposureAtStake,
) -> list[str]:
    """Say why, in plain sentences: what each active rule saw, who agrees, what is at stake."""
    out = []
    for request in look.requests:
        condition = look.decisive.get(request.rule.id)
        if condition is None:
            out.append(f"{request.rule.id} still holds: nothing newer is known")
            continue
        reason = rule_sentence(
            request.rule, condition, scene.features[condition.feature], scene.scope
        )
        if request.severity < 1.0:
            reason += f" (held: not below {request.rule.exit:g} of it for long enough)"
        out.append(reason)
    if not look.requests:
        out.append(f"{scene.scope}: {row.rule} let go, nothing else is asked for")
    out += _served(scene)
    if scene.support and cause in (Cause.ISSUER, Cause.UNKNOWN, Cause.VENUE, Cause.MARKET):
        out.append(f"seen on {', '.join(scene.support)}")
    if scene.refute:
        out.append(f"contradicted by {', '.join(scene.refute)}")
    if stakes.exposure > 0.0:
        dollars = f"we have {stakes.exposure:,.0f} USD on it"
        if stakes.el or stakes.exit_cost:
            dollars += (
                f"; expected loss of staying {stakes.el:,.0f} USD, cost of leaving "
                f"{stakes.exit_cost:,.0f} USD"
            )
        out.append(dollars)
    return out


def _served(scene: EvaluationContext) -> list[str]:
    """Say what the generations make of it together."""
    return [
        f"{name.removeprefix(ENSEMBLE_SCORE_PREFIX)}: all generations together give it "
        "a probability of "
        f"{value:.3g}"
        for name, value in sorted(scene.features.items())
        if name.startswith(ENSEMBLE_SCORE_PREFIX)
    ]


def counterfactual(
    row: ScopeRow, state: State, look: RuleEvaluation, scene: EvaluationContext
) -> dict[str, Any]:
    """Find the smallest change of the inputs that would have led to another state.

    Going up: the value below which no rule would have asked for this state; where several
    inputs ask for it, ``also`` names the others, for all of them would have had to be lower.
    Going down: the value at which the rule that let go would have held on.
    """
    up = state.rank > row.state.rank
    rule = look.leading.rule if up and look.leading is not None else look.before
    if rule is None and row.cause is Cause.OPERATOR:
        return {"needed": "another command"}
    if rule is None:
        return {"needed": "a rule that is no longer in the pack"}
    condition = look.decisive.get(rule.id)
    if condition is None:
        return {"rule": rule.id, "needed": "any value: nothing is known now"}
    if not up:
        return {"rule": rule.id, **_change(scene, condition, condition.at * rule.exit)}
    asking = _asking(state, look, scene)
    decisive, at = asking.pop(condition.feature, (condition, condition.at))
    found = {"rule": rule.id, **_change(scene, decisive, at)}
    if asking:
        found["also"] = [_change(scene, other, lower) for other, lower in asking.values()]
    return found


def _asking(
    state: State, look: RuleEvaluation, scene: EvaluationContext
) -> dict[str, tuple[Condition, float]]:
    """Conditions that ask for a state or a stricter one: by input, the lowest that is met."""
    out: dict[str, tuple[Condition, float]] = {}
    for request in look.requests:
        if request.state.rank < state.rank:
            continue
        for condition in request.rule.any:
            value = scene.features.get(condition.feature)
            # A rule that is held lets go below its exit, one that fires below its threshold.
            at = condition.at if request.severity >= 1.0 else condition.at * request.rule.exit
            known = out.get(condition.feature)
            if value is not None and value >= at and (known is None or at < known[1]):
                out[condition.feature] = (condition, at)
    return out


def _change(scene: EvaluationContext, condition: Condition, needed: float) -> dict[str, Any]:
    """One input: its value, and the one that it would have had to have."""
    return {
        "feature": condition.feature,
        "value": quantise(scene.features[condition.feature]),
        "needed": quantise(needed),
        "unit": condition.unit,
    }
