"""Event time as integers: microseconds since 1970, UTC. `core` has no other clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICRO: Final = timedelta(microseconds=1)
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EPOCH_WEEKDAY: Final = 3
"""Index of 1970-01-01, a Thursday, in the weekdays."""


def micros(moment: datetime) -> int:
    """Return the microseconds from 1970-01-01T00:00Z to `moment`, which must have a time zone.

    Examples
    --------
    >>> micros(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (moment - EPOCH) // MICRO


@lru_cache(maxsize=64)
def moment(us: int) -> datetime:
    """Return the time in UTC of `us` microseconds since 1970; the inverse of :func:`micros`.

    Examples
    --------
    >>> moment(1_000_000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    return EPOCH + timedelta(microseconds=us)


def rfc3339(us: int) -> str:
    """Return the RFC 3339 text of an event time, without a fraction if the seconds are whole.

    Examples
    --------
    >>> rfc3339(1_678_504_380_000_000)
    '2023-03-11T03:13:00Z'
    """
    return moment(us).isoformat().replace("+00:00", "Z")
