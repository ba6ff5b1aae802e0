"""The explanation of a decision: its cause, its reasons in words, and its counterfactual."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.money import quantise, usd
from riskwatch.core.outputs import Origin
from riskwatch.core.risk.limits import LIMIT_FEATURES, LimitUsage
from riskwatch.core.risk.rule_engine import RuleEvaluation, RuleRequest, score_feature
from riskwatch.core.risk.scorer import ENSEMBLE, RULES_GENERATION, Explanation
from riskwatch.core.scopes import ASSET, VENUE_ASSET, parse

if TYPE_CHECKING:
    from riskwatch.core.risk.state import ScopeRow
    from riskwatch.core.rules import Condition, Rule

ENSEMBLE_SCORE_PREFIX = score_feature(ENSEMBLE, "")
CREDIT_FEATURES = ("_weight", "_parts", "backing_failed_share")


class ExposureAtStake(msgspec.Struct, frozen=True, gc=False):
    """Our exposure on a scope, the expected loss of staying, and the cost of leaving, USD."""

    exposure: float
    el: float
    exit_cost: float


class EvaluationContext(msgspec.Struct, frozen=True, gc=False):
    """The inputs of the evaluation of one scope.

    `stakes` returns the exposure at stake; it is called only when needed, because it sums over all
    holdings. `scores` returns the explanation of each probability, by the name of its feature; it
    is called only when needed, too. `limits` has the limit behind each limit feature. `fault` says
    why the holdings of the scope are not kept up to date; it is empty if they are. `unconfirmed`
    says which accounts no source confirms. `silent` are the venues whose silence is why the scope
    has no data: their alerts stand for it. `dependents` are the scopes for which the alert of this
    one stands.
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
    limits: Mapping[str, LimitUsage] = {}
    fault: str = ""
    unconfirmed: str = ""
    silent: Sequence[str] = ()
    dependents: Sequence[str] = ()

    @property
    def origin(self) -> Origin:
        """Origin of the outputs about the scope: the tick."""
        return Origin.tick(self.us)


class Rationale(msgspec.Struct, frozen=True, gc=False):
    """Why the state of a scope changes; the fields are those of a decision.

    Computing it has no effect, so it can also be computed for a decision that is not made.
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

    def fields(self, stakes: ExposureAtStake) -> dict[str, Any]:
        """Return the fields that a decision takes from its rationale and from our dollars."""
        return {
            **msgspec.structs.asdict(self),
            "exposure_usd": usd(stakes.exposure),
            "el_usd": usd(stakes.el),
            "exit_cost_usd": usd(stakes.exit_cost),
        }


def explain(
    row: ScopeRow,
    to: State,
    evaluation: RuleEvaluation,
    context: EvaluationContext,
    stakes: ExposureAtStake,
) -> Rationale:
    """Return why rules and asks move a scope from its present state to `to`."""
    leading = evaluation.leading
    cause = Cause.NONE if leading is None else request_cause(leading, evaluation, context)
    return Rationale(
        cause=cause,
        generation=RULES_GENERATION if leading is None else leading.generation,
        rule=row.rule if leading is None else leading.rule.id,
        reasons=decision_reasons(row, evaluation, context, cause, stakes),
        flip=counterfactual(row, to, evaluation, context),
        features=dict(sorted(context.features.items())),
        contributions=contributions(evaluation, context),
        limits={} if leading is None else rule_thresholds(leading.rule),
        support=context.support,
        refute=context.refute,
    )


def leading_feature(request: RuleRequest, evaluation: RuleEvaluation) -> str:
    """Return the feature behind a request: the one that exceeds its threshold most."""
    condition = evaluation.decisive.get(request.rule.id, request.rule.any[0])
    return condition.feature


def request_cause(
    request: RuleRequest, evaluation: RuleEvaluation, context: EvaluationContext
) -> Cause:
    """Return the cause of a request, by its leading feature."""
    feature, kind = leading_feature(request, evaluation), parse(context.scope).kind
    if feature in LIMIT_FEATURES:
        return Cause.LIMIT
    if kind == ASSET:
        return Cause.ISSUER if feature.endswith(CREDIT_FEATURES) else context.cause
    if kind == VENUE_ASSET or feature == "dislocation_bp":
        return Cause.VENUE
    return Cause.COUNTERPARTY


def contributions(evaluation: RuleEvaluation, context: EvaluationContext) -> dict[str, float]:
    """Return the contributions to the leading model's probability; else all rule severities."""
    leading = evaluation.leading
    if leading is not None and leading.generation != RULES_GENERATION:
        explanation = context.scores.get(leading.rule.any[0].feature)
        return {} if explanation is None else dict(sorted(explanation()[1].items()))
    return {k: quantise(v) for k, v in sorted(evaluation.severities.items())}


def rule_thresholds(rule: Rule) -> dict[str, float]:
    """Return the thresholds and times of a rule, by name."""
    out = {condition.feature: condition.at for condition in rule.any}
    return out | {
        "dwell_s": rule.dwell_s,
        "observations": float(rule.observations),
        "exit": rule.exit,
        "exit_dwell_s": rule.exit_dwell_s,
    }


