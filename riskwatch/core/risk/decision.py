"""Decisions: the new state of a scope, and the decision, switch and alerts that follow."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND, moment, rfc3339
from riskwatch.core.enums import Cause, Quality, Restriction, State, strictest
from riskwatch.core.money import usd
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    ControlChanged,
    DecisionMade,
    KillSwitchChanged,
    Origin,
)
from riskwatch.core.restriction import combine, latched, members_of, restrictions_at
from riskwatch.core.risk.explanation import (
    Rationale,
    decision_reasons,
    explain,
    leading_feature,
    request_cause,
)
from riskwatch.core.risk.limits import UNKNOWN_FEATURE
from riskwatch.core.risk.stakes import TickContext
from riskwatch.core.risk.state import (
    AlertBudgetRow,
    ControlRow,
    ScopeRow,
    begin_halt,
    end_halt,
)
from riskwatch.core.scopes import ASSET, FIRM, kind_of_scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from riskwatch.core.outputs import Output
    from riskwatch.core.restriction import Restrictions
    from riskwatch.core.risk.config import PeopleConfig, RiskConfig
    from riskwatch.core.risk.explanation import EvaluationContext, ExposureAtStake
    from riskwatch.core.risk.features import Features
    from riskwatch.core.risk.rule_engine import RuleEngine, RuleEvaluation, RuleRequest
    from riskwatch.core.risk.stakes import StakesCalculator
    from riskwatch.core.risk.state import RiskState


# The only writer of decisions, switches and alerts, both for rules and for operators.

OPERATOR: Final = "operator"
"""Generation of a decision that an operator made."""
NO_CONTROL: Final = ControlRow()
"""The row of a scope without any operator control; it is never changed."""


class Intervention(msgspec.Struct, frozen=True):
    """An operator's action on a scope, or its expiry: cause id, time (microseconds), reasons."""

    cause_id: str
    us: int
    action: str
    reasons: list[str]

    @property
    def origin(self) -> Origin:
        """Origin of the outputs: that event, at that time."""
        return Origin(self.cause_id, moment(self.us))

    @property
    def rationale(self) -> Rationale:
        """Rationale of the decision; only another command can change it."""
        return Rationale(
            cause=Cause.OPERATOR,
            generation=OPERATOR,
            rule=f"{OPERATOR}.{self.action}",
            reasons=self.reasons,
            flip={"needed": "another command"},
        )


