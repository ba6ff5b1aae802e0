"""What is said when people, or the end of what they did, move a scope."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import moment
from riskwatch.core.ids import output_id
from riskwatch.core.money import usd
from riskwatch.core.outputs import AlertRaised, AlertResolved, DecisionMade, KillSwitchChanged
from riskwatch.core.reasons import Cause, Quality, State
from riskwatch.core.risk.dollars import Evaluation
from riskwatch.core.risk.grounds import Stakes
from riskwatch.core.risk.rows import ScopeRow

if TYPE_CHECKING:
    from riskwatch.core.output import Output
    from riskwatch.core.outputs import Unwind
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.dollars import Dollars
    from riskwatch.core.risk.state import RiskState

OPERATOR: Final = "operator"
"""Stands where the generation of a decision stands, if people decided."""


class By(msgspec.Struct, frozen=True):
    """Who or what moves a scope, when (microseconds), and why."""

    cause_id: str
    us: int
    action: str
    reasons: list[str]


class Turner:
    """Makes decisions, switches and alerts of what people do.

    Parameters
    ----------
    config : RiskConfig
        Life times.
    dollars : Dollars
        What is at stake.
    """

    def __init__(self, config: RiskConfig, dollars: Dollars) -> None:
        self.config = config
        self.dollars = dollars

    def turn(self, state: RiskState, scope: str, to: State, by: By) -> list[Output]:
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
            out += resolve(state, scope, by)
        return out

    def switch(self, state: RiskState, scope: str, by: By) -> KillSwitchChanged:
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
            unwind=unwind_of(state, scope),
        )

    def alert(self, state: RiskState, scope: str, by: By, stakes: Stakes) -> AlertRaised:
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

    def stakes(self, state: RiskState, us: int, scope: str) -> Stakes:
        """Our dollars on a scope, at this moment's prices."""
        tick = Evaluation(us, due=False)
        kind, _, name = scope.partition(":")
        if kind == "asset":
            return self.dollars.asset(state, tick, name)
        if kind == "counterparty":
            return self.dollars.party(state, tick, name)
        if kind == "venue-asset":
            venue, _, asset = name.partition("/")
            return self.dollars.cell(state, tick, venue, asset)
        if kind in ("book", "firm"):
            return self.dollars.book(state, tick, kind, name)
        return Stakes(0.0, 0.0, 0.0)


def unwind_of(state: RiskState, scope: str) -> Unwind | None:
    """What passes in spite of the HALT of a scope."""
    control = state.controls.get(scope)
    return None if control is None or control.unwind is None else control.unwind.allowance()


def resolve(state: RiskState, scope: str, by: By) -> list[Output]:
    """End the paging about a scope."""
    row, out = state.scopes[scope], []
    for key, opened in ((scope, row.alert_id), (f"{scope}|data", row.dark_id)):
        if opened:
            out.append(resolved(key, scope, opened, by))
    row.alert_id, row.alert_state, row.grounds, row.dark_id = "", State.NORMAL, [], ""
    state.mark(f"scope/{scope}")
    return list(out)


def resolved(key: str, scope: str, opened: str, by: By) -> AlertResolved:
    """Say that an alert is over."""
    return AlertResolved(
        id=output_id(by.cause_id, "AlertResolved", key),
        cause_id=by.cause_id,
        ts=moment(by.us),
        alert=key,
        scope=scope,
        opened_id=opened,
    )


def notice(key: str, scope: str, title: str, by: By, *, exposure: float = 0.0) -> AlertRaised:
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