def rule_sentence(rule: Rule, condition: Condition, context: EvaluationContext) -> str:
    """Return the rule's text, filled in with the value that it was evaluated on.

    A text about a limit may name the limit that binds, its subject, and how much of it is used.
    """
    usage = context.limits.get(condition.feature)
    words = rule.text.format(
        scope=context.scope,
        feature=condition.feature,
        value=_number(context.features[condition.feature]),
        at=_number(condition.at),
        unit=condition.unit,
        limit="its limit" if usage is None else usage.limit.id,
        subject=context.scope if usage is None else usage.scope,
        used="an unknown share" if usage is None else _percent(usage.utilisation),
        warning="" if usage is None else _percent(usage.limit.warning_share),
        why="" if usage is None else usage.why,
    )
    return " ".join(words.split())


def _number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def _percent(share: float) -> str:
    """Return a share in per cent, to four digits.

    Examples
    --------
    >>> _percent(6.9), _percent(0.85123)
    ('690%', '85.12%')
    """
    return f"{_number(100.0 * share)}%"


_BY_FEEDS: Final = (Cause.ISSUER, Cause.COIN, Cause.UNKNOWN, Cause.VENUE, Cause.MARKET)
"""Causes that feeds show."""


def decision_reasons(
    row: ScopeRow,
    evaluation: RuleEvaluation,
    context: EvaluationContext,
    cause: Cause,
    stakes: ExposureAtStake,
) -> list[str]:
    """Return the reasons in sentences: each active rule, supporting feeds, exposure at stake."""
    out = []
    for request in evaluation.requests:
        condition = evaluation.decisive.get(request.rule.id)
        if condition is None:
            out.append(f"{request.rule.id} still holds: nothing newer is known")
            continue
        reason = rule_sentence(request.rule, condition, context)
        if request.severity < 1.0:
            reason += f" (held: not below {request.rule.exit:g} of it for long enough)"
        out.append(reason)
    if not evaluation.requests:
        out.append(f"{context.scope}: {row.rule} let go, nothing else is asked for")
    out += _ensemble_reasons(context)
    if context.support and cause in _BY_FEEDS:
        out.append(f"seen on {', '.join(context.support)}")
    if context.refute:
        out.append(f"contradicted by {', '.join(context.refute)}")
    if stakes.exposure > 0.0:
        at_stake = f"we have {stakes.exposure:,.0f} USD on it"
        if stakes.el or stakes.exit_cost:
            at_stake += (
                f"; expected loss of staying {stakes.el:,.0f} USD, cost of leaving "
                f"{stakes.exit_cost:,.0f} USD"
            )
        out.append(at_stake)
    return out


def _ensemble_reasons(context: EvaluationContext) -> list[str]:
    """Return a sentence for each ensemble probability."""
    return [
        f"{name.removeprefix(ENSEMBLE_SCORE_PREFIX)}: all generations together give it "
        "a probability of "
        f"{value:.3g}"
        for name, value in sorted(context.features.items())
        if name.startswith(ENSEMBLE_SCORE_PREFIX)
    ]


def counterfactual(
    row: ScopeRow, state: State, evaluation: RuleEvaluation, context: EvaluationContext
) -> dict[str, Any]:
    """Return the smallest change of the inputs that would have led to another state.

    For a stricter state it is the value below which no rule would have requested that state. If
    several inputs request it, ``also`` names the others: all of them would have to be lower. For a
    less strict state it is the value at which the rule that ended would have stayed active.
    """
    up = state.rank > row.state.rank
    rule = evaluation.leading.rule if up and evaluation.leading is not None else evaluation.before
    if rule is None and row.cause is Cause.OPERATOR:
        return {"needed": "another command"}
    if rule is None:
        return {"needed": "a rule that is no longer in the pack"}
    condition = evaluation.decisive.get(rule.id)
    if condition is None:
        return {"rule": rule.id, "needed": "any value: nothing is known now"}
    if not up:
        return {"rule": rule.id, **_change(context, condition, condition.at * rule.exit)}
    met = _met_conditions(state, evaluation, context)
    decisive, at = met.pop(condition.feature, (condition, condition.at))
    found = {"rule": rule.id, **_change(context, decisive, at)}
    if met:
        found["also"] = [_change(context, other, lower) for other, lower in met.values()]
    return found


def _met_conditions(
    state: State, evaluation: RuleEvaluation, context: EvaluationContext
) -> dict[str, tuple[Condition, float]]:
    """Return the met conditions that request `state` or a stricter one, the lowest per input."""
    out: dict[str, tuple[Condition, float]] = {}
    for request in evaluation.requests:
        if request.state.rank < state.rank:
            continue
        for condition in request.rule.any:
            value = context.features.get(condition.feature)
            # A rule held by hysteresis ends below its exit, one that fires below its threshold.
            at = condition.at if request.severity >= 1.0 else condition.at * request.rule.exit
            known = out.get(condition.feature)
            if value is not None and value >= at and (known is None or at < known[1]):
                out[condition.feature] = (condition, at)
    return out


def _change(context: EvaluationContext, condition: Condition, needed: float) -> dict[str, Any]:
    """Return one input with its value and the value that it would have needed."""
    return {
        "feature": condition.feature,
        "value": quantise(context.features[condition.feature]),
        "needed": quantise(needed),
        "unit": condition.unit,
    }
