"""An event as it comes in: by which name it is known, and when it arrived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.contracts.codec import stamp
from riskwatch.contracts.moments import from_future
from riskwatch.core.clock import moment
from riskwatch.core.events import identity
from riskwatch.core.readings import CounterpartyReading

if TYPE_CHECKING:
    from riskwatch.contracts.refusal import Refusal
    from riskwatch.core.events import WireEvent
    from riskwatch.shell.record import Record


def cause_of(event: WireEvent | CounterpartyReading) -> str:
    """Identity by which a repeat is known."""
    if isinstance(event, CounterpartyReading):
        return f"reading/{event.counterparty}/{event.us}"
    return identity(event)


def stamped(event: WireEvent, record: Record) -> WireEvent | Refusal:
    """Stamp an event with its arrival; refuse it if it happened after that.

    A replay has no clock: what was not stamped at its first hop arrived when it happened.
    """
    if not record.arrived_us:
        return stamp(event, event.ts)
    arrived = stamp(event, moment(record.arrived_us))
    return from_future(arrived) or arrived
