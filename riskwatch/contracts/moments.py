"""Which times the contract accepts, and how they become UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from riskwatch.contracts.refusal import Refusal, refuse
from riskwatch.core.reasons import RejectReason

if TYPE_CHECKING:
    from riskwatch.core.events import Event

EARLIEST: Final = datetime(2009, 1, 1, tzinfo=UTC)
"""First time accepted: the year of the first coin."""
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""First time no longer accepted."""
AHEAD: Final = timedelta(seconds=5)
"""How far an event time may lie after its arrival: what clocks may differ."""


def in_utc(event: Event, names: tuple[str, ...]) -> dict[str, datetime] | Refusal:
    """Times of `event` that are not in UTC, as they are there, or which of them cannot be.

    Parameters
    ----------
    event : Event
        As it was decoded.
    names : tuple of str
        Its fields that are times.
    """
    changes: dict[str, datetime] = {}
    for name in names:
        value: datetime | None = getattr(event, name)
        if value is None:
            continue
        if not EARLIEST <= value < LATEST:
            return refuse(
                RejectReason.TS_OUT_OF_RANGE,
                f"{name} must be from {EARLIEST.date()} and before {LATEST.date()}, "
                f"was {value.isoformat()}",
            )
        if value.tzinfo is not UTC:  # in range, so no shift can leave the calendar
            changes[name] = value.astimezone(UTC)
    return changes


def from_future(event: Event) -> Refusal | None:
    """Refuse an event that happened more than :data:`AHEAD` after it arrived.

    Decoding asks this where `arrived` is on the wire; the first hop, which stamps it, asks
    again after :func:`riskwatch.contracts.codec.stamp`.
    """
    if event.arrived is not None and event.ts - event.arrived > AHEAD:
        return refuse(
            RejectReason.TS_FROM_FUTURE,
            f"ts must be at most {AHEAD.seconds} s after arrived, "
            f"was {event.ts.isoformat()} with arrived {event.arrived.isoformat()}",
        )
    return None
