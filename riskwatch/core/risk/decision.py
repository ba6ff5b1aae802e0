"""What is said when a scope changes: the decision with its grounds, the switch, the alert."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.ids import output_id
from riskwatch.core.money import usd
from riskwatch.core.outputs import AlertRaised, AlertResolved, DecisionMade, KillSwitchChanged
from riskwatch.core.risk.explanation import (
    ExposureAtStake,
    contributions,
    counterfactual,
    decision_reasons,
    leading_feature,
    request_cause,
    rule_thresholds,
)
from riskwatch.core.risk.rule_engine import (
    RULES_GENERATION,
    RuleEngine,
    RuleEvaluation,
    RuleRequest,
)
from riskwatch.core.risk.stakes import TickContext
from riskwatch.core.risk.state import AlertBudgetRow, ControlRow, ScopeRow

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output, Unwind
    from riskwatch.core.risk.config import PeopleConfig, RiskConfig
    from riskwatch.core.risk.explanation import EvaluationContext
    from riskwatch.core.risk.features import Features
    from riskwatch.core.risk.stakes import StakesCalculator
    from riskwatch.core.risk.state import RiskState
    from riskwatch.core.rules import RulePack


# What is said when people, or the end of what they did, move a scope.

OPERATOR: Final = "operator"
"""Stands where the generation of a decision stands, if people decided."""


class ChangeOrigin(msgspec.Struct, frozen=True):
    """Who or what moves a scope, when (microseconds), and why."""

    cause_id: str
    us: int
    action: str
    reasons: list[str]


class OperatorDecider:
    """Makes decisions, switches and alerts of what people do.

    Parameters
    ----------
    config : RiskConfig
        Life times.
    stakes_calculator : Dollars
        What is at stake.
    """

    def __init__(self, config: RiskConfig, dollars: StakesCalculator) -> None:
        self.config = config
        self.stakes_calculator = dollars

    def set_state(self, state: RiskState, scope: str, to: State, by: ChangeOrigin) -> list[Output]:
        """Move a scope to a state: the decision, the switch, the alert."""
        row = state.scopes.get(scope)
        if row is None:
            row = state.scopes[scope] = ScopeRow()
        stakes = self.stakes(state, by.us, scope)
        decision = DecisionMade(
            id=output_id(by.cause_id, "DecisionMade", scope),
            cause_id=by.cause_id,
            ts=moment(by.us),
            scope=scope,
            previous=row.state,
            state=to,
            quality=row.quality,
            cause=Cause.OPERATOR,
            generation=OPERATOR,
            rule=f"{OPERATOR}.{by.action}",
            reasons=by.reasons,
            features={},
            contributions={},
            limits={},
            support=[],
            refute=[],
            flip={"needed": "another command"},
            exposure_usd=usd(stakes.exposure),
            el_usd=usd(stakes.el),
            exit_cost_usd=usd(stakes.exit_cost),
        )
        row.state, row.cause, row.decision_id = to, Cause.OPERATOR, decision.id
        row.rule, row.generation, row.reasons = decision.rule, OPERATOR, list(by.reasons)
        out: list[Output] = [decision, self.switch(state, scope, by)]
        if to is State.HALT:
            out.append(self.alert(state, scope, by, stakes))
        elif to is State.NORMAL:
            out += resolve_alerts(state, scope, by)
        return out

    def switch(self, state: RiskState, scope: str, by: ChangeOrigin) -> KillSwitchChanged:
        """Say where a switch stands, with what passes in spite of it."""
        row = state.scopes[scope]
        # What is dark stays dark until the rules have looked again.
        dark = row.quality is Quality.UNKNOWN and row.unknown_since >= 0
        row.effective = max(row.state, State.REDUCE, key=_rank) if dark else row.state
        state.mark(f"scope/{scope}")
        return KillSwitchChanged(
            id=output_id(by.cause_id, "KillSwitchChanged", scope),
            cause_id=by.cause_id,
            ts=moment(by.us),
            scope=scope,
            state=row.state,
            effective=row.effective,
            quality=row.quality,
            reasons=list(row.reasons) if row.state is not State.NORMAL else [],
            cause=row.cause,
            decision_id=row.decision_id,
            generation=row.generation,
            valid_until=moment(by.us) + timedelta(seconds=self.config.valid_s),
            unwind=unwind_allowance(state, scope),
        )

    def alert(
        self, state: RiskState, scope: str, by: ChangeOrigin, stakes: ExposureAtStake
    ) -> AlertRaised:
        """Tell people that one of them halted a scope, whatever we have on it."""
        row = state.scopes[scope]
        raised = AlertRaised(
            id=output_id(by.cause_id, "AlertRaised", scope),
            cause_id=by.cause_id,
            ts=moment(by.us),
            alert=scope,
            scope=scope,
            severity=row.state,
            cause=Cause.OPERATOR,
            title=f"{scope} is {row.state.value}: {by.action}",
            reasons=list(by.reasons),
            exposure_usd=usd(stakes.exposure),
            decision_id=row.decision_id or None,
        )
        row.alert_id, row.alert_state = row.alert_id or raised.id, row.state
        return raised

    def stakes(self, state: RiskState, us: int, scope: str) -> ExposureAtStake:
        """Our dollars on a scope, at this moment's prices."""
        tick = TickContext(us, due=False)
        kind, _, name = scope.partition(":")
        if kind == "asset":
            return self.stakes_calculator.asset(state, tick, name)
        if kind == "counterparty":
            return self.stakes_calculator.party(state, tick, name)
        if kind == "venue-asset":
            venue, _, asset = name.partition("/")
            return self.stakes_calculator.venue_asset(state, tick, venue, asset)
        if kind in ("book", "firm"):
            return self.stakes_calculator.book(state, tick, kind, name)
        return ExposureAtStake(0.0, 0.0, 0.0)


