"""Alerts of the worker ``clients``: who is late with a HALT, and drills that went wrong."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.output import Origin
from riskwatch.core.outputs import AlertRaised, AlertResolved
from riskwatch.core.reasons import Cause, State

if TYPE_CHECKING:
    from riskwatch.shell.drillbook import Wanted
    from riskwatch.shell.roll import Late

NAME: Final = "clients"
"""The worker."""
PREFIX: Final = "client:"
"""Begins the keys of alerts about late clients."""


def alert_key(late: Late) -> str:
    """Key of the alert that a client is late with a scope."""
    return f"{PREFIX}{late.client}|{late.scope}"


def raised(late: Late, us: int) -> AlertRaised:
    """Alert that a client did not apply a HALT in time."""
    waited = us / SECOND - late.published.timestamp()
    return _alert(
        alert_key(late),
        f"{NAME}/{us}/{late.decision_id}",
        us,
        scope=late.scope,
        severity=State.HALT,
        title=f"{late.client} did not apply the HALT of {late.scope}",
        reasons=[late.why, f"it was told {waited:.1f} s ago"],
        decision_id=late.decision_id,
    )


def drill_raised(key: str, wanted: Wanted, us: int) -> AlertRaised:
    """Alert that a drill failed, or was not run."""
    return _alert(
        key,
        f"{NAME}/{us}/{key}",
        us,
        scope=wanted.scope,
        severity=State.WATCH,
        title=wanted.title,
        reasons=list(wanted.reasons),
    )


def _alert(key: str, cause: str, us: int, **said: Any) -> AlertRaised:
    """Alert of this worker, which knows neither causes nor dollars."""
    return AlertRaised(
        **Origin(cause, moment(us)).stamp(AlertRaised, key),
        alert=key,
        cause=Cause.UNKNOWN,
        exposure_usd=Decimal(0),
        **said,
    )


def resolved(key: str, scope: str, opened: str, us: int) -> AlertResolved:
    """Say that it is over: a client applied it after all, a drill passed, nothing is asked."""
    origin = Origin(opened, moment(us), f"{opened}/{us}")
    return AlertResolved(
        **origin.stamp(AlertResolved, key),
        alert=key,
        scope=scope,
        opened_id=opened,
    )
