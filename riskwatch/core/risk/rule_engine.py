"""The rule engine: evaluates the rules and asks of each kind of scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.enums import Cause, Restriction, State, strictest
from riskwatch.core.restriction import Restrictions, combine
from riskwatch.core.risk.config import RiskConfig
from riskwatch.core.risk.limits import LIMIT_FEATURES
from riskwatch.core.risk.scorer import RULES_GENERATION
from riskwatch.core.risk.tracker import RuleTracker, update_tracker
from riskwatch.core.rules import Condition, Rule, requested_state
from riskwatch.core.scopes import KINDS, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.risk.config import Ask
    from riskwatch.core.risk.state import AdvisoryRow, ScopeRow
    from riskwatch.core.rules import RulePack


class RuleRequest(msgspec.Struct, frozen=True, gc=False):
    """The state that one active rule (or ask) requests.

    Attributes
    ----------
    rule : Rule
        The rule.
    generation : str
        ``rules``, or the model generation that asks.
    state : State
        The requested state, capped by the generation's authority.
    severity : float
        Present severity; 0 if none of the rule's features is known now.
    capped : bool
        Whether the generation may reduce no more than a share of the firm's exposure.
    """

    rule: Rule
    generation: str
    state: State
    severity: float
    capped: bool = False

    @property
    def ground(self) -> tuple[Restriction, State]:
        """What it restricts, and the requested state; the engine has resolved the restriction."""
        return restriction_of(self.rule, self.state)

    @property
    def order(self) -> tuple[int, float]:
        """Sort key: the strictest first, then the most severe."""
        return (-self.state.rank, -self.severity)


class RuleEvaluation(msgspec.Struct, frozen=True, gc=False):
    """The result of evaluating the rules of one scope.

    Attributes
    ----------
    requests : list of RuleRequest
        Requests of active rules, the strictest and most severe first.
    severities : dict of str to float
        Severity by rule id, of every rule of which a feature is known.
    decisive : dict of str to Condition
        By rule id, the condition that gives the severity.
    moving : bool
        Whether the passing of time alone may change the result.
    changed : bool
        Whether a tracker changed.
    before : Rule or None
        The rule that led to the present state.
    """

    requests: list[RuleRequest]
    severities: dict[str, float]
    decisive: dict[str, Condition]
    moving: bool
    changed: bool
    before: Rule | None

    @property
    def leading(self) -> RuleRequest | None:
        """The strictest and most severe request; ``None`` if there is none."""
        return self.requests[0] if self.requests else None

    @property
    def state(self) -> State:
        """The strictest requested state; NORMAL if there is no request."""
        return self.requests[0].state if self.requests else State.NORMAL

    def holding(self, state: State) -> list[str]:
        """Return the ids of the rules and asks that request `state` or a stricter one, sorted."""
        return sorted(r.rule.id for r in self.requests if r.state.rank >= state.rank)

    @property
    def restrictions(self) -> Restrictions:
        """What all requests together restrict."""
        return combine(r.ground for r in self.requests)

    @property
    def capped(self) -> bool:
        """Whether only generations of bounded authority ask for REDUCE or more."""
        strict = [r.capped for r in self.requests if r.state.rank >= State.REDUCE.rank]
        return bool(strict) and all(strict)


def restriction_of(rule: Rule, state: State) -> tuple[Restriction, State]:
    """Return what a rule restricts, and a state; a rule that says nothing restricts everything."""
    stated = rule.restriction
    return (Restriction.FULL if stated is msgspec.UNSET else stated), state


def score_feature(generation: str, target: str) -> str:
    """Name of the feature that holds a generation's probability."""
    return f"p.{generation}.{target}"