def unwind_allowance(state: RiskState, scope: str) -> Unwind | None:
    """What passes in spite of the HALT of a scope."""
    control = state.controls.get(scope)
    return None if control is None or control.unwind is None else control.unwind.allowance()


def resolve_alerts(state: RiskState, scope: str, by: ChangeOrigin) -> list[Output]:
    """End the paging about a scope."""
    row, out = state.scopes[scope], []
    for key, opened in ((scope, row.alert_id), (f"{scope}|data", row.dark_id)):
        if opened:
            out.append(alert_resolved(key, scope, opened, by))
    row.alert_id, row.alert_state, row.grounds, row.dark_id = "", State.NORMAL, [], ""
    state.mark(f"scope/{scope}")
    return list(out)


def alert_resolved(key: str, scope: str, opened: str, by: ChangeOrigin) -> AlertResolved:
    """Say that an alert is over."""
    return AlertResolved(
        id=output_id(by.cause_id, "AlertResolved", key),
        cause_id=by.cause_id,
        ts=moment(by.us),
        alert=key,
        scope=scope,
        opened_id=opened,
    )


def operator_alert(
    key: str, scope: str, title: str, by: ChangeOrigin, *, exposure: float = 0.0
) -> AlertRaised:
    """Tell people of something that waits for them, or that they should know."""
    return AlertRaised(
        id=output_id(by.cause_id, "AlertRaised", key),
        cause_id=by.cause_id,
        ts=moment(by.us),
        alert=key,
        scope=scope,
        severity=State.WATCH,
        cause=Cause.OPERATOR,
        title=title,
        reasons=list(by.reasons),
        exposure_usd=usd(exposure),
    )


def _rank(state: State) -> int:
    return state.rank


# How often people are paged about WATCH: a budget per month, and one alert for what is over it.

FOLDED_ALERT_KEY: Final = "firm|folded"
_MONTHS: Final = 12


def spend_alert_budget(state: RiskState, us: int, config: PeopleConfig) -> bool:
    """Spend one alert of WATCH of this month's budget, if there is one left.

    REDUCE and HALT do not ask.
    """
    month = month_of(us)
    if month > state.budget.month:
        state.budget = AlertBudgetRow(month, alert_id=state.budget.alert_id)
    state.mark("budget")
    if state.budget.raised >= config.watch_alerts_month:
        return False
    state.budget.raised += 1
    return True