class DecisionWriter:
    """Sets the state of scopes, and writes decisions, switches and alerts.

    Parameters
    ----------
    config : RiskConfig
        Settings of the stage; `valid_s` is how long a switch is valid.
    stakes_calculator : StakesCalculator
        Computes the exposure at stake for operators' decisions.
    """

    def __init__(self, config: RiskConfig, stakes_calculator: StakesCalculator) -> None:
        self.config = config
        self.stakes_calculator = stakes_calculator

    def move(
        self,
        row: ScopeRow,
        scope: str,
        to: State,
        why: Rationale,
        stakes: ExposureAtStake,
        origin: Origin,
        *,
        quality: Quality,
        restrictions: Mapping[Restriction, State],
    ) -> DecisionMade:
        """Set the state of a scope, and return the decision.

        `quality` is that of its data now, `restrictions` what is known of what the state restricts.
        """
        row.restriction = restrictions_at(to, restrictions)
        decision = DecisionMade(
            **origin.stamp(DecisionMade, scope),
            scope=scope,
            previous=row.state,
            state=to,
            quality=quality,
            restriction=dict(row.restriction),
            **why.fields(stakes),
        )
        row.state, row.cause, row.decision_id = to, why.cause, decision.id
        row.rule, row.generation, row.reasons = why.rule, why.generation, list(why.reasons)
        row.held_by = []
        return decision

    def switch(
        self,
        state: RiskState,
        scope: str,
        row: ScopeRow,
        origin: Origin,
        *,
        dark: bool,
        notes: Iterable[str] = (),
    ) -> KillSwitchChanged:
        """Set the effective state of a switch, and return the change.

        Parameters
        ----------
        state : RiskState
            Its controls give the unwind that is allowed in spite of a HALT.
        scope, row
            The scope and its row.
        origin : Origin
            Origin of the change.
        dark : bool
            Whether the scope is restricted because data is missing.
        notes : iterable of str
            Reasons in addition to those of the last decision.
        """
        row.effective = effective(row.state, dark=dark)
        row.members = members_of(scope, self.stakes_calculator.reference)
        reasons = [*notes, *(row.reasons if row.state is not State.NORMAL else ())]
        grant = state.controls.get(scope, NO_CONTROL).grant_in_force(row.decision_id)
        return KillSwitchChanged(
            **origin.stamp(KillSwitchChanged, scope),
            scope=scope,
            state=row.state,
            effective=row.effective,
            quality=row.quality,
            reasons=reasons,
            cause=row.cause,
            decision_id=row.decision_id,
            generation=row.generation,
            valid_until=origin.ts + timedelta(seconds=self.config.valid_s),
            unwind=None if grant is None else grant.allowance(),
            restriction=effective_restrictions(row, dark=dark),
            members=list(row.members),
        )

    def alert(
        self,
        row: ScopeRow,
        scope: str,
        title: str,
        cause: Cause,
        reasons: list[str],
        stakes: ExposureAtStake,
        origin: Origin,
    ) -> AlertRaised:
        """Raise the alert about the state of a scope; it keeps its id until it is resolved."""
        raised = alert_raised(
            origin,
            scope,
            scope,
            title,
            severity=row.state,
            cause=cause,
            reasons=reasons,
            stakes=stakes,
            decision_id=row.decision_id,
        )
        row.alert_id, row.alert_state = row.alert_id or raised.id, row.state
        return raised

    def intervene(
        self,
        state: RiskState,
        scope: str,
        to: State,
        by: Intervention,
        restrictions: Mapping[Restriction, State],
    ) -> list[Output]:
        """Set the state of a scope by an operator's action: decision, switch and alert.

        `restrictions` is what the state restricts; without an entry at `to`, everything.
        """
        row = state.scopes.get(scope)
        if row is None:
            row = state.scopes[scope] = ScopeRow()
        stakes = self.stakes_calculator.on(state, TickContext(by.us, due=False), scope)
        why, origin = by.rationale, by.origin
        if to is not State.HALT:
            end_halt(state, scope)
        elif row.state is not State.HALT:
            begin_halt(state, scope, by.us)
        out: list[Output] = [
            self.move(
                row, scope, to, why, stakes, origin, quality=row.quality, restrictions=restrictions
            ),
            self.restate(state, scope, by),
        ]
        if to is State.HALT:
            # The alert of an operator's HALT does not depend on our exposure.
            title = f"{scope} is {to.value}: {by.action}"
            out.append(self.alert(row, scope, title, why.cause, why.reasons, stakes, origin))
        elif to is State.NORMAL:
            out += resolve_alerts(state, scope, by)
        return out

    def restate(self, state: RiskState, scope: str, by: Intervention) -> KillSwitchChanged:
        """Return the present state of a switch.

        A restriction for missing data lasts until the next evaluation of the rules.
        """
        row = state.scopes[scope]
        dark = row.quality is Quality.UNKNOWN and row.unknown_since >= 0
        state.mark(f"scope/{scope}")
        return self.switch(state, scope, row, by.origin, dark=dark)


def effective_restrictions(row: ScopeRow, *, dark: bool) -> Restrictions:
    """Return what the effective state of a switch restricts.

    Missing data restricts as market risk does: it never stops reducing orders and hedges.
    """
    found = restrictions_at(row.state, row.restriction)
    return combine([*found.items(), (Restriction.MARKET, State.REDUCE)]) if dark else found


def effective(state: State, *, dark: bool) -> State:
    """Return the state that applies to orders: at least REDUCE if data is missing for too long."""
    return strictest((state, State.REDUCE)) if dark else state


def alert_raised(
    origin: Origin,
    key: str,
    scope: str,
    title: str,
    *,
    severity: State,
    cause: Cause,
    reasons: list[str],
    stakes: ExposureAtStake | None = None,
    decision_id: str = "",
) -> AlertRaised:
    """Return an alert; `stakes` and `decision_id` are given if it concerns them."""
    return AlertRaised(
        **origin.stamp(AlertRaised, key),
        alert=key,
        scope=scope,
        severity=severity,
        cause=cause,
        title=title,
        reasons=list(reasons),
        exposure_usd=usd(0.0 if stakes is None else stakes.exposure),
        decision_id=decision_id or None,
    )


