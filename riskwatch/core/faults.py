"""A stage fault as an alert: what it is called, how grave it is, and what to do."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from riskwatch.core.outputs import AlertRaised
from riskwatch.core.reasons import Cause, State

if TYPE_CHECKING:
    from riskwatch.core.outputs import StageFaulted

_NAMED: Final = 20
"""Counterparties that are named one by one."""
_AFTER: Final = (
    "nothing is skipped: a build without the bug goes on (riskwatch dlq retry), or two people "
    "set the message aside (riskwatch dlq quarantine)"
)


def fault_scope(worker: str) -> str:
    """Scope of a worker.

    Examples
    --------
    >>> fault_scope("ledger/3"), fault_alert("ledger/3")
    ('worker:ledger/3', 'worker:ledger/3|fault')
    """
    return f"worker:{worker}"


def fault_alert(worker: str) -> str:
    """Key of the alert that a worker stays down."""
    return f"{fault_scope(worker)}|fault"


def as_alert(fault: StageFaulted) -> AlertRaised:
    """Alert that a stage fault is, under the same id.

    It ranks by severity alone: a worker that is down cannot say how many dollars are with those
    that it answers for. The risk stage raises alerts of its own about them.
    """
    names = fault.counterparties[:_NAMED]
    more = len(fault.counterparties) - len(names)
    about = f"what is held with {', '.join(names)} is not kept up" if names else ""
    return AlertRaised(
        id=fault.id,
        cause_id=fault.cause_id,
        ts=fault.ts,
        engine=fault.engine,
        alert=fault_alert(fault.worker),
        scope=fault_scope(fault.worker),
        severity=State.REDUCE,
        cause=Cause.UNKNOWN,
        title=f"{fault.worker} stays down at {fault.stream} {fault.position}",
        reasons=[
            f"a stage failed {fault.crashes} times there: {fault.error}",
            *([about + (f" (and {more} more)" if more else "")] if about else []),
            _AFTER,
        ],
        exposure_usd=Decimal(0),
    )
