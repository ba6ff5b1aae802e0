"""What rules make of a scope: the state that follows, its decision, its switch, its alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    DecisionMade,
    KillSwitchChanged,
)
from riskwatch.core.reasons import Cause, Quality, State, strictest
from riskwatch.core.risk.budget import afford, folded
from riskwatch.core.risk.grounds import cause_of, explain, ground_of, reasons_of
from riskwatch.core.risk.turn import NO_CONTROL, alert_raised, alert_resolved, effective

if TYPE_CHECKING:
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.core.risk.control import ControlRow
    from riskwatch.core.risk.grounds import Scene, Stakes
    from riskwatch.core.risk.machine import Look, Request
    from riskwatch.core.risk.rows import ScopeRow
    from riskwatch.core.risk.state import RiskState
    from riskwatch.core.risk.turn import DecisionWriter

RiskOutput = DecisionMade | KillSwitchChanged | AlertRaised | AlertResolved


class Decider:
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

    def decide(self, state: RiskState, row: ScopeRow, look: Look, scene: Scene) -> list[RiskOutput]:
        """Move a scope to the state that follows, and say so if anything changed."""
        out: list[RiskOutput] = []
        control = state.controls.get(scene.scope, NO_CONTROL)
        to = _asked(row, look, control)
        decided = to is not row.state
        if decided:
            out.append(self._move(row, to, look, scene))
        out += self._switch(state, row, scene, decided=decided)
        if control.retired is None:  # nobody is paged about what is closed for good
            out += self._alerts(state, row, look, scene)
        return out

    def _move(self, row: ScopeRow, to: State, look: Look, scene: Scene) -> DecisionMade:
        stakes = scene.stakes()
        why = explain(row, to, look, scene, stakes)
        return self.writer.move(
            row, scene.scope, to, why, stakes, scene.origin, quality=scene.quality
        )

    def _switch(
        self, state: RiskState, row: ScopeRow, scene: Scene, *, decided: bool
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

    def _is_dark(self, row: ScopeRow, scene: Scene) -> bool:
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
        self, state: RiskState, row: ScopeRow, look: Look, scene: Scene
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
            if r.state.rank >= row.state.rank and ground_of(r, look) not in known
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
                row.grounds = sorted({*known, *(ground_of(r, look) for r in added)})
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
            cause = cause_of(added[0], look, scene)
            reasons = reasons_of(row, look, scene, cause, stakes)
            title += f", now also by {ground_of(added[0], look)}"
        return self.writer.alert(row, scene.scope, title, cause, reasons, stakes, scene.origin)

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


def _silence(row: ScopeRow, scene: Scene) -> str:
    """Say why there is no data, or for how long there has been none."""
    if scene.doubt:
        return f"{scene.scope}: {scene.doubt}"
    minutes = (scene.us - row.unknown_since) / SECOND / 60.0
    return f"{scene.scope}: nothing has been heard for {minutes:.0f} minutes"


def _asked(row: ScopeRow, look: Look, control: ControlRow) -> State:
    """State that follows: HALT latches, unless two people have overridden it for a while."""
    if row.state is State.HALT:
        return State.HALT  # nothing that is measured leads out of it
    if control.override is None:
        return look.state
    lifted = control.override.state
    below = [r.state for r in look.requests if r.state is not State.HALT]
    return strictest((lifted, *below))
