"""The heartbeat of the leading risk worker: it vouches for the whole table of scopes, for a while.

A reader that holds a table with the digest of a heartbeat that is still valid knows where every
scope stands: one that is absent is NORMAL. Without such a heartbeat nothing is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.contracts.heartbeat import TOPIC, Heartbeat
from riskwatch.core.clock import SECOND, moment
from riskwatch.store.batch import OutboxRecord
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from riskwatch.store.table import ScopeTable

EVERY_US: Final = 15 * SECOND
VALID_US: Final = 60 * SECOND


def heartbeat(worker: str, epoch: int, table: ScopeTable, now_us: int) -> Heartbeat:
    """Vouch for a table that was read under the lease."""
    return Heartbeat(
        worker=worker,
        epoch=epoch,
        seq=table.seq,
        digest=table.digest,
        scopes=len(table.states),
        ts=moment(now_us),
        valid_until=moment(now_us + VALID_US),
        engine=ENGINE,
    )


def as_record(beat: Heartbeat) -> OutboxRecord:
    """Make the record of a heartbeat; it passes by the outbox, for it is no truth to keep."""
    return OutboxRecord(beat.seq, TOPIC, "firm", msgspec.json.encode(beat), beat.ts)
