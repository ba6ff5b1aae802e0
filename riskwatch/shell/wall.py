"""The clock of this process: the one place of the workers that reads it for the time of day."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def wall_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1_000


def wall() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)