def alert_resolved(origin: Origin, key: str, scope: str, opened_id: str) -> AlertResolved:
    """Return the end of an alert."""
    return AlertResolved(
        **origin.stamp(AlertResolved, key), alert=key, scope=scope, opened_id=opened_id
    )


def operator_alert(
    key: str, scope: str, title: str, by: Intervention, origin: Origin | None = None
) -> AlertRaised:
    """Return an alert about an operator's action, such as a request that awaits approval."""
    return alert_raised(
        origin or by.origin,
        key,
        scope,
        title,
        severity=State.WATCH,
        cause=Cause.OPERATOR,
        reasons=by.reasons,
    )


def resolve_alerts(state: RiskState, scope: str, by: Intervention) -> list[Output]:
    """Resolve the open alerts of a scope: its state alert and its data alert."""
    row = state.scopes[scope]
    out: list[Output] = [
        alert_resolved(by.origin, key, scope, opened)
        for key, opened in ((scope, row.alert_id), (f"{scope}|data", row.dark_id))
        if opened
    ]
    row.alert_id, row.alert_state, row.grounds, row.dark_id = "", State.NORMAL, [], ""
    state.mark(f"scope/{scope}")
    return out


def control_changed(state: RiskState, scope: str, origin: Origin) -> ControlChanged:
    """Return the operator controls of a scope as they are now."""
    row = state.controls.get(scope, NO_CONTROL)
    request, override, silence = row.request, row.override, row.silence
    retired, seen, grant = row.retired, row.acknowledged, row.unwind
    return ControlChanged(
        **origin.stamp(ControlChanged, scope),
        scope=scope,
        request_id=None if request is None else request.id,
        request_action=None if request is None else request.action,
        request_by=None if request is None else request.by,
        request_until=None if request is None else moment(request.until),
        override_state=None if override is None else override.state.value,
        override_by=None if override is None else override.by,
        override_approved_by=None if override is None else override.approved_by,
        override_until=None if override is None else moment(override.until),
        silence_by=None if silence is None else silence.by,
        silence_until=None if silence is None else moment(silence.until),
        retired_by=None if retired is None else retired.by,
        retired_ts=None if retired is None else moment(retired.us),
        acknowledged_by=None if seen is None else seen.by,
        acknowledged_ts=None if seen is None else moment(seen.us),
        unwind_by=None if grant is None else grant.by,
        unwind=None if grant is None else grant.allowance(),
    )


# The monthly budget of WATCH alerts, and the one alert that sums up those beyond it.

FOLDED_ALERT_KEY: Final = "firm|folded"
_MONTHS: Final = 12


def spend_alert_budget(state: RiskState, us: int, config: PeopleConfig) -> bool:
    """Spend one alert of this month's WATCH budget; return ``False`` if none is left.

    Alerts of REDUCE and HALT have no budget.
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
    state: RiskState, context: EvaluationContext, row: ScopeRow
) -> list[AlertRaised | AlertResolved]:
    """Count one more alert in the month's folded alert, raised at the 1st, 2nd, 4th, 8th, ..."""
    budget = state.budget
    reasons = [f"the last was {context.scope}", *row.reasons[:1]]
    by = Intervention(context.origin.cause_id, context.us, "fold", reasons)
    out: list[AlertRaised | AlertResolved] = []
    if budget.folded == 0 and budget.alert_id:
        out.append(
            alert_resolved(by.origin, FOLDED_ALERT_KEY, FIRM, budget.alert_id)
        )  # an earlier month's
        budget.alert_id = ""
    budget.folded += 1
    if budget.folded & (budget.folded - 1) == 0:
        title = f"{budget.folded} alerts of WATCH over the budget of the month"
        raised = operator_alert(FOLDED_ALERT_KEY, FIRM, title, by)
        budget.alert_id = budget.alert_id or raised.id
        out.append(raised)
    return out


def month_of(us: int) -> int:
    """Return the number of a calendar month of event time, UTC.

    Examples
    --------
    >>> month_of(0) - month_of(-1)
    1
    """
    at = moment(us)
    return at.year * _MONTHS + at.month


RiskOutput = DecisionMade | KillSwitchChanged | AlertRaised | AlertResolved


