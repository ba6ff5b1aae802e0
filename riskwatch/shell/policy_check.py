"""Running the policy again on the inputs that a decision stored, where nothing else is left.

It says less than the journal: the inputs are taken as they are, and dwell is not seen. It does
say whether these inputs, under the configuration that was recorded, ask for what was decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.money import quantise
from riskwatch.core.reasons import State
from riskwatch.core.risk.grounds import limits_of
from riskwatch.core.risk.machine import RuleEngine
from riskwatch.core.risk.models import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import DecisionMade
    from riskwatch.core.rules import Rule
    from riskwatch.shell.config import Config


def check_policy(decision: DecisionMade, config: Config) -> Iterator[str]:
    """Say where the policy, on the stored inputs, does not lead to what was decided.

    Parameters
    ----------
    decision : DecisionMade
        As stored.
    config : Config
        That counted when it fell.
    """
    engine = RuleEngine(config.rules, config.policy.risk.asks)
    try:
        watching = engine.of(decision.scope)
    except ValueError as error:
        yield str(error)
        return
    rules = {rule.id: rule for rule, _ in watching.rules}
    severities = {}
    for name, known in sorted(rules.items()):
        severity, condition = known.severity(decision.features)
        if condition is not None:
            severities[name] = quantise(severity)
    if decision.previous is State.HALT:
        yield "a HALT was left, which data never does"
    if decision.generation == RULES and decision.contributions != severities:
        yield f"severities are {severities}, stored are {decision.contributions}"
    rule = rules.get(decision.rule)
    if rule is None:
        yield f"the configuration has no rule {decision.rule}"
        return
    if decision.limits:
        yield from _asked(decision, rule, severities.get(rule.id))
    elif decision.state is not State.NORMAL:
        yield f"nothing asked for {decision.state.value}"
    elif severities.get(rule.id, 0.0) >= rule.exit:
        yield f"{rule.id} let go at severity {severities[rule.id]:g}, not below {rule.exit:g}"


def _asked(decision: DecisionMade, rule: Rule, severity: float | None) -> Iterator[str]:
    """Check the rule that led."""
    if decision.limits != limits_of(rule):
        yield f"thresholds of {rule.id} are {limits_of(rule)}, stored are {decision.limits}"
    capped = decision.generation != RULES and decision.state.rank <= rule.state.rank
    if rule.state is not decision.state and not capped:
        yield f"{rule.id} asks for {rule.state.value}, decided was {decision.state.value}"
    if decision.state.rank > decision.previous.rank:
        if severity is None or severity < 1.0:
            yield f"{rule.id} has severity {severity}, which does not ask for anything"
        if decision.cause in rule.unless_cause:
            yield f"{rule.id} holds still under cause {decision.cause.value}"
