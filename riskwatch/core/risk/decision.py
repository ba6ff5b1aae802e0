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
    Stakes,
    cause_of,
    contributions,
    flip,
    ground_of,
    limits_of,
    reasons_of,
)
from riskwatch.core.risk.rule_engine import RULES, Look, Machine, Request
from riskwatch.core.risk.stakes import Evaluation
from riskwatch.core.risk.state import BudgetRow, ControlRow, ScopeRow

if TYPE_CHECKING:
    from riskwatch.core.outputs import Output, Unwind
    from riskwatch.core.risk.config import PeopleConfig, RiskConfig
    from riskwatch.core.risk.explanation import Scene
    from riskwatch.core.risk.features import Features
    from riskwatch.core.risk.stakes import Dollars
    from riskwatch.core.risk.state import RiskState
    from riskwatch.core.rules import RulePack


# What is said when people, or the end of what they did, move a scope.

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


# How often people are paged about WATCH: a budget per month, and one alert for what is over it.

KEY: Final = "firm|folded"
_MONTHS: Final = 12


def afford(state: RiskState, us: int, config: PeopleConfig) -> bool:
    """Spend one alert of WATCH of this month's budget, if there is one left.

    REDUCE and HALT do not ask.
    """
    month = month_of(us)
    if month > state.budget.month:
        state.budget = BudgetRow(month, alert_id=state.budget.alert_id)
    state.mark("budget")
    if state.budget.raised >= config.watch_alerts_month:
        return False
    state.budget.raised += 1
    return True


def folded(state: RiskState, scene: Scene, row: ScopeRow) -> list[AlertRaised | AlertResolved]:
    """Put one more alert into the month's one; people hear of the 1st, 2nd, 4th, 8th, ..."""
    budget = state.budget
    by = By(f"tick/{scene.us}", scene.us, "fold", [f"the last was {scene.scope}", *row.reasons[:1]])
    out: list[AlertRaised | AlertResolved] = []
    if budget.folded == 0 and budget.alert_id:
        out.append(resolved(KEY, "firm", budget.alert_id, by))  # an earlier month's
        budget.alert_id = ""
    budget.folded += 1
    if budget.folded & (budget.folded - 1) == 0:
        title = f"{budget.folded} alerts of WATCH over the budget of the month"
        raised = notice(KEY, "firm", title, by)
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


class Decider:
    """Turns looks into decisions, switches and alerts.

    Parameters
    ----------
    config : RiskConfig
        Life times and thresholds.
    """

    def __init__(self, config: RiskConfig) -> None:
        self.config = config

    def decide(self, state: RiskState, row: ScopeRow, look: Look, scene: Scene) -> list[RiskOutput]:
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

    def _decision(self, row: ScopeRow, state: State, look: Look, scene: Scene) -> DecisionMade:
        leading = look.requests[0] if look.requests else None
        cause = Cause.NONE if leading is None else cause_of(leading, scene)
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
            generation=RULES if leading is None else leading.generation,
            rule=row.rule if leading is None else leading.rule.id,
            reasons=reasons_of(row, look, scene, cause, stakes),
            features=dict(sorted(scene.features.items())),
            contributions=contributions(look, leading, scene),
            limits={} if leading is None else limits_of(leading.rule),
            support=scene.support,
            refute=scene.refute,
            flip=flip(row, state, look, scene),
            exposure_usd=usd(stakes.exposure),
            el_usd=usd(stakes.el),
            exit_cost_usd=usd(stakes.exit_cost),
        )
        row.state, row.cause, row.decision_id = state, cause, decision.id
        row.rule, row.generation = decision.rule, decision.generation
        row.reasons = decision.reasons
        return decision

    def _switch(
        self, row: ScopeRow, scene: Scene, unwind: Unwind | None, *, decided: bool
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
        self, state: RiskState, row: ScopeRow, look: Look, scene: Scene
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
            if r.state.rank >= row.state.rank and ground_of(r, scene) not in known
        ]
        # A silence ends, so what was not told meanwhile is told then; a HALT is told at once.
        if (entered or added) and (not silenced or row.state is State.HALT):
            stakes = scene.stakes()
            if stakes.exposure >= self.config.alert_from_usd:
                if row.state is State.WATCH and not afford(state, scene.us, self.config.people):
                    out += folded(state, scene, row)
                    row.alert_state = row.state
                else:
                    out.append(self._raise(row, look, scene, stakes, added, entered=entered))
                row.grounds = sorted({*known, *(ground_of(r, scene) for r in added)})
        return out + self._dark(row, scene, silenced=silenced)

    def _raise(
        self,
        row: ScopeRow,
        look: Look,
        scene: Scene,
        stakes: Stakes,
        added: list[Request],
        *,
        entered: bool,
    ) -> AlertRaised:
        """Raise the alert of a scope, for the first time or with more to say."""
        cause, reasons = row.cause, row.reasons
        title = f"{scene.scope} is {row.state.value}"
        if not entered:
            cause = cause_of(added[0], scene)
            reasons = reasons_of(row, look, scene, cause, stakes)
            title = f"{scene.scope} is {row.state.value}, now also by {ground_of(added[0], scene)}"
        raised = _raised(scene, scene.scope, row, title, stakes, (row.state, cause, reasons))
        row.alert_id = row.alert_id or raised.id
        row.alert_state = row.state
        return raised

    def _dark(self, row: ScopeRow, scene: Scene, *, silenced: bool) -> list[RiskOutput]:
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
    scene: Scene,
    key: str,
    row: ScopeRow,
    title: str,
    stakes: Stakes,
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


