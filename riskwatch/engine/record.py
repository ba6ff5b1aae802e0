"""The input record: one decoded message of an input stream, its identity and arrival time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.contracts.codec import content_bytes
from riskwatch.contracts.refusal import Refusal, refuse
from riskwatch.contracts.topics import TOPICS, topic_of
from riskwatch.contracts.validation import MAX_AHEAD, check_not_future
from riskwatch.core.clock import MICRO, SECOND, micros, moment, rfc3339
from riskwatch.core.dedupe import NOT_COMPARED, content_digest, identity_digest
from riskwatch.core.enums import RejectReason
from riskwatch.core.events import (
    Balance,
    Command,
    OpenOrder,
    Peg,
    Position,
    Quote,
    WireEvent,
    identity,
)
from riskwatch.core.readings import CounterpartyReading, LedgerMessage, PartitionFault

if TYPE_CHECKING:
    from datetime import datetime

    from riskwatch.core.policy import IntakeConfig


_AHEAD_US: Final = MAX_AHEAD // MICRO
_READINGS: Final = next(t.name for t in TOPICS.values() if CounterpartyReading in t.carries)
FORWARDED: Final = (CounterpartyReading, PartitionFault)
"""Messages that one worker sends to another. All others come from outside."""


def cause_of(event: WireEvent | LedgerMessage) -> str:
    """Return the identity of an event. A repeat has the same identity."""
    if isinstance(event, CounterpartyReading):
        return f"reading/{event.counterparty}/{event.us}"
    if isinstance(event, PartitionFault):
        return f"fault/{event.fault}/{'begins' if event.counterparties else 'ends'}"
    return identity(event)


class InputIdentity(msgspec.Struct, frozen=True, gc=False):
    """The identity of an input on its topic, and the digests under which the window keeps it.

    Attributes
    ----------
    topic : str
        The topic to which inputs of this type belong.
    mark : bytes
        See :func:`riskwatch.core.dedupe.identity_digest`.
    content : bytes
        Digest of what the event says. A message between workers has none, because a worker
        that restarts sends the same message again.
    """

    topic: str
    mark: bytes
    content: bytes


def input_identity(event: WireEvent | LedgerMessage, cause: str) -> InputIdentity:
    """Return the identity of an input whose :func:`cause_of` is `cause`."""
    if isinstance(event, FORWARDED):
        return InputIdentity(_READINGS, identity_digest(_READINGS, cause), NOT_COMPARED)
    topic = topic_of(event)
    return InputIdentity(topic, identity_digest(topic, cause), content_digest(content_bytes(event)))


def arrival_time(event: WireEvent, arrived_us: int) -> datetime:
    """Return the arrival time of an event that the broker took at `arrived_us` (0: no broker).

    An arrival time that the event has already stays. A replay has no clock: without an arrival
    time, the event time stands for it. The arrival of a command is always the broker's time,
    because its sender must not be able to make an old command fresh.
    """
    has_clock = arrived_us > 0
    if event.arrived is not None and not (has_clock and isinstance(event, Command)):
        return event.arrived
    return moment(arrived_us) if has_clock else event.ts


def refuse_future(event: WireEvent, arrived_us: int) -> Refusal | None:
    """Refuse an event whose event time is ahead of the broker's time, whatever its arrival says.

    A sender whose clock is ahead sets both times by that clock. Without a broker's clock
    (`arrived_us` is 0) no event is ahead.
    """
    if arrived_us <= 0 or micros(event.ts) - arrived_us <= _AHEAD_US:
        return None
    return check_not_future(msgspec.structs.replace(event, arrived=moment(arrived_us)))


def refuse_later(event: WireEvent, now: datetime) -> Refusal | None:
    """Refuse an event of a file that is later than `now`, the time of this machine.

    A file has no broker whose clock could tell. One event of the far future would move the event
    time there, which never moves back, and every later fact would be without effect.
    """
    if event.ts - now <= MAX_AHEAD:
        return None
    return refuse(
        RejectReason.TS_FROM_FUTURE,
        f"ts must not be later than now, which is {now.isoformat()} by the clock of this machine, "
        f"was {event.ts.isoformat()}",
    )


def event_time(event: WireEvent | LedgerMessage, arrived_us: int) -> int:
    """Return the event time of an accepted message, microseconds.

    A message that is far ahead of the broker's time and still counts (a HALT, a reading of another
    worker) has the broker's time: it moves nobody's time, and waits for nobody.
    """
    us = event.us if isinstance(event, FORWARDED) else micros(event.ts)
    return arrived_us if us - arrived_us > _AHEAD_US and arrived_us > 0 else us


_MARKET: Final = (Quote, Peg)
_SNAPSHOTS: Final = (Balance, Position, OpenOrder)


def refuse_old(event: WireEvent, arrived_us: int, intake: IntakeConfig) -> Refusal | None:
    """Refuse a price or a snapshot that arrived too long after its time, live.

    It says nothing about the present. All other facts count at any age.
    """
    if isinstance(event, _MARKET):
        longest_s = intake.market_age_s
    elif isinstance(event, _SNAPSHOTS):
        longest_s = intake.snapshot_age_s
    else:
        return None
    us = micros(event.ts)
    if arrived_us - us <= longest_s * SECOND or event.source in intake.backfill:
        return None
    return refuse(
        RejectReason.TS_TOO_OLD,
        f"ts must be at most {longest_s:g} s before the arrival, was {rfc3339(us)} with arrival "
        f"{rfc3339(arrived_us)}; if {event.source} sends history on purpose, name it in [intake] "
        "backfill of policy.toml",
    )


NO_EVENT_TIME: Final = -1
"""Event time of a message that is not an event: it sorts before all events."""


class InputRecord(msgspec.Struct, frozen=True, gc=False):
    """A message that was decoded once, and its place in its stream.

    Attributes
    ----------
    stream : str
        Name of the stream.
    position : int
        First byte in a file, or offset in a partition.
    raw : bytes
        The bytes as received; of an oversized message the beginning.
    event : WireEvent, LedgerMessage or Refusal
        The decoded message, or the reason why it was refused.
    us : int
        Event time, microseconds; :data:`NO_EVENT_TIME` for a refusal.
    key : bytes or None
        Key of the message, if its stream has keys.
    headers : tuple of (str, bytes)
        Headers of the message; of an oversized message its size and digest.
    arrived_us : int
        Broker's time when it took the message, microseconds; 0 if the stream has no clock.
    """

    stream: str
    position: int
    raw: bytes
    event: WireEvent | LedgerMessage | Refusal
    us: int
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    arrived_us: int = 0
