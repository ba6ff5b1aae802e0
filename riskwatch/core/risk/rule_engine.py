"""Which state follows: rules and asks of one kind of scope, and what they ask for now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.enums import Cause, State
from riskwatch.core.risk.tracker import RuleTracker, rule_severity, update_tracker
from riskwatch.core.rules import Condition, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.risk.config import Ask
    from riskwatch.core.risk.state import ScopeRow
    from riskwatch.core.rules import RulePack

RULES_GENERATION = "rules"
"""Name of generation 0."""


class RuleRequest(msgspec.Struct, frozen=True, gc=False):
    """What one active rule (or ask) wants.

    Attributes
    ----------
    rule : Rule
        Which.
    generation : str
        ``rules``, or the model generation that asks.
    state : State
        What it asks for, capped by its authority.
    severity : float
        Now; 0 where nothing is known now.
    capped : bool
        Whether whoever asks may reduce no more than a share of the firm's exposure.
    """

    rule: Rule
    generation: str
    state: State
    severity: float
    capped: bool = False

    @property
    def order(self) -> tuple[int, float]:
        """Sort key: the strictest first, then the most severe."""
        return (-self.state.rank, -self.severity)


class RuleEvaluation(msgspec.Struct, frozen=True, gc=False):
    """What the rules of a scope say at one moment.

    Attributes
    ----------
    requests : list of Request
        Active ones, the strictest and most severe first.
    severities : dict of str to float
        By rule id, of every rule that knows something.
    moving : bool
        Whether the passing of time alone may change the answer.
    changed : bool
        Whether a tracker changed.
    before : Rule or None
        The rule that led to the present state.
    """

    requests: list[RuleRequest]
    severities: dict[str, float]
    moving: bool
    changed: bool
    before: Rule | None

    @property
    def state(self) -> State:
        """What is asked for."""
        return self.requests[0].state if self.requests else State.NORMAL

    @property
    def capped(self) -> bool:
        """Whether only generations of bounded authority ask for REDUCE or more."""
        strict = [r.capped for r in self.requests if r.state.rank >= State.REDUCE.rank]
        return bool(strict) and all(strict)


def score_feature(generation: str, target: str) -> str:
    """Name of the feature that holds a generation's probability."""
    return f"p.{generation}.{target}"


def ask_rule(ask: Ask, scope_kind: str) -> Rule:
    """Make the rule that tracks what a model asks for."""
    return Rule(
        id=f"model.{ask.generation}.{ask.target}.{ask.state.value}",
        scope_kind=scope_kind,
        state=ask.state,
        any=(Condition(feature=score_feature(ask.generation, ask.target), at=ask.at),),
        unless_cause=ask.unless_cause,
        dwell_s=ask.dwell_s,
        observations=ask.observations,
        exit=ask.exit,
        exit_dwell_s=ask.exit_dwell_s,
        text=f"{{scope}}: generation {ask.generation} gives {ask.target} a probability of "
        "{value}, acts from {at} on",
    )


class RuleEngine:
    """The rules and asks of one kind of scope.

    Parameters
    ----------
    pack : RulePack
        Static rules.
    scope_kind : str
        Which of them.
    asks : tuple of Ask
        What models may ask for of this kind of scope.
    """

    def __init__(self, pack: RulePack, scope_kind: str, asks: tuple[Ask, ...] = ()) -> None:
        self.rules: tuple[tuple[Rule, str], ...] = tuple(
            (rule, RULES_GENERATION) for rule in pack.of(scope_kind)
        ) + tuple((ask_rule(ask, scope_kind), ask.generation) for ask in asks)
        self._lowest: dict[str, float] = {}
        for rule, _ in self.rules:
            for condition in rule.any:
                known = self._lowest.get(condition.feature, condition.at)
                self._lowest[condition.feature] = min(known, condition.at)

    def has_met_condition(self, features: Mapping[str, float]) -> bool:
        """Whether any condition of any rule is met."""
        for feature, lowest in self._lowest.items():
            value = features.get(feature)
            if value is not None and value >= lowest:
                return True
        return False

    def holding(self, row: ScopeRow) -> list[Rule]:
        """Rules that ask for HALT, or would once their dwell is over; silence clears none.

        A model's ask counts as well, whatever its authority is now.
        """
        found = []
        for rule, _ in self.rules:
            tracker = row.trackers.get(rule.id)
            if rule.state is State.HALT and tracker is not None and not tracker.is_idle:
                found.append(rule)
        return found

    def state_after_release(self, row: ScopeRow) -> State:
        """The strictest state below HALT that static rules ask for now."""
        asked = [State.NORMAL]
        for rule, generation in self.rules:
            tracker = row.trackers.get(rule.id)
            if generation == RULES_GENERATION and tracker is not None and tracker.active:
                asked.append(rule.state)
        return max((s for s in asked if s is not State.HALT), key=lambda s: s.rank)

    def evaluate(
        self,
        row: ScopeRow,
        features: Mapping[str, float],
        cause: Cause,
        *,
        elapsed: int,
        fresh: int,
        caps: Mapping[str, State] | None = None,
    ) -> RuleEvaluation:
        """Let every rule see the present.

        Parameters
        ----------
        row : ScopeRow
            Its trackers are changed in place.
        features : mapping
            What is known now.
        cause : Cause
            What moved.
        elapsed : int
            Event time since the last look, microseconds.
        fresh : int
            Fresh observations since then.
        caps : mapping, optional
            Strictest state that may be asked for on account of a score, by the feature that
            holds it (:func:`score_name`); one that is not named may ask for nothing.
        """
        if not row.trackers and row.state is State.NORMAL and not self.has_met_condition(features):
            return NO_REQUESTS
        requests: list[RuleRequest] = []
        severities: dict[str, float] = {}
        moving = changed = False
        before: Rule | None = None
        for rule, generation in self.rules:
            if rule.id == row.rule:
                before = rule
            severity = rule_severity(rule, features)
            if severity is not None:
                severities[rule.id] = severity
            tracker = _tracker(row, rule, severity)
            if tracker is None:
                continue
            changed = update_tracker(tracker, rule, severity, cause, elapsed, fresh) or changed
            moving = moving or tracker.moving
            if tracker.active:
                state, bound = _capped(rule, generation, caps)
                requests.append(RuleRequest(rule, generation, state, severity or 0.0, bound))
            elif tracker.is_idle:
                del row.trackers[rule.id]
        requests.sort(key=lambda r: r.order)
        return RuleEvaluation(requests, severities, moving, changed, before)


NO_REQUESTS: Final = RuleEvaluation([], {}, moving=False, changed=False, before=None)
"""Nothing is met and nothing is remembered: what most looks come to."""


def _tracker(row: ScopeRow, rule: Rule, severity: float | None) -> RuleTracker | None:
    """Tracker of a rule on a scope; made when its threshold is first met, else ``None``."""
    tracker = row.trackers.get(rule.id)
    if tracker is None and severity is not None and severity >= 1.0:
        tracker = row.trackers[rule.id] = RuleTracker()
    return tracker


def _capped(rule: Rule, generation: str, caps: Mapping[str, State] | None) -> tuple[State, bool]:
    """What a rule or ask comes to, and whether it is one of bounded authority."""
    if generation == RULES_GENERATION:
        return rule.state, False
    cap = (caps or {}).get(rule.any[0].feature, State.NORMAL)
    return min(rule.state, cap, key=lambda s: s.rank), cap is State.REDUCE
