"""The state machine of the risk stage, as the fixtures of a rule pack drive it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND
from riskwatch.core.reasons import State
from riskwatch.core.risk.machine import RuleEngine
from riskwatch.core.risk.rows import ScopeRow

if TYPE_CHECKING:
    from riskwatch.checks.rule_pack import Step
    from riskwatch.core.rules import RulePack


class ScopeMachine:
    """One scope under a pack of rules, in its first state.

    Parameters
    ----------
    pack : RulePack
        The rules.
    scope : str
        Which scope; its kind says which rules.

    Examples
    --------
    >>> from riskwatch.checks.rule_pack import Step
    >>> from riskwatch.core.rules import Condition, Rule, RulePack
    >>> rule = Rule(id="r", scope_kind="asset", state=State.WATCH,
    ...             any=(Condition(feature="discount_bp", at=20.0),))
    >>> machine = ScopeMachine(RulePack(rules=(rule,)), "asset:USDC")
    >>> machine(Step(t_s=0.0, features={"discount_bp": 25.0}, expect=State.WATCH)).value
    'WATCH'
    """

    def __init__(self, pack: RulePack, scope: str) -> None:
        self._rules = RuleEngine(pack).of(scope)
        self._row = ScopeRow()
        self._us = 0

    def __call__(self, step: Step) -> State:
        """Take one step and say the state."""
        us = int(step.t_s * SECOND)
        look = self._rules.look(
            self._row,
            step.features,
            step.cause,
            elapsed=us - self._us,
            fresh=step.observations,
        )
        self._us = us
        if self._row.state is not State.HALT:  # it latches
            self._row.state = look.state
        return self._row.state
