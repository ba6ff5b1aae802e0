"""What waits to be published: all of it, or only what still says how things stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import func, or_, select

from riskwatch.contracts.outputs import tag_of_value
from riskwatch.contracts.topics import ALERTS, DLQ_SUFFIX
from riskwatch.store.batch import OutboxRecord
from riskwatch.store.engine import answering
from riskwatch.store.headers import headers_from
from riskwatch.store.truth import OUTBOX

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_C: Final = OUTBOX.c
_COLUMNS: Final = (_C.seq, _C.topic, _C.key, _C.value, _C.ts, _C.raw_key, _C.headers)
_SAME: Final = {
    "AlertResolved": "AlertRaised",
    "DataQualityResolved": "DataQualityRaised",
}
"""What tells of the same thing as another, and replaces it."""
_ANSWERS: Final = frozenset({"CommandApplied", "CommandRefused"})
"""What is said once to somebody who asked, and replaces nothing."""


def pending(
    engine: Engine, worker: str, limit: int, *, latest_only: bool = False
) -> list[OutboxRecord]:
    """Outbox records of `worker` that are not known to be published, in order, at most `limit`.

    With `latest_only`, what was replaced since is left out: of each topic and key the last
    record stays, on the topic of alerts the last of each kind, and all answers to commands.
    Dead letters always stay.

    Raises
    ------
    StoreError
        If the database cannot be used.
    """
    query = select(*_COLUMNS).where(_C.worker == worker).order_by(_C.seq).limit(limit)
    with answering(f"{worker}: the outbox cannot be read"), engine.connect() as conn:
        if latest_only:
            newest = (
                select(func.max(_C.seq))
                .where(_C.worker == worker, _C.topic != ALERTS)
                .group_by(_C.topic, _C.key)
            )
            standing = _standing(conn, worker)[:limit]
            query = query.where(
                or_(_C.seq.in_(newest), _C.seq.in_(standing), _C.topic.endswith(DLQ_SUFFIX))
            )
        found = conn.execute(query).all()
    return [OutboxRecord(*row[:6], headers=headers_from(row[6])) for row in found]


def _standing(conn: Connection, worker: str) -> list[int]:
    """Places on the topic of alerts that nothing replaced; a decision replaces no alert."""
    rows = conn.execute(
        select(_C.seq, _C.key, _C.value)
        .where(_C.worker == worker, _C.topic == ALERTS)
        .order_by(_C.seq)
    )
    last: dict[tuple[str, str], int] = {}
    for seq, key, value in rows:
        tag = tag_of_value(value)
        last[_SAME.get(tag, tag), f"{key}|{seq}" if tag in _ANSWERS else key] = seq
    return sorted(last.values())
