"""What a belief comes to, in the words of an acknowledgement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.contracts.acks import SCOPES, Ack, AppliedScope
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.reasons import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from riskwatch.client.guard.belief import Belief
    from riskwatch.client.guard.view import Row
    from riskwatch.contracts.acks import Used


def acknowledgement(
    belief: Belief,
    client: str,
    started: datetime,
    unwound: dict[str, Used],
    sources: Mapping[str, str],
) -> Ack:
    """Say what was applied until now."""
    with belief.lock:
        rows = [row for row in belief.table.rows() if row.state is not State.NORMAL]
        rows.sort(key=lambda row: (-row.state.rank, row.scope))
        beat, (epoch, seq) = belief.verified, belief.table.newest
        floor = belief.floor()
        return Ack(
            client=client,
            started=started,
            epoch=epoch,
            seq=seq,
            beat_seq=0 if beat is None else beat.seq,
            beat_ts=None if beat is None else beat.ts,
            digest=belief.table.digest(),
            floor=floor,
            why="" if floor is State.NORMAL else belief.view.bound,
            scopes={row.scope: _applied(row) for row in rows[:SCOPES]},
            left_out=max(0, len(rows) - SCOPES),
            unwound=unwound,
            sources=dict(sources),
            sent_ts=at(belief.calendar.wall()),
        )


def _applied(row: Row) -> AppliedScope:
    return AppliedScope(
        state=row.state, decision_id=row.decision_id, seq=row.seq, applied_ts=at(row.applied)
    )


def at(wall: float) -> datetime:
    """Moment of seconds since 1970."""
    return moment(int(wall * SECOND))
