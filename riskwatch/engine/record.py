"""One message of an input stream on its way through a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.validation import MAX_AHEAD, check_not_future
from riskwatch.core.clock import MICRO, micros, moment
from riskwatch.core.events import Command, WireEvent, identity
from riskwatch.core.readings import CounterpartyReading, LedgerMessage, PartitionFault

if TYPE_CHECKING:
    from datetime import datetime


# An event as it comes in: by which name it is known, and when it arrived.

_AHEAD_US: Final = MAX_AHEAD // MICRO
FORWARDED: Final = (CounterpartyReading, PartitionFault)
"""What one worker sends another; all else comes from outside."""


def cause_of(event: WireEvent | LedgerMessage) -> str:
    """Identity by which a repeat is known."""
    if isinstance(event, CounterpartyReading):
        return f"reading/{event.counterparty}/{event.us}"
    if isinstance(event, PartitionFault):
        return f"fault/{event.fault}/{'begins' if event.counterparties else 'ends'}"
    return identity(event)


def arrival_time(event: WireEvent, arrived_us: int) -> datetime:
    """When an event arrived, of one that the broker took at `arrived_us` (0 without a broker).

    The first stamp stays. A replay has no clock: what was not stamped at its first hop arrived
    when it happened. A command arrives when the broker says so, for its sender must not make an
    old one fresh.
    """
    has_clock = arrived_us > 0
    if event.arrived is not None and not (has_clock and isinstance(event, Command)):
        return event.arrived
    return moment(arrived_us) if has_clock else event.ts


def refuse_future(event: WireEvent, arrived_us: int) -> Refusal | None:
    """Refuse an event that happened after the broker took it, whoever stamped it before.

    A sender whose clock is ahead stamps what it sends with that clock. Without a broker's clock
    (`arrived_us` is 0) nothing is ahead.
    """
    if arrived_us <= 0 or micros(event.ts) - arrived_us <= _AHEAD_US:
        return None
    return check_not_future(msgspec.structs.replace(event, arrived=moment(arrived_us)))


NO_EVENT_TIME: Final = -1
"""Event time of what is no event: before all that have one."""


class InputRecord(msgspec.Struct, frozen=True, gc=False):
    """A message, decoded once, and where it came from.

    Attributes
    ----------
    stream : str
        Name of its stream.
    position : int
        Its byte in a file, or its offset in a partition.
    raw : bytes
        The bytes as they came; of an oversized message the beginning.
    event : WireEvent, Forwarded or Refusal
        What they say, or why they say nothing.
    us : int
        Event time, microseconds; :data:`TIMELESS` for a refusal.
    key : bytes or None
        Key of the message, where its stream has keys.
    headers : tuple of (str, bytes)
        Headers of the message, and of an oversized one its size and digest.
    arrived_us : int
        When the broker took it, microseconds; 0 where its stream has no clock.
    """

    stream: str
    position: int
    raw: bytes
    event: WireEvent | LedgerMessage | Refusal
    us: int
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    arrived_us: int = 0