def ask_rule(ask: Ask) -> Rule:
    """Return the rule that tracks an ask of a model."""
    return Rule(
        id=ask.rule_id,
        scope_kind=ask.scope_kind,
        state=ask.state,
        any=(Condition(feature=score_feature(ask.generation, ask.target), at=ask.at),),
        unless_cause=ask.unless_cause,
        dwell_s=ask.dwell_s,
        observations=ask.observations,
        exit=ask.exit,
        exit_dwell_s=ask.exit_dwell_s,
        text=f"{{scope}}: generation {ask.generation} gives {ask.target} a probability of "
        "{value}, acts from {at} on",
        mode=ask.mode,
        restriction=ask.restriction,
    )


class RuleEngine:
    """The rules and asks of every kind of scope.

    It is the only place that knows which rules apply to a scope. The stage, the preview of a
    release, and the check of a stored decision use it.

    Parameters
    ----------
    pack : RulePack
        Static rules.
    config : RiskConfig, optional
        Asks of models, of any kind of scope, and what is advisory; no asks by default.

    Examples
    --------
    >>> from riskwatch.core.risk.config import Ask
    >>> from riskwatch.core.rules import RulePack
    >>> ask = Ask(target="t", generation="g", state=State.HALT, at=0.9, scope_kind="counterparty")
    >>> engine = RuleEngine(RulePack(rules=()), RiskConfig(asks=(ask,)))
    >>> [rule.id for rule, _ in engine.of("counterparty:kraken").rules]
    ['model.g.t.HALT']
    >>> engine.of("asset:USDC").rules
    ()
    """

    def __init__(self, pack: RulePack, config: RiskConfig | None = None) -> None:
        config = config or RiskConfig()
        asks = [(ask_rule(ask), ask.generation) for ask in config.asks]
        self._binding: dict[str, ScopeRules] = {}
        self._advisory: dict[str, ScopeRules] = {}
        self._on_limits: dict[str, ScopeRules] = {}
        for kind in KINDS:
            known = [(rule, RULES_GENERATION) for rule in pack.of(kind)]
            known += [each for each in asks if each[0].scope_kind == kind]
            known = [(_resolved(rule, config), generation) for rule, generation in known]
            binding = [e for e in known if not config.is_advisory(e[0].id, e[0].mode)]
            advisory = [e for e in known if config.is_advisory(e[0].id, e[0].mode)]
            limits = [e for e in binding if any(c.feature in LIMIT_FEATURES for c in e[0].any)]
            self._binding[kind] = ScopeRules(*binding)
            self._advisory[kind] = ScopeRules(*advisory)
            self._on_limits[kind] = ScopeRules(*advisory, *limits)

    def of(self, scope: str) -> ScopeRules:
        """Return the binding rules and asks that apply to a scope.

        Raises
        ------
        ValueError
            If `scope` is not a valid scope.
        """
        return self._binding[parse(scope).kind]

    def advisory(self, scope: str, *, limits: bool = False) -> ScopeRules:
        """Rules and asks that say of a scope what they would have done, and bind nobody.

        Parameters
        ----------
        scope : str
            Which scope.
        limits : bool
            Whether there are advisory limits: then the binding rules on limits look, too, at what
            these limits say.

        Raises
        ------
        ValueError
            If it is no scope.
        """
        return (self._on_limits if limits else self._advisory)[parse(scope).kind]

    @property
    def advises(self) -> bool:
        """Whether any rule or ask only advises."""
        return any(each.rules for each in self._advisory.values())


