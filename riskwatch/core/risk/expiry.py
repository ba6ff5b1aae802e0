"""What ends by itself: requests, overrides, silences, unwinds. Asked at every tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.clock import text
from riskwatch.core.reasons import State
from riskwatch.core.risk.approvals import withdrawn
from riskwatch.core.risk.commands import quiet
from riskwatch.core.risk.control import ControlRow, kept
from riskwatch.core.risk.turn import Intervention, control_changed

if TYPE_CHECKING:
    from riskwatch.core.output import Output
    from riskwatch.core.risk.state import RiskState
    from riskwatch.core.risk.turn import DecisionWriter


def expire(state: RiskState, us: int, writer: DecisionWriter) -> list[Output]:
    """End what is due; the rules look again if anything ended."""
    out: list[Output] = []
    for scope in sorted(state.controls):
        row = msgspec.structs.replace(state.controls[scope])
        by = Intervention(f"expiry/{us}", us, "expire", [])
        made = _ends(state, scope, row, by, writer)
        if made is not None:
            out += [*made, control_changed(state, scope, by.origin)]
    if state.refusals:
        out += quiet(state, us)
    if out:
        state.meta.news = True
        state.mark("meta")
    return out


def _ends(
    state: RiskState, scope: str, row: ControlRow, by: Intervention, writer: DecisionWriter
) -> list[Output] | None:
    """End what is due on one scope; ``None`` if nothing is."""
    us, before = by.us, state.controls[scope]
    out: list[Output] = []
    known = state.scopes.get(scope)
    if row.request is not None and row.request.until <= us:
        out += withdrawn(scope, row, by)
    if row.silence is not None and row.silence.until <= us:
        row.silence = None
    seen = row.acknowledged
    if seen is not None and (known is None or seen.alert not in (known.alert_id, known.dark_id)):
        row.acknowledged = None
    override, row.override = row.override, None
    if override is not None and override.until > us:
        row.override, override = override, None
    if override is not None:
        row.before = row.granted
    grant, row.unwind = row.unwind, None
    if grant is not None and grant.until > us:
        row.unwind, grant = grant, None
    if row == before:
        return None
    kept(state, scope, row)
    if override is not None:
        # What was overridden held then, so the latch is back whatever holds now.
        by.reasons.append(
            f"the override of {override.by} and {override.approved_by} ended at "
            f"{text(override.until)}"
        )
        out += writer.intervene(state, scope, State.HALT, by)
    elif grant is not None and known is not None:
        out.append(writer.restate(state, scope, by))
    return out
