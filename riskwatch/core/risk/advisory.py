"""Advisory rules, asks and limits: what they would have decided, which binds nobody.

They are tracked as the others are, in rows of their own. Nothing of them enters the state of a
scope, its switch, what blocks a release, or when the stage and its models look. So they look when
the stage evaluates anyway, which is at each tick with news and at least every ``report_s``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.enums import Cause, Quality, State, strictest
from riskwatch.core.money import usd
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
"""The row of a scope that nobody decided on; never changed."""


class AdvisoryEvaluator:
    """Lets advisory rules, asks and limits look at scopes, and says what they would have done.

    Parameters
    ----------
    engine : RuleEngine
        Rules and asks.
    stakes_calculator : StakesCalculator
        Our dollars on a scope.
    limits : bool
        Whether any limit only advises.
    """

    def __init__(
        self, engine: RuleEngine, stakes_calculator: StakesCalculator, *, limits: bool
    ) -> None:
        self.engine = engine
        self.stakes_calculator = stakes_calculator
        self.limits = limits
        self._advises = limits or engine.advises

    def is_needed(self, state: RiskState) -> bool:
        """Say whether there is anything to look with, or to end."""
        return self._advises or bool(state.advisories)

    def evaluate(
        self,
        state: RiskState,
        tick: TickContext,
        scene: EvaluationContext,
        fresh: int,
        caps: Mapping[str, State],
        bound: Features,
    ) -> Iterator[DecisionAdvised]:
        """Look at one scope, after the rules that bind have decided on it.

        Parameters
        ----------
        state, tick
            As of the stage.
        scene : EvaluationContext
            What the binding rules saw.
        fresh : int
            Fresh observations since the last look.
        caps : mapping of str to State
            What generations may ask for, by the name of their score.
        bound : dict of str to float
            What limits say of the scope with the advisory ones among them.
        """
        rules = self.engine.advisory(scene.scope, limits=self.limits)
        known = state.advisories.get(scene.scope)
        scene = msgspec.structs.replace(scene, features={**scene.features, **bound})
        if known is None and not rules.has_met_condition(scene.features):
            return
        row = known or AdvisoryRow()
        changed = _forget_others(row, rules)
        look = rules.evaluate(
            row, scene.features, scene.cause, elapsed=tick.elapsed, fresh=fresh, caps=caps
        )
        out = self._advised(state, row, look, scene)
        if row.is_idle:
            state.advisories.pop(scene.scope, None)
        else:
            state.advisories[scene.scope] = row
        if changed or look.changed or out is not None:
            state.mark(f"advisory/{scene.scope}")
        if out is not None:
            yield out

    def evaluate_rest(
        self,
        state: RiskState,
        tick: TickContext,
        evaluated: Mapping[str, None],
        bound: Mapping[str, Features],
    ) -> Iterator[Output]:
        """Look at scopes that only advisory limits know, and end what nothing advises any more."""
        left = {scope: None for scope in bound if scope not in evaluated}
        left |= {
            scope: None
            for scope in state.advisories
            if scope not in evaluated and not self.engine.advisory(scope, limits=self.limits).rules
        }
        for scope in sorted(left):
            scene = EvaluationContext(
                us=tick.us,
                scope=scope,
                features={},
                cause=Cause.LIMIT,
                quality=Quality.GOOD,
                support=[],
                refute=[],
                stakes=partial(self.stakes_calculator.on, state, tick, scope),
            )
            yield from self.evaluate(state, tick, scene, 1, {}, bound.get(scope, {}))

    def _advised(
        self, state: RiskState, row: AdvisoryRow, look: RuleEvaluation, scene: EvaluationContext
    ) -> DecisionAdvised | None:
        """Say what would have been decided, if that is news; the row is as said afterwards."""
        scope = state.scopes.get(scene.scope, _NOTHING)
        control = state.controls.get(scene.scope, NO_CONTROL)
        to = strictest((scope.state, requested_state(scope, look, control)))
        stricter = to is not scope.state
        if (not stricter and not row.opened_id) or (
            stricter and row.opened_id and (to, scope.state) == (row.state, row.in_force)
        ):
            return None
        stakes = scene.stakes()
        why = explain(scope, to, look, scene, stakes) if stricter else _end(row, scope, scene)
        stamp = Origin.tick(scene.us).stamp(DecisionAdvised, scene.scope)
        previous = row.state if row.opened_id else scope.state
        opened_id = row.opened_id or stamp["id"]
        row.state, row.in_force, row.rule, row.generation = (
            to, scope.state, why.rule, why.generation,
        )  # fmt: skip
        row.opened_id = opened_id if stricter else ""
        return DecisionAdvised(
            **stamp,
            scope=scene.scope,
            previous=previous,
            state=to,
            in_force=scope.state,
            opened_id=opened_id,
            quality=scene.quality,
            cause=why.cause,
            generation=why.generation,
            rule=why.rule,
            reasons=why.reasons,
            features=why.features,
            contributions=why.contributions,
            limits=why.limits,
            support=why.support,
            refute=why.refute,
            flip=why.flip,
            exposure_usd=usd(stakes.exposure),
            el_usd=usd(stakes.el),
            exit_cost_usd=usd(stakes.exit_cost),
        )


def _forget_others(row: AdvisoryRow, rules: ScopeRules) -> bool:
    """Forget rules that bind now, or are gone; returns whether there were any."""
    known = {rule.id: None for rule, _ in rules.rules}
    gone = [name for name in row.trackers if name not in known]
    for name in gone:
        del row.trackers[name]
    return bool(gone)


def _end(row: AdvisoryRow, scope: ScopeRow, scene: EvaluationContext) -> Rationale:
    """Say why nothing stricter than what holds would be set any more."""
    if scope.state.rank >= row.state.rank:
        reason = f"{scene.scope} is {scope.state.value}: {row.rule} asks for nothing stricter"
    else:
        reason = f"{scene.scope}: {row.rule} would have let go, or does not advise any more"
    return Rationale(
        cause=Cause.NONE,
        generation=row.generation,
        rule=row.rule,
        reasons=[reason],
        flip={},
        features=dict(sorted(scene.features.items())),
    )
