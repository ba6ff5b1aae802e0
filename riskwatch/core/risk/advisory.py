"""Advisory rules, asks and limits: what they would have decided, which binds nobody.

Their trackers are kept in rows of their own. They change neither the state of a scope, nor its
switch, nor what blocks a release, nor when the stage and its models evaluate. They are evaluated
only when the stage evaluates anyway: at each tick with news, and at least every ``report_s``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.enums import Cause, Quality, State, strictest
from riskwatch.core.outputs import DecisionAdvised, Origin
from riskwatch.core.risk.decision import NO_CONTROL, requested_state
from riskwatch.core.risk.explanation import (
    EvaluationContext,
    Rationale,
    explain,
)
from riskwatch.core.risk.state import AdvisoryRow, ScopeRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from riskwatch.core.outputs import Output
    from riskwatch.core.risk.features import Features
    from riskwatch.core.risk.rule_engine import RuleEngine, RuleEvaluation, ScopeRules
    from riskwatch.core.risk.stakes import StakesCalculator, TickContext
    from riskwatch.core.risk.state import RiskState

_NOTHING: Final = ScopeRow()
"""The row of a scope without a decision; never changed."""


class AdvisoryEvaluator:
    """Evaluates advisory rules, asks and limits, and reports what they would have decided.

    Parameters
    ----------
    engine : RuleEngine
        Rules and asks.
    stakes_calculator : StakesCalculator
        Our dollars on a scope.
    limits : bool
        Whether any limit is advisory.
    """

    def __init__(
        self, engine: RuleEngine, stakes_calculator: StakesCalculator, *, limits: bool
    ) -> None:
        self.engine = engine
        self.stakes_calculator = stakes_calculator
        self.limits = limits
        self._advises = limits or engine.advises

    def is_needed(self, state: RiskState) -> bool:
        """Return whether anything is advisory, or a report of an earlier one has to end."""
        return self._advises or bool(state.advisories)

    def evaluate(
        self,
        state: RiskState,
        tick: TickContext,
        context: EvaluationContext,
        fresh: int,
        caps: Mapping[str, State],
        limit_features: Features,
    ) -> Iterator[DecisionAdvised]:
        """Evaluate one scope, after the binding rules have decided on it.

        Parameters
        ----------
        state, tick
            As of the stage.
        context : EvaluationContext
            What the binding rules were evaluated on.
        fresh : int
            Fresh observations since the last evaluation.
        caps : mapping of str to State
            What generations may ask for, by the name of their score.
        limit_features : dict of str to float
            What limits say of the scope with the advisory ones among them.
        """
        rules = self.engine.advisory(context.scope, limits=self.limits)
        known = state.advisories.get(context.scope)
        context = msgspec.structs.replace(
            context,
            features={**context.features, **limit_features},
            limits=state.advisory_usages.get(context.scope, context.limits),
        )
        if known is None and not rules.has_met_condition(context.features):
            return
        row = known or AdvisoryRow()
        changed = _forget_others(row, rules)
        evaluation = rules.evaluate(
            row, context.features, context.cause, elapsed=tick.elapsed, fresh=fresh, caps=caps
        )
        out = self._advised(state, row, evaluation, context)
        if row.is_idle:
            state.advisories.pop(context.scope, None)
        else:
            state.advisories[context.scope] = row
        if changed or evaluation.changed or out is not None:
            state.mark(f"advisory/{context.scope}")
        if out is not None:
            yield out

    def evaluate_rest(
        self,
        state: RiskState,
        tick: TickContext,
        evaluated: Mapping[str, None],
        limit_features: Mapping[str, Features],
    ) -> Iterator[Output]:
        """Evaluate scopes that only advisory limits name; end reports without an advisory rule."""
        left = {scope: None for scope in limit_features if scope not in evaluated}
        left |= {
            scope: None
            for scope in state.advisories
            if scope not in evaluated and not self.engine.advisory(scope, limits=self.limits).rules
        }
        for scope in sorted(left):
            context = EvaluationContext(
                us=tick.us,
                scope=scope,
                features={},
                cause=Cause.LIMIT,
                quality=Quality.GOOD,
                support=[],
                refute=[],
                stakes=partial(self.stakes_calculator.on, state, tick, scope),
            )
            yield from self.evaluate(state, tick, context, 1, {}, limit_features.get(scope, {}))

    def _advised(
        self,
        state: RiskState,
        row: AdvisoryRow,
        evaluation: RuleEvaluation,
        context: EvaluationContext,
    ) -> DecisionAdvised | None:
        """Return what would have been decided, if it changed, and note it in the row."""
        scope = state.scopes.get(context.scope, _NOTHING)
        control = state.controls.get(context.scope, NO_CONTROL)
        to = strictest((scope.state, requested_state(scope, evaluation, control)))
        stricter = to is not scope.state
        if (not stricter and not row.opened_id) or (
            stricter and row.opened_id and (to, scope.state) == (row.state, row.in_force)
        ):
            return None
        stakes = context.stakes()
        why = (
            explain(scope, to, evaluation, context, stakes)
            if stricter
            else _end(row, scope, context)
        )
        stamp = Origin.tick(context.us).stamp(DecisionAdvised, context.scope)
        previous = row.state if row.opened_id else scope.state
        opened_id = row.opened_id or stamp["id"]
        row.state, row.in_force, row.rule, row.generation = (
            to, scope.state, why.rule, why.generation,
        )  # fmt: skip
        row.opened_id = opened_id if stricter else ""
        return DecisionAdvised(
            **stamp,
            scope=context.scope,
            previous=previous,
            state=to,
            in_force=scope.state,
            opened_id=opened_id,
            quality=context.quality,
            **why.fields(stakes),
        )


def _forget_others(row: AdvisoryRow, rules: ScopeRules) -> bool:
    """Drop trackers of rules that bind now or are gone; return whether there were any."""
    known = {rule.id: None for rule, _ in rules.rules}
    gone = [name for name in row.trackers if name not in known]
    for name in gone:
        del row.trackers[name]
    return bool(gone)


def _end(row: AdvisoryRow, scope: ScopeRow, context: EvaluationContext) -> Rationale:
    """Return why the advisory rules would set nothing stricter any more."""
    if scope.state.rank >= row.state.rank:
        reason = f"{context.scope} is {scope.state.value}: {row.rule} asks for nothing stricter"
    else:
        reason = f"{context.scope}: {row.rule} would have let go, or does not advise any more"
    return Rationale(
        cause=Cause.NONE,
        generation=row.generation,
        rule=row.rule,
        reasons=[reason],
        flip={},
        features=dict(sorted(context.features.items())),
    )
