"""What rules make of a scope: the state that follows, its decision, its switch, its alerts."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import Cause, Quality, State, strictest
from riskwatch.core.money import usd
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    ControlChanged,
    DecisionMade,
    KillSwitchChanged,
    Origin,
)
from riskwatch.core.risk.explanation import (
    Rationale,
    decision_reasons,
    explain,
    leading_feature,
    request_cause,
)
from riskwatch.core.risk.stakes import TickContext
from riskwatch.core.risk.state import AlertBudgetRow, ControlRow, ScopeRow
from riskwatch.core.scopes import FIRM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.outputs import Output
    from riskwatch.core.risk.config import PeopleConfig, RiskConfig
    from riskwatch.core.risk.explanation import EvaluationContext, ExposureAtStake
    from riskwatch.core.risk.features import Features
    from riskwatch.core.risk.rule_engine import RuleEngine, RuleEvaluation, RuleRequest
    from riskwatch.core.risk.stakes import StakesCalculator
    from riskwatch.core.risk.state import RiskState


# The one writer of decisions, switches and alerts, whether rules or people move a scope.

OPERATOR: Final = "operator"
"""Stands where the generation of a decision stands, if people decided."""
NO_CONTROL: Final = ControlRow()
"""The row of a scope on which people have nothing in force or in hand; never changed."""


class Intervention(msgspec.Struct, frozen=True):
    """What people do to a scope, or the end of it: which event, when (microseconds), and why."""

    cause_id: str
    us: int
    action: str
    reasons: list[str]

    @property
    def origin(self) -> Origin:
        """What comes of it comes from that event, at that time."""
        return Origin(self.cause_id, moment(self.us))

    @property
    def rationale(self) -> Rationale:
        """People decide; only another command alters that."""
        return Rationale(
            cause=Cause.OPERATOR,
            generation=OPERATOR,
            rule=f"{OPERATOR}.{self.action}",
            reasons=self.reasons,
            flip={"needed": "another command"},
        )


class DecisionWriter:
    """Moves scopes, and writes what is said about it.

    Parameters
    ----------
    config : RiskConfig
        How long a switch may be relied on.
    stakes_calculator : Dollars
        What is at stake where people move a scope.
    """

    def __init__(self, config: RiskConfig, dollars: StakesCalculator) -> None:
        self.config = config
        self.stakes_calculator = dollars

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
    ) -> DecisionMade:
        """Move a scope to a state, and write the decision; `quality` is that of its data now."""
        decision = DecisionMade(
            **origin.stamp(DecisionMade, scope),
            scope=scope,
            previous=row.state,
            state=to,
            quality=quality,
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
        row.state, row.cause, row.decision_id = to, why.cause, decision.id
        row.rule, row.generation, row.reasons = why.rule, why.generation, list(why.reasons)
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
        """Put a switch where its state and the data want it, and say so.

        Parameters
        ----------
        state : RiskState
            What people have in force says what passes in spite of a HALT.
        scope, row
            Which switch.
        origin : Origin
            What moves it.
        dark : bool
            Whether it is restricted for want of data.
        notes : iterable of str
            Reasons beside those of the last decision.
        """
        row.effective = effective(row.state, dark=dark)
        reasons = [*notes, *(row.reasons if row.state is not State.NORMAL else ())]
        grant = state.controls.get(scope, NO_CONTROL).unwind
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
        """Alert people of the state of a scope; it stays one alert until it is resolved."""
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

    def intervene(self, state: RiskState, scope: str, to: State, by: Intervention) -> list[Output]:
        """Move a scope because people say so: the decision, the switch, the alert."""
        row = state.scopes.get(scope)
        if row is None:
            row = state.scopes[scope] = ScopeRow()
        stakes = self.stakes_calculator.on(state, TickContext(by.us, due=False), scope)
        why, origin = by.rationale, by.origin
        out: list[Output] = [
            self.move(row, scope, to, why, stakes, origin, quality=row.quality),
            self.restate(state, scope, by),
        ]
        if to is State.HALT:
            # They are told whatever we have on it.
            title = f"{scope} is {to.value}: {by.action}"
            out.append(self.alert(row, scope, title, why.cause, why.reasons, stakes, origin))
        elif to is State.NORMAL:
            out += resolve_alerts(state, scope, by)
        return out

    def restate(self, state: RiskState, scope: str, by: Intervention) -> KillSwitchChanged:
        """Say where a switch stands; what is dark stays dark until the rules have looked again."""
        row = state.scopes[scope]
        dark = row.quality is Quality.UNKNOWN and row.unknown_since >= 0
        state.mark(f"scope/{scope}")
        return self.switch(state, scope, row, by.origin, dark=dark)


def effective(state: State, *, dark: bool) -> State:
    """State that holds for orders: at least REDUCE where data has been missing for too long."""
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
    """Write an alert; `stakes` and `decision_id` where it is about our dollars or a decision."""
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
    """Write that an alert is over."""
    return AlertResolved(
        **origin.stamp(AlertResolved, key), alert=key, scope=scope, opened_id=opened_id
    )


def operator_alert(key: str, scope: str, title: str, by: Intervention) -> AlertRaised:
    """Tell people of something that waits for them, or that they should know."""
    return alert_raised(
        by.origin,
        key,
        scope,
        title,
        severity=State.WATCH,
        cause=Cause.OPERATOR,
        reasons=by.reasons,
    )


def resolve_alerts(state: RiskState, scope: str, by: Intervention) -> list[Output]:
    """End the paging about a scope."""
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
    """Say what people have in force on a scope now."""
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
    reasons = [f"the last was {scene.scope}", *row.reasons[:1]]
    by = Intervention(scene.origin.cause_id, scene.us, "fold", reasons)
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
    """Number of a calendar month of event time, UTC.

    Examples
    --------
    >>> month_of(0) - month_of(-1)
    1
    """
    at = moment(us)
    return at.year * _MONTHS + at.month


RiskOutput = DecisionMade | KillSwitchChanged | AlertRaised | AlertResolved


class DecisionMaker:
    """Turns looks into decisions, switches and alerts.

    Parameters
    ----------
    config : RiskConfig
        Life times and thresholds.
    writer : DecisionWriter
        Moves scopes, and writes what is said about it.
    """

    def __init__(self, config: RiskConfig, writer: DecisionWriter) -> None:
        self.config = config
        self.writer = writer

    def decide(
        self, state: RiskState, row: ScopeRow, look: RuleEvaluation, scene: EvaluationContext
    ) -> list[RiskOutput]:
        """Move a scope to the state that follows, and say so if anything changed."""
        out: list[RiskOutput] = []
        control = state.controls.get(scene.scope, NO_CONTROL)
        to = requested_state(row, look, control)
        decided = to is not row.state
        if decided:
            out.append(self._move(row, to, look, scene))
        out += self._switch(state, row, scene, decided=decided)
        if control.retired is None:  # nobody is paged about what is closed for good
            out += self._alerts(state, row, look, scene)
        return out

    def _move(
        self, row: ScopeRow, to: State, look: RuleEvaluation, scene: EvaluationContext
    ) -> DecisionMade:
        stakes = scene.stakes()
        why = explain(row, to, look, scene, stakes)
        return self.writer.move(
            row, scene.scope, to, why, stakes, scene.origin, quality=scene.quality
        )

    def _switch(
        self, state: RiskState, row: ScopeRow, scene: EvaluationContext, *, decided: bool
    ) -> list[RiskOutput]:
        """Put the switch where state and quality of data want it."""
        dark = self._is_dark(row, scene)
        holds = effective(row.state, dark=dark)
        told = row.quality is not scene.quality and (
            holds is not State.NORMAL or Quality.UNKNOWN in (row.quality, scene.quality)
        )
        if not (holds is not row.effective or told or decided):
            return []
        row.quality = scene.quality
        notes = [_silence(row, scene)] if dark else []
        return [self.writer.switch(state, scene.scope, row, scene.origin, dark=dark, notes=notes)]

    def _is_dark(self, row: ScopeRow, scene: EvaluationContext) -> bool:
        """Whether data has been missing for too long, of a scope on which we have something."""
        if scene.quality is not Quality.UNKNOWN:
            row.unknown_since = -1
            return False
        if row.unknown_since < 0:
            row.unknown_since = scene.us
        long_ago = scene.us - row.unknown_since > self.config.unknown_reduce_s * SECOND
        # Silence may end by itself; a worker that is down does not.
        if long_ago or scene.doubt:
            return scene.stakes().exposure >= self.config.alert_from_usd
        return False

    def _alerts(
        self, state: RiskState, row: ScopeRow, look: RuleEvaluation, scene: EvaluationContext
    ) -> list[RiskOutput]:
        """Tell people, if it is about their money; tell them more; and when it is over."""
        out: list[RiskOutput] = []
        silenced = state.controls.get(scene.scope, NO_CONTROL).silence is not None
        if row.state is State.NORMAL:
            if row.alert_id:
                out.append(alert_resolved(scene.origin, scene.scope, scene.scope, row.alert_id))
                row.alert_id = ""
            row.alert_state, row.grounds = State.NORMAL, []
            return out + self._dark(row, scene, silenced=silenced)
        entered = row.state is not row.alert_state
        known = [] if entered else row.grounds
        # A limit that was breached first must not hide that withdrawals have stopped since.
        added = [
            r
            for r in look.requests
            if r.state.rank >= row.state.rank and leading_feature(r, look) not in known
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
                row.grounds = sorted({*known, *(leading_feature(r, look) for r in added)})
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
            cause = request_cause(added[0], look, scene)
            reasons = decision_reasons(row, look, scene, cause, stakes)
            title += f", now also by {leading_feature(added[0], look)}"
        return self.writer.alert(row, scene.scope, title, cause, reasons, stakes, scene.origin)

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
            raised = alert_raised(
                scene.origin,
                key,
                scene.scope,
                title,
                severity=State.WATCH,
                cause=Cause.FEED,
                reasons=reasons,
                stakes=stakes,
                decision_id=row.decision_id,
            )
            row.dark_id = raised.id
            return [raised]
        if not dark and row.dark_id:
            gone, row.dark_id = row.dark_id, ""
            return [alert_resolved(scene.origin, key, scene.scope, gone)]
        return []


def _silence(row: ScopeRow, scene: EvaluationContext) -> str:
    """Say why there is no data, or for how long there has been none."""
    if scene.doubt:
        return f"{scene.scope}: {scene.doubt}"
    minutes = (scene.us - row.unknown_since) / SECOND / 60.0
    return f"{scene.scope}: nothing has been heard for {minutes:.0f} minutes"


def requested_state(row: ScopeRow, look: RuleEvaluation, control: ControlRow) -> State:
    """State that follows: HALT latches, unless two people have overridden it for a while."""
    if row.state is State.HALT:
        return State.HALT  # nothing that is measured leads out of it
    if control.override is None:
        return look.state
    lifted = control.override.state
    below = [r.state for r in look.requests if r.state is not State.HALT]
    return strictest((lifted, *below))


# How the rules look at one scope, and what becomes of what they see.


class ScopeEvaluator:
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
        self.stakes_calculator = writer.stakes_calculator
        self.decider = DecisionMaker(config, writer)

    def apply_bound(
        self, state: RiskState, tick: TickContext, scope: str, caps: dict[str, State]
    ) -> dict[str, State]:
        """Caps, where models of bounded authority may not reduce this scope as well."""
        if State.REDUCE not in caps.values() or self.stakes_calculator.is_within_bound(
            state, tick, scope
        ):
            return caps
        return {f: State.WATCH if cap is State.REDUCE else cap for f, cap in caps.items()}

    def is_idle(self, state: RiskState, scope: str, bound: dict[str, Features]) -> bool:
        """Whether there is nothing to say of a scope that only limits know, and no news at all."""
        if state.credit or scope in state.scopes:
            return False
        return not self.engine.of(scope).has_met_condition(bound.get(scope, {}))

    def evaluate(
        self,
        state: RiskState,
        tick: TickContext,
        scene: EvaluationContext,
        fresh: int,
        caps: dict[str, State] | None = None,
    ) -> list[Output]:
        """Let the rules of one scope look, and say what follows; rows change only if it does."""
        known = state.scopes.get(scene.scope)
        rules = self.engine.of(scene.scope)
        quiet = known is None and scene.quality is not Quality.UNKNOWN
        if quiet and not rules.has_met_condition(scene.features):
            return []
        row = known or ScopeRow()
        look = rules.evaluate(
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
