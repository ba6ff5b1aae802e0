"""Drills: the signals of drills that an operator commands or that the policy has planned.

Plans run in event time. The row of a plan holds the due time of its last drill. A restart therefore
repeats no drill, and a drill that was due while the worker was down is signalled once afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.clock import (
    DAY,
    EPOCH_WEEKDAY,
    HOUR,
    MINUTE,
    SECOND,
    WEEKDAYS,
    moment,
)
from riskwatch.core.deployment import EMBEDDED
from riskwatch.core.outputs import SCHEDULED_BY, DrillSignalled, Origin
from riskwatch.core.risk.state import DrillRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.core.risk.config import DrillPlan
    from riskwatch.core.risk.gate import AuthorizedCommand
    from riskwatch.core.risk.state import RiskState


def last_due(plan: DrillPlan, us: int) -> int:
    """Return the last time, not after `us`, at which a plan is due; microseconds.

    Examples
    --------
    >>> from riskwatch.core.clock import rfc3339
    >>> from riskwatch.core.risk.config import DrillPlan
    >>> plan = DrillPlan(id="weekly", scope="firm", every_s=604_800.0, at="10:00", weekday="mon")
    >>> rfc3339(last_due(plan, 1_678_504_380_000_000))
    '2023-03-06T10:00:00Z'
    """
    every = round(plan.every_s * SECOND)
    hours, minutes = plan.at.split(":")
    first = int(hours) * HOUR + int(minutes) * MINUTE
    if plan.weekday:
        first += (WEEKDAYS.index(plan.weekday) - EPOCH_WEEKDAY) % len(WEEKDAYS) * DAY
    return first + (us - first) // every * every


def commanded_drill(authorized: AuthorizedCommand, expect: list[str]) -> DrillSignalled:
    """Return the drill that an operator commands."""
    return DrillSignalled(
        **authorized.origin.stamp(DrillSignalled, authorized.scope),
        scope=authorized.scope,
        plan="",
        person=authorized.by,
        reason=authorized.reason,
        expect=expect,
        deployment=authorized.command.deployment or msgspec.UNSET,
    )


def scheduled_drills(
    plans: Sequence[DrillPlan], state: RiskState, us: int, deployment: str = EMBEDDED
) -> list[DrillSignalled]:
    """Return the drills that are due; a new plan starts at its next due time."""
    out = []
    for plan in plans:
        row, due = state.drills.get(plan.id), last_due(plan, us)
        if row is not None and due <= row.last:
            continue
        state.drills[plan.id] = DrillRow(us if row is None else row.since, due)
        state.mark(f"drill/{plan.id}")
        if row is not None:
            out.append(_signal(plan, due, us, deployment))
    if len(state.drills) > len(plans):
        kept = [plan.id for plan in plans]
        for name in [name for name in sorted(state.drills) if name not in kept]:
            del state.drills[name]
            state.mark(f"drill/{name}")
    return out


def _signal(plan: DrillPlan, due: int, us: int, deployment: str) -> DrillSignalled:
    cause = f"drill/{plan.id}/{due}"
    return DrillSignalled(
        **Origin(cause, moment(us)).stamp(DrillSignalled, plan.scope),
        scope=plan.scope,
        plan=plan.id,
        person=SCHEDULED_BY,
        reason=f"plan {plan.id}, due at {moment(due):%Y-%m-%d %H:%M} UTC",
        expect=list(plan.expect),
        deployment=msgspec.UNSET if deployment == EMBEDDED else deployment or msgspec.UNSET,
    )