def fold_alert(
    state: RiskState, scene: EvaluationContext, row: ScopeRow
) -> list[AlertRaised | AlertResolved]:
    """Put one more alert into the month's one; people hear of the 1st, 2nd, 4th, 8th, ..."""
    budget = state.budget
    by = ChangeOrigin(
        f"tick/{scene.us}", scene.us, "fold", [f"the last was {scene.scope}", *row.reasons[:1]]
    )
    out: list[AlertRaised | AlertResolved] = []
    if budget.folded == 0 and budget.alert_id:
        out.append(
            alert_resolved(FOLDED_ALERT_KEY, "firm", budget.alert_id, by)
        )  # an earlier month's
        budget.alert_id = ""
    budget.folded += 1
    if budget.folded & (budget.folded - 1) == 0:
        title = f"{budget.folded} alerts of WATCH over the budget of the month"
        raised = operator_alert(FOLDED_ALERT_KEY, "firm", title, by)
        budget.alert_id = budget.alert_id or raised.id
        out.append(raised)
    return out


def month_of(us: int) -> int:
    """Number of a calendar month of event time, UTC.

    Examples
    --------
    >>> month_of(0) - month_of(-1)
    1
    """
    at = moment(us)
    return at.year * _MONTHS + at.month


_NONE = ControlRow()
RiskOutput = DecisionMade | KillSwitchChanged | AlertRaised | AlertResolved