class DecisionMaker:
    """Derives decisions, switches and alerts from rule evaluations.

    Parameters
    ----------
    config : RiskConfig
        Lifetimes and thresholds.
    writer : DecisionWriter
        Sets states, and writes decisions, switches and alerts.
    """

    def __init__(self, config: RiskConfig, writer: DecisionWriter) -> None:
        self.config = config
        self.writer = writer

    def decide(
        self,
        state: RiskState,
        row: ScopeRow,
        evaluation: RuleEvaluation,
        context: EvaluationContext,
    ) -> list[RiskOutput]:
        """Set the state that follows, and return the outputs if anything changed."""
        out: list[RiskOutput] = []
        control = state.controls.get(context.scope, NO_CONTROL)
        to = requested_state(row, evaluation, control)
        restrictions = requested_restrictions(row, to, evaluation, control)
        changed = to is not row.state
        if changed:
            out.append(self._move(row, to, evaluation, context, restrictions))
        else:
            changed = self._update_grounds(row, evaluation, context, control)
            if restrictions != restrictions_at(row.state, row.restriction):
                row.restriction, changed = restrictions, True
        out += self._switch(state, row, context, changed=changed)
        if control.retired is None:  # a retired scope raises no alerts
            out += self._alerts(state, row, evaluation, context)
        return out

    def _move(
        self,
        row: ScopeRow,
        to: State,
        evaluation: RuleEvaluation,
        context: EvaluationContext,
        restrictions: Restrictions,
    ) -> DecisionMade:
        stakes = context.stakes()
        why = explain(row, to, evaluation, context, stakes)
        decision = self.writer.move(
            row, context.scope, to, why, stakes, context.origin,
            quality=context.quality, restrictions=restrictions,
        )  # fmt: skip
        row.held_by = evaluation.holding(to)
        return decision

    @staticmethod
    def _update_grounds(
        row: ScopeRow,
        evaluation: RuleEvaluation,
        context: EvaluationContext,
        control: ControlRow,
    ) -> bool:
        """Name the rules that hold a restriction now; return whether these are others than before.

        They are others after a release, and after the rule that led to the state let go while
        another one asks for the same state. A HALT keeps the reasons of its decision.
        """
        leading = evaluation.leading
        if leading is None or row.state not in (State.WATCH, State.REDUCE):
            return False
        held_by = evaluation.holding(row.state)
        if not held_by or held_by == row.held_by:
            return False
        row.held_by, row.cause = held_by, request_cause(leading, evaluation, context)
        row.rule, row.generation = leading.rule.id, leading.generation
        row.reasons = decision_reasons(row, evaluation, context, row.cause, context.stakes())
        if control.override is not None:
            by, until = control.override.by, rfc3339(control.override.until)
            row.reasons.append(
                f"overridden by {by} and {control.override.approved_by} until {until}; then the "
                "HALT is back"
            )
        return True

    def _switch(
        self, state: RiskState, row: ScopeRow, context: EvaluationContext, *, changed: bool
    ) -> list[RiskOutput]:
        """Update the switch if the effective state, the quality, or its decision changed."""
        dark = self._is_dark(row, context)
        effective_state = effective(row.state, dark=dark)
        quality_changed = row.quality is not context.quality and (
            effective_state is not State.NORMAL or Quality.UNKNOWN in (row.quality, context.quality)
        )
        if not (effective_state is not row.effective or quality_changed or changed):
            return []
        row.quality = context.quality
        notes = [_no_data_reason(row, context)] if dark else []
        return [
            self.writer.switch(state, context.scope, row, context.origin, dark=dark, notes=notes)
        ]

    def _is_dark(self, row: ScopeRow, context: EvaluationContext) -> bool:
        """Whether data has been missing for too long while we hold something on the scope."""
        if context.quality is not Quality.UNKNOWN:
            row.unknown_since = -1
            return False
        if row.unknown_since < 0:
            row.unknown_since = context.us
        long_ago = context.us - row.unknown_since > self.config.unknown_reduce_s * SECOND
        # Missing data may come back by itself; a failed worker does not.
        if long_ago or context.fault:
            return context.stakes().exposure >= self.config.alert_from_usd
        return False

    def _alerts(
        self,
        state: RiskState,
        row: ScopeRow,
        evaluation: RuleEvaluation,
        context: EvaluationContext,
    ) -> list[RiskOutput]:
        """Raise, extend or resolve the alert of a scope on which we hold something."""
        out: list[RiskOutput] = []
        silenced = state.controls.get(context.scope, NO_CONTROL).silence is not None
        if row.state is State.NORMAL:
            if row.alert_id:
                out.append(
                    alert_resolved(context.origin, context.scope, context.scope, row.alert_id)
                )
                row.alert_id = ""
            row.alert_state, row.grounds = State.NORMAL, []
            return out + self._data_alerts(row, context, silenced=silenced)
        entered = row.state is not row.alert_state
        known = [] if entered else row.grounds
        # A limit that was breached first must not hide a later stop of withdrawals.
        added = [
            r
            for r in evaluation.requests
            if r.state.rank >= row.state.rank and leading_feature(r, evaluation) not in known
        ]
        # The asset that nothing values raises the alert, and not all the limits that hold it.
        entered = entered and not is_consequence(evaluation, context.scope)
        added = [r for r in added if not is_of_unknown(r, evaluation, context.scope)]
        # An alert that a silence holds back is raised when the silence ends; a HALT at once.
        if (entered or added) and (not silenced or row.state is State.HALT):
            stakes = context.stakes()
            unknown = context.features.get("unpriced", 0.0) > 0.0
            if unknown or stakes.exposure >= self.config.alert_from_usd:
                if row.state is State.WATCH and not spend_alert_budget(
                    state, context.us, self.config.people
                ):
                    out += fold_alert(state, context, row)
                    row.alert_state = row.state
                else:
                    out.append(
                        self._raise_alert(row, evaluation, context, stakes, added, entered=entered)
                    )
                row.grounds = sorted({*known, *(leading_feature(r, evaluation) for r in added)})
        return out + self._data_alerts(row, context, silenced=silenced)

    def _raise_alert(
        self,
        row: ScopeRow,
        evaluation: RuleEvaluation,
        context: EvaluationContext,
        stakes: ExposureAtStake,
        added: list[RuleRequest],
        *,
        entered: bool,
    ) -> AlertRaised:
        """Raise the alert of a scope, for the first time or with further reasons."""
        cause, reasons = row.cause, row.reasons
        title = f"{context.scope} is {row.state.value}"
        if not entered:
            cause = request_cause(added[0], evaluation, context)
            reasons = decision_reasons(row, evaluation, context, cause, stakes)
            title += f", now also by {leading_feature(added[0], evaluation)}"
        return self.writer.alert(row, context.scope, title, cause, reasons, stakes, context.origin)

    def _data_alerts(
        self, row: ScopeRow, context: EvaluationContext, *, silenced: bool
    ) -> list[RiskOutput]:
        """Raise or resolve the alert that a scope is restricted because data is missing.

        One cause is one alert: the silence of venues is told of the venues, and not of each asset
        that only they quote.
        """
        dark = row.effective is not row.state or bool(context.dependents)
        key = f"{context.scope}|data"
        if dark and not row.dark_id and context.silent:
            return []
        if dark and not row.dark_id and not silenced:
            severity = strictest((row.effective, State.REDUCE))
            title = f"{context.scope}: no data, effective {row.effective.value}"
            if context.dependents:
                title += f"; so are {len(context.dependents)} scopes that only it has data of"
            stakes = context.stakes()
            reasons = [
                _no_data_reason(row, context),
                f"we have {stakes.exposure:,.0f} USD on it; this ends by itself when data is back",
            ]
            raised = alert_raised(
                context.origin,
                key,
                context.scope,
                title,
                severity=severity,
                cause=Cause.FEED,
                reasons=reasons,
                stakes=stakes,
                decision_id=row.decision_id,
            )
            row.dark_id = raised.id
            return [raised]
        if not dark and row.dark_id:
            opened_id, row.dark_id = row.dark_id, ""
            return [alert_resolved(context.origin, key, context.scope, opened_id)]
        return []


