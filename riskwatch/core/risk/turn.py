"""The one writer of decisions, switches and alerts, whether rules or people move a scope."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import moment
from riskwatch.core.money import usd
from riskwatch.core.output import Origin
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    ControlChanged,
    DecisionMade,
    KillSwitchChanged,
)
from riskwatch.core.reasons import Cause, Quality, State, strictest
from riskwatch.core.risk.control import ControlRow
from riskwatch.core.risk.dollars import Evaluation
from riskwatch.core.risk.grounds import Rationale
from riskwatch.core.risk.rows import ScopeRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.output import Output
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.dollars import Dollars
    from riskwatch.core.risk.grounds import Stakes
    from riskwatch.core.risk.state import RiskState

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
    dollars : Dollars
        What is at stake where people move a scope.
    """

    def __init__(self, config: RiskConfig, dollars: Dollars) -> None:
        self.config = config
        self.dollars = dollars

    def move(
        self,
        row: ScopeRow,
        scope: str,
        to: State,
        why: Rationale,
        stakes: Stakes,
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
        stakes: Stakes,
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
        stakes = self.dollars.on(state, Evaluation(by.us, due=False), scope)
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
            out += resolve(state, scope, by)
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
    stakes: Stakes | None = None,
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


def notice(key: str, scope: str, title: str, by: Intervention) -> AlertRaised:
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


def resolve(state: RiskState, scope: str, by: Intervention) -> list[Output]:
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