class DecisionMaker:
    """Turns looks into decisions, switches and alerts.

    Parameters
    ----------
    config : RiskConfig
        Life times and thresholds.
    """

    def __init__(self, config: RiskConfig) -> None:
        self.config = config

    def decide(
        self, state: RiskState, row: ScopeRow, look: RuleEvaluation, scene: EvaluationContext
    ) -> list[RiskOutput]:
        """Move a scope to the state that follows, and say so if anything changed."""
        out: list[RiskOutput] = []
        control = state.controls.get(scene.scope, _NONE)
        to = _asked(row, look, control)
        decided = to is not row.state
        if decided:
            out.append(self._decision(row, to, look, scene))
        unwind = None if control.unwind is None else control.unwind.allowance()
        out += self._switch(row, scene, unwind, decided=decided)
        if control.retired is None:  # nobody is paged about what is closed for good
            out += self._alerts(state, row, look, scene)
        return out

    def _decision(
        self, row: ScopeRow, state: State, look: RuleEvaluation, scene: EvaluationContext
    ) -> DecisionMade:
        leading = look.requests[0] if look.requests else None
        cause = Cause.NONE if leading is None else request_cause(leading, scene)
        stakes = scene.stakes()
        cause_id = f"tick/{scene.us}"
        decision = DecisionMade(
            id=output_id(cause_id, "DecisionMade", scene.scope),
            cause_id=cause_id,
            ts=moment(scene.us),
            scope=scene.scope,
            previous=row.state,
            state=state,
            quality=scene.quality,
            cause=cause,
            generation=RULES_GENERATION if leading is None else leading.generation,
            rule=row.rule if leading is None else leading.rule.id,
            reasons=decision_reasons(row, look, scene, cause, stakes),
            features=dict(sorted(scene.features.items())),
            contributions=contributions(look, leading, scene),
            limits={} if leading is None else rule_thresholds(leading.rule),
            support=scene.support,
            refute=scene.refute,
            flip=counterfactual(row, state, look, scene),
            exposure_usd=usd(stakes.exposure),
            el_usd=usd(stakes.el),
            exit_cost_usd=usd(stakes.exit_cost),
        )
        row.state, row.cause, row.decision_id = state, cause, decision.id
        row.rule, row.generation = decision.rule, decision.generation
        row.reasons = decision.reasons
        return decision

    def _switch(
        self, row: ScopeRow, scene: EvaluationContext, unwind: Unwind | None, *, decided: bool
    ) -> list[RiskOutput]:
        """Put the switch where state and quality of data want it."""
        dark = False
        if scene.quality is Quality.UNKNOWN:
            if row.unknown_since < 0:
                row.unknown_since = scene.us
            long_ago = scene.us - row.unknown_since > self.config.unknown_reduce_s * SECOND
            # Silence may end by itself; a worker that is down does not.
            if long_ago or scene.doubt:
                dark = scene.stakes().exposure >= self.config.alert_from_usd
        else:
            row.unknown_since = -1
        effective = max(row.state, State.REDUCE, key=_rank) if dark else row.state
        turned = effective is not row.effective
        told = row.quality is not scene.quality and (
            effective is not State.NORMAL or Quality.UNKNOWN in (row.quality, scene.quality)
        )
        if not (turned or told or decided):
            return []
        row.effective, row.quality = effective, scene.quality
        reasons = list(row.reasons) if row.state is not State.NORMAL else []
        if dark:
            reasons.insert(0, _silence(row, scene))
        cause_id = f"tick/{scene.us}"
        return [
            KillSwitchChanged(
                id=output_id(cause_id, "KillSwitchChanged", scene.scope),
                cause_id=cause_id,
                ts=moment(scene.us),
                scope=scene.scope,
                state=row.state,
                effective=effective,
                quality=scene.quality,
                reasons=reasons,
                cause=row.cause,
                decision_id=row.decision_id,
                generation=row.generation,
                valid_until=moment(scene.us) + timedelta(seconds=self.config.valid_s),
                unwind=unwind,
            )
        ]

    def _alerts(
        self, state: RiskState, row: ScopeRow, look: RuleEvaluation, scene: EvaluationContext
    ) -> list[RiskOutput]:
        """Tell people, if it is about their money; tell them more; and when it is over."""
        out: list[RiskOutput] = []
        silenced = state.controls.get(scene.scope, _NONE).silence is not None
        if row.state is State.NORMAL:
            if row.alert_id:
                out.append(_resolved(scene, scene.scope, row.alert_id))
                row.alert_id = ""
            row.alert_state, row.grounds = State.NORMAL, []
            return out + self._dark(row, scene, silenced=silenced)
        entered = row.state is not row.alert_state
        known = [] if entered else row.grounds
        # A limit that was breached first must not hide that withdrawals have stopped since.
        added = [
            r
            for r in look.requests
            if r.state.rank >= row.state.rank and leading_feature(r, scene) not in known
        ]
        # A silence ends, so what was not told meanwhile is told then; a HALT is told at once.
        if (entered or added) and (not silenced or row.state is State.HALT):
            stakes = scene.stakes()
            if stakes.exposure >= self.config.alert_from_usd:
                if row.state is State.WATCH and not spend_alert_budget(
                    state, scene.us, self.config.people
                ):
                    out += fold_alert(state, scene, row)
                    row.alert_state = row.state
                else:
                    out.append(self._raise(row, look, scene, stakes, added, entered=entered))
                row.grounds = sorted({*known, *(leading_feature(r, scene) for r in added)})
        return out + self._dark(row, scene, silenced=silenced)

    def _raise(
        self,
        row: ScopeRow,
        look: RuleEvaluation,
        scene: EvaluationContext,
        stakes: ExposureAtStake,
        added: list[RuleRequest],
        *,
        entered: bool,
    ) -> AlertRaised:
        """Raise the alert of a scope, for the first time or with more to say."""
        cause, reasons = row.cause, row.reasons
        title = f"{scene.scope} is {row.state.value}"
        if not entered:
            cause = request_cause(added[0], scene)
            reasons = decision_reasons(row, look, scene, cause, stakes)
            feature = leading_feature(added[0], scene)
            title = f"{scene.scope} is {row.state.value}, now also by {feature}"
        raised = _raised(scene, scene.scope, row, title, stakes, (row.state, cause, reasons))
        row.alert_id = row.alert_id or raised.id
        row.alert_state = row.state
        return raised

    def _dark(self, row: ScopeRow, scene: EvaluationContext, *, silenced: bool) -> list[RiskOutput]:
        """Tell people that a scope they hold something of is restricted for want of data."""
        dark = row.effective is not row.state
        key = f"{scene.scope}|data"
        if dark and not row.dark_id and not silenced:
            title = f"{scene.scope}: no data, effective {row.effective.value}"
            stakes = scene.stakes()
            reasons = [
                _silence(row, scene),
                f"we have {stakes.exposure:,.0f} USD on it; this ends by itself when data is back",
            ]
            said = (State.WATCH, Cause.FEED, reasons)
            raised = _raised(scene, key, row, title, stakes, said)
            row.dark_id = raised.id
            return [raised]
        if not dark and row.dark_id:
            gone, row.dark_id = row.dark_id, ""
            return [_resolved(scene, key, gone)]
        return []