def is_of_unknown(request: RuleRequest, evaluation: RuleEvaluation, scope: str) -> bool:
    """Whether a request follows from an asset that nothing values, and is about what holds it."""
    return leading_feature(request, evaluation) == UNKNOWN_FEATURE and kind_of_scope(scope) != ASSET


def is_consequence(evaluation: RuleEvaluation, scope: str) -> bool:
    """Whether all requests are such consequences, so that another scope has their alert."""
    found = [is_of_unknown(r, evaluation, scope) for r in evaluation.requests]
    return bool(found) and all(found)


def _no_data_reason(row: ScopeRow, context: EvaluationContext) -> str:
    """Return why there is no data, or for how long there has been none."""
    if context.fault:
        return f"{context.scope}: {context.fault}"
    if context.unconfirmed:
        return f"{context.scope}: {context.unconfirmed}"
    minutes = (context.us - row.unknown_since) / SECOND / 60.0
    return f"{context.scope}: nothing has been heard for {minutes:.0f} minutes"


def requested_state(row: ScopeRow, evaluation: RuleEvaluation, control: ControlRow) -> State:
    """Return the state that follows: HALT latches, unless two operators have overridden it."""
    if row.state is State.HALT:
        return State.HALT  # no measurement ends a HALT
    if control.override is None:
        return evaluation.state
    lifted = control.override.state
    below = [r.state for r in evaluation.requests if r.state is not State.HALT]
    return strictest((lifted, *below))