def _silence(row: ScopeRow, scene: Scene) -> str:
    """Say why there is no data, or for how long there has been none."""
    if scene.doubt:
        return f"{scene.scope}: {scene.doubt}"
    minutes = (scene.us - row.unknown_since) / SECOND / 60.0
    return f"{scene.scope}: nothing has been heard for {minutes:.0f} minutes"


def _resolved(scene: Scene, key: str, opened_id: str) -> AlertResolved:
    cause_id = f"tick/{scene.us}"
    return AlertResolved(
        id=output_id(cause_id, "AlertResolved", key),
        cause_id=cause_id,
        ts=moment(scene.us),
        alert=key,
        scope=scene.scope,
        opened_id=opened_id,
    )


def _asked(row: ScopeRow, look: Look, control: ControlRow) -> State:
    """State that follows: HALT latches, unless two people have overridden it for a while."""
    if row.state is State.HALT:
        return State.HALT  # nothing that is measured leads out of it
    if control.override is None:
        return look.state
    lifted = control.override.state
    below = [r.state for r in look.requests if r.state is not State.HALT]
    return max((lifted, *below), key=_rank)


def _rank(state: State) -> int:
    return state.rank


# How the rules look at one scope, and what becomes of what they see.


class Looker:
    """Lets the rules and asks of a kind of scope look at one, and decides.

    Parameters
    ----------
    config : RiskConfig
        Asks, life times.
    rules : RulePack
        Static rules.
    dollars : Dollars
        What is at stake.
    """

    def __init__(self, config: RiskConfig, rules: RulePack, dollars: Dollars) -> None:
        self.dollars = dollars
        self.decider = Decider(config)
        self.machines = {
            kind: Machine(rules, kind, tuple(a for a in config.asks if a.scope_kind == kind))
            for kind in ("asset", "venue-asset", "counterparty", "book", "firm")
        }

    def bounded(
        self, state: RiskState, tick: Evaluation, scope: str, caps: dict[str, State]
    ) -> dict[str, State]:
        """Caps, where models of bounded authority may not reduce this scope as well."""
        if State.REDUCE not in caps.values() or self.dollars.in_bounds(state, tick, scope):
            return caps
        return {f: State.WATCH if cap is State.REDUCE else cap for f, cap in caps.items()}

    def idle(self, state: RiskState, kind: str, scope: str, bound: dict[str, Features]) -> bool:
        """Whether there is nothing to say of a scope that only limits know, and no news at all."""
        if state.credit or scope in state.scopes:
            return False
        return not self.machines[kind].met(bound.get(scope, {}))

    def look(
        self,
        state: RiskState,
        tick: Evaluation,
        kind: str,
        scene: Scene,
        fresh: int,
        caps: dict[str, State] | None = None,
    ) -> list[Output]:
        """Let the rules of one scope look, and say what follows; rows change only if it does."""
        known = state.scopes.get(scene.scope)
        machine = self.machines[kind]
        quiet = known is None and scene.quality is not Quality.UNKNOWN
        if quiet and not machine.met(scene.features):
            return []
        row = known or ScopeRow()
        look = machine.look(
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