def _raised(
    scene: EvaluationContext,
    key: str,
    row: ScopeRow,
    title: str,
    stakes: ExposureAtStake,
    said: tuple[State, Cause, list[str]],
) -> AlertRaised:
    """Make an alert; `said` is how grave it is, its cause, and why."""
    cause_id = f"tick/{scene.us}"
    severity, cause, reasons = said
    return AlertRaised(
        id=output_id(cause_id, "AlertRaised", key),
        cause_id=cause_id,
        ts=moment(scene.us),
        alert=key,
        scope=scene.scope,
        severity=severity,
        cause=cause,
        title=title,
        reasons=list(reasons),
        exposure_usd=usd(stakes.exposure),
        decision_id=row.decision_id or None,
    )


def _silence(row: ScopeRow, scene: EvaluationContext) -> str:
    """Say why there is no data, or for how long there has been none."""
    if scene.doubt:
        return f"{scene.scope}: {scene.doubt}"
    minutes = (scene.us - row.unknown_since) / SECOND / 60.0
    return f"{scene.scope}: nothing has been heard for {minutes:.0f} minutes"


def _resolved(scene: EvaluationContext, key: str, opened_id: str) -> AlertResolved:
    cause_id = f"tick/{scene.us}"
    return AlertResolved(
        id=output_id(cause_id, "AlertResolved", key),
        cause_id=cause_id,
        ts=moment(scene.us),
        alert=key,
        scope=scene.scope,
        opened_id=opened_id,
    )


def _asked(row: ScopeRow, look: RuleEvaluation, control: ControlRow) -> State:
    """State that follows: HALT latches, unless two people have overridden it for a while."""
    if row.state is State.HALT:
        return State.HALT  # nothing that is measured leads out of it
    if control.override is None:
        return look.state
    lifted = control.override.state
    below = [r.state for r in look.requests if r.state is not State.HALT]
    return max((lifted, *below), key=_rank)


# How the rules look at one scope, and what becomes of what they see.


class ScopeEvaluator:
    """Lets the rules and asks of a kind of scope look at one, and decides.

    Parameters
    ----------
    config : RiskConfig
        Asks, life times.
    rules : RulePack
        Static rules.
    stakes_calculator : Dollars
        What is at stake.
    """

    def __init__(self, config: RiskConfig, rules: RulePack, dollars: StakesCalculator) -> None:
        self.stakes_calculator = dollars
        self.decider = DecisionMaker(config)
        self.rule_engines = {
            kind: RuleEngine(rules, kind, tuple(a for a in config.asks if a.scope_kind == kind))
            for kind in ("asset", "venue-asset", "counterparty", "book", "firm")
        }

    def apply_bound(
        self, state: RiskState, tick: TickContext, scope: str, caps: dict[str, State]
    ) -> dict[str, State]:
        """Caps, where models of bounded authority may not reduce this scope as well."""
        if State.REDUCE not in caps.values() or self.stakes_calculator.is_within_bound(
            state, tick, scope
        ):
            return caps
        return {f: State.WATCH if cap is State.REDUCE else cap for f, cap in caps.items()}

    def is_idle(self, state: RiskState, kind: str, scope: str, bound: dict[str, Features]) -> bool:
        """Whether there is nothing to say of a scope that only limits know, and no news at all."""
        if state.credit or scope in state.scopes:
            return False
        return not self.rule_engines[kind].has_met_condition(bound.get(scope, {}))

    def evaluate(
        self,
        state: RiskState,
        tick: TickContext,
        kind: str,
        scene: EvaluationContext,
        fresh: int,
        caps: dict[str, State] | None = None,
    ) -> list[Output]:
        """Let the rules of one scope look, and say what follows; rows change only if it does."""
        known = state.scopes.get(scene.scope)
        machine = self.rule_engines[kind]
        quiet = known is None and scene.quality is not Quality.UNKNOWN
        if quiet and not machine.has_met_condition(scene.features):
            return []
        row = known or ScopeRow()
        look = machine.evaluate(
            row, scene.features, scene.cause, elapsed=tick.elapsed, fresh=fresh, caps=caps
        )
        tick.moving = tick.moving or look.moving
        unknown, capped = row.unknown_since, row.capped
        out: list[Output] = [*self.decider.decide(state, row, look, scene)]
        row.capped = row.state is State.REDUCE and look.capped
        if row.unknown_since >= 0:
            tick.moving = True
        if known is None and not row.is_idle:
            state.scopes[scene.scope] = row
            state.mark(f"scope/{scene.scope}")
        elif known is not None and (
            look.changed or out or unknown != row.unknown_since or capped is not row.capped
        ):
            state.mark(f"scope/{scene.scope}")
        return out
