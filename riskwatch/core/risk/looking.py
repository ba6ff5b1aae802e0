"""How the rules look at one scope, and what becomes of what they see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.reasons import Quality, State
from riskwatch.core.risk.decide import Decider
from riskwatch.core.risk.rows import ScopeRow

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.dollars import Evaluation
    from riskwatch.core.risk.features import Features
    from riskwatch.core.risk.grounds import Scene
    from riskwatch.core.risk.machine import RuleEngine
    from riskwatch.core.risk.state import RiskState
    from riskwatch.core.risk.turn import DecisionWriter


class Looker:
    """Lets the rules and asks of a kind of scope look at one, and decides.

    Parameters
    ----------
    config : RiskConfig
        Life times and thresholds.
    engine : RuleEngine
        Rules and asks.
    writer : DecisionWriter
        Moves scopes, and writes what is said about it.
    """

    def __init__(self, config: RiskConfig, engine: RuleEngine, writer: DecisionWriter) -> None:
        self.engine = engine
        self.dollars = writer.dollars
        self.decider = Decider(config, writer)

    def bounded(
        self, state: RiskState, tick: Evaluation, scope: str, caps: dict[str, State]
    ) -> dict[str, State]:
        """Caps, where models of bounded authority may not reduce this scope as well."""
        if State.REDUCE not in caps.values() or self.dollars.in_bounds(state, tick, scope):
            return caps
        return {f: State.WATCH if cap is State.REDUCE else cap for f, cap in caps.items()}

    def idle(self, state: RiskState, scope: str, bound: dict[str, Features]) -> bool:
        """Whether there is nothing to say of a scope that only limits know, and no news at all."""
        if state.credit or scope in state.scopes:
            return False
        return not self.engine.of(scope).met(bound.get(scope, {}))

    def look(
        self,
        state: RiskState,
        tick: Evaluation,
        scene: Scene,
        fresh: int,
        caps: dict[str, State] | None = None,
    ) -> list[Output]:
        """Let the rules of one scope look, and say what follows; rows change only if it does."""
        known = state.scopes.get(scene.scope)
        rules = self.engine.of(scene.scope)
        quiet = known is None and scene.quality is not Quality.UNKNOWN
        if quiet and not rules.met(scene.features):
            return []
        row = known or ScopeRow()
        look = rules.look(
            row, scene.features, scene.cause, elapsed=tick.elapsed, fresh=fresh, caps=caps
        )
        tick.moving = tick.moving or look.moving
        unknown, capped = row.unknown_since, row.capped
        out: list[Output] = [*self.decider.decide(state, row, look, scene)]
        row.capped = row.state is State.REDUCE and look.capped
        if row.unknown_since >= 0:
            tick.moving = True
        if known is None and not row.idle:
            state.scopes[scene.scope] = row
            state.mark(f"scope/{scene.scope}")
        elif known is not None and (
            look.changed or out or unknown != row.unknown_since or capped is not row.capped
        ):
            state.mark(f"scope/{scene.scope}")
        return out
