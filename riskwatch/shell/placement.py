"""A partition as the cluster has it, and whether the stored offsets still belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from riskwatch.errors import StreamIdentityError
from riskwatch.shell.intake import Lane

if TYPE_CHECKING:
    from riskwatch.store.batch import StreamOffset

log = structlog.get_logger("riskwatch.placement")


@dataclass(frozen=True, slots=True)
class Placement:
    """One partition as the cluster has it when a unit opens.

    Attributes
    ----------
    identity : str
        Of its topic.
    partitions : int
        Of its topic.
    first, end : int
        First offset that the broker still has, and the one behind its last.
    """

    identity: str
    partitions: int
    first: int
    end: int


def lane(stream: str, placed: Placement, known: StreamOffset | None) -> Lane:
    """Say where to go on in a partition, or why that cannot be said."""
    if known is None:
        if placed.first:
            log.warning("begins after what the broker dropped", stream=stream, first=placed.first)
        return Lane(placed.identity, placed.first, placed.first, 0, placed.end)
    if known.identity != placed.identity:
        raise StreamIdentityError(
            f"{stream}: the topic is {placed.identity}, the offsets are of {known.identity}: it "
            "was recreated or repartitioned (see docs/operations.md)"
        )
    if placed.first > known.position:
        raise StreamIdentityError(
            f"{stream}: offsets {known.position} to {placed.first - 1} are gone from the broker "
            "and were never read: restore them, or accept the gap (see docs/operations.md)"
        )
    if known.position > placed.end:
        raise StreamIdentityError(
            f"{stream}: read up to offset {known.position}, but the broker ends at {placed.end}: "
            "it lost what it had confirmed (see docs/operations.md)"
        )
    return Lane(placed.identity, known.position, known.position, known.records, placed.end)
