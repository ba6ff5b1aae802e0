"""One message of an input stream on its way through a worker."""

from __future__ import annotations

from typing import Final

import msgspec

from riskwatch.contracts.refusal import Refusal
from riskwatch.core.events import WireEvent
from riskwatch.core.readings import Forwarded

TIMELESS: Final = -1
"""Event time of what is no event: before all that have one."""


class Record(msgspec.Struct, frozen=True, gc=False):
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
    event: WireEvent | Forwarded | Refusal
    us: int
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    arrived_us: int = 0
