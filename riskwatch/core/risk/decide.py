"""What is said when a scope changes: the decision with its grounds, the switch, the alert."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.ids import output_id
from riskwatch.core.money import usd
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    DecisionMade,
    KillSwitchChanged,
)
from riskwatch.core.reasons import Cause, Quality, State
from riskwatch.core.risk.budget import afford, folded
from riskwatch.core.risk.control import ControlRow
from riskwatch.core.risk.grounds import (
    cause_of,
    contributions,
    flip,
    ground_of,
    limits_of,
    reasons_of,
)
from riskwatch.core.risk.machine import RULES, Look, Request

if TYPE_CHECKING:
    from riskwatch.core.outputs import Unwind
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.grounds import Scene, Stakes
    from riskwatch.core.risk.rows import ScopeRow
    from riskwatch.core.risk.state import RiskState

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