def requested_restrictions(
    row: ScopeRow, to: State, evaluation: RuleEvaluation, control: ControlRow
) -> Restrictions:
    """Return what the state that follows restricts.

    What a HALT restricts lasts as long as the HALT, and further grounds are added to it. Under an
    override, the rules that request HALT restrict at the state to which it is lifted.
    """
    wanted = [r.ground for r in evaluation.requests]
    if row.state is State.HALT:
        held = latched(restrictions_at(State.HALT, row.restriction))
        wanted += held.items()
    elif control.override is not None:
        lifted = control.override.state
        wanted = [(each, state if state is not State.HALT else lifted) for each, state in wanted]
    return restrictions_at(to, combine(wanted))


# What becomes of the evaluation of one scope.


class ScopeEvaluator:
    """Decides on one scope, from the evaluation of its rules and asks.

    Parameters
    ----------
    config : RiskConfig
        Lifetimes and thresholds.
    engine : RuleEngine
        Rules and asks.
    writer : DecisionWriter
        Sets states, and writes decisions, switches and alerts.
    """

    def __init__(self, config: RiskConfig, engine: RuleEngine, writer: DecisionWriter) -> None:
        self.engine = engine
        self.stakes_calculator = writer.stakes_calculator
        self.decider = DecisionMaker(config, writer)

    def apply_bound(
        self, state: RiskState, tick: TickContext, scope: str, caps: dict[str, State]
    ) -> dict[str, State]:
        """Return the caps, lowered if models of bounded authority may not reduce this scope."""
        if State.REDUCE not in caps.values() or self.stakes_calculator.is_within_bound(
            state, tick, scope
        ):
            return caps
        return {f: State.WATCH if cap is State.REDUCE else cap for f, cap in caps.items()}

    def is_idle(self, state: RiskState, scope: str, limit_features: dict[str, Features]) -> bool:
        """Whether a scope that only limits name needs no evaluation: no row, news or breach."""
        if state.credit or scope in state.scopes:
            return False
        return not self.engine.of(scope).has_met_condition(limit_features.get(scope, {}))

    def conclude(
        self,
        state: RiskState,
        tick: TickContext,
        row: ScopeRow,
        evaluation: RuleEvaluation,
        context: EvaluationContext,
    ) -> list[Output]:
        """Decide by the evaluation of a scope's rules, and store its row if anything changed.

        Parameters
        ----------
        state : RiskState
            The rows of the stage.
        tick : TickContext
            Its `moving` is set if the passing of time alone may change the result.
        row : ScopeRow
            Row of the scope; a new one if the state has none yet.
        evaluation : RuleEvaluation
            Result of its rules.
        context : EvaluationContext
            Inputs of the evaluation.
        """
        known = state.scopes.get(context.scope)
        tick.moving = tick.moving or evaluation.moving
        unknown, capped = row.unknown_since, row.capped
        out: list[Output] = [*self.decider.decide(state, row, evaluation, context)]
        row.capped = row.state is State.REDUCE and evaluation.capped
        if row.unknown_since >= 0:
            tick.moving = True
        if known is None and not row.is_idle:
            state.scopes[context.scope] = row
            state.mark(f"scope/{context.scope}")
        elif known is not None and (
            evaluation.changed or out or unknown != row.unknown_since or capped is not row.capped
        ):
            state.mark(f"scope/{context.scope}")
        return out