class ScopeRules:
    """The rules and asks of one kind of scope.

    Parameters
    ----------
    *rules : tuple of (Rule, str)
        Each rule with its generation; static rules first, in file order.
    """

    def __init__(self, *rules: tuple[Rule, str]) -> None:
        self.rules = rules
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
        """Return the rules that request HALT now, or will once their dwell time has passed.

        Missing data clears none of them. A model's ask counts whatever its authority is now.
        """
        found = []
        for rule, _ in self.rules:
            tracker = row.trackers.get(rule.id)
            if rule.state is State.HALT and tracker is not None and not tracker.is_idle:
                found.append(rule)
        return found

    def state_after_release(self, row: ScopeRow) -> State:
        """Return the strictest state below HALT that static rules request now."""
        return strictest(rule.state for rule in self.active_below_halt(row))

    def active_below_halt(self, row: ScopeRow) -> list[Rule]:
        """Return the static rules that request a state below HALT now, the strictest first."""
        active = []
        for rule, generation in self.rules:
            tracker = row.trackers.get(rule.id)
            if generation == RULES_GENERATION and tracker is not None and tracker.active:
                active.append(rule)
        below = [rule for rule in active if rule.state is not State.HALT]
        return sorted(below, key=lambda rule: -rule.state.rank)

    def restrictions_after_release(self, row: ScopeRow) -> Restrictions:
        """Return what the static rules below HALT restrict now."""
        return combine(restriction_of(rule, rule.state) for rule in self.active_below_halt(row))

    def evaluate(
        self,
        row: ScopeRow | AdvisoryRow,
        features: Mapping[str, float],
        cause: Cause,
        *,
        elapsed: int,
        fresh: int,
        caps: Mapping[str, State] | None = None,
    ) -> RuleEvaluation:
        """Evaluate every rule, and update its tracker.

        Parameters
        ----------
        row : ScopeRow
            Row of the scope; its trackers are changed in place.
        features : mapping
            Present features.
        cause : Cause
            Cause of the present movement.
        elapsed : int
            Event time since the last evaluation, microseconds.
        fresh : int
            Fresh observations since then.
        caps : mapping, optional
            Strictest state that an ask may request because of a score, by the feature that
            holds the score (:func:`score_feature`); an ask on any other score requests nothing.
        """
        if not row.trackers and row.state is State.NORMAL and not self.has_met_condition(features):
            return NO_REQUESTS
        requests: list[RuleRequest] = []
        severities: dict[str, float] = {}
        decisive: dict[str, Condition] = {}
        moving = changed = False
        before: Rule | None = None
        for rule, generation in self.rules:
            if rule.id == row.rule:
                before = rule
            measured, condition = rule.severity(features)
            severity = None if condition is None else measured
            if condition is not None:
                severities[rule.id], decisive[rule.id] = measured, condition
            tracker = _tracker(row, rule, severity)
            if tracker is None:
                continue
            changed = update_tracker(tracker, rule, severity, cause, elapsed, fresh) or changed
            moving = moving or tracker.moving
            if tracker.active:
                state, bound = _capped(rule, generation, caps)
                state = state.at_most(requested_state(rule, condition, features))
                requests.append(RuleRequest(rule, generation, state, measured, bound))
            elif tracker.is_idle:
                del row.trackers[rule.id]
        requests.sort(key=lambda r: r.order)
        return RuleEvaluation(requests, severities, decisive, moving, changed, before)


def _resolved(rule: Rule, config: RiskConfig) -> Rule:
    """Return a rule with the restriction that the policy gives it."""
    found = config.restriction.of(rule.id, rule.scope_kind, rule.restriction)
    return msgspec.structs.replace(rule, restriction=found)


NO_REQUESTS: Final = RuleEvaluation([], {}, {}, moving=False, changed=False, before=None)
"""The most frequent result: no condition is met and there is no tracker."""


def _tracker(row: ScopeRow | AdvisoryRow, rule: Rule, severity: float | None) -> RuleTracker | None:
    """Return the tracker of a rule, created when its threshold is first met; else ``None``."""
    tracker = row.trackers.get(rule.id)
    if tracker is None and severity is not None and severity >= 1.0:
        tracker = row.trackers[rule.id] = RuleTracker()
    return tracker


def _capped(rule: Rule, generation: str, caps: Mapping[str, State] | None) -> tuple[State, bool]:
    """Return the state a rule or ask may request, and whether its authority is bounded."""
    if generation == RULES_GENERATION:
        return rule.state, False
    cap = (caps or {}).get(rule.any[0].feature, State.NORMAL)
    return rule.state.at_most(cap), cap is State.REDUCE
