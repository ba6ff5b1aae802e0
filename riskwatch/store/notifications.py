"""Notifications in SQL: the queue, deliveries, dead letters, and what became of each alert.

Notifications are written in one transaction with the offset and the state that produced them,
under the lease of the worker ``notify``. Delivery reads from these tables alone. So a
notification is delivered at least once after any crash, always under its own id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, delete, func, select, update

from riskwatch.core.migration import ROW_FORMAT, RowFormat
from riskwatch.store.engine import translate_errors
from riskwatch.store.lease import hold_lease
from riskwatch.store.truth import STATE_ROW, STREAM_OFFSET, WORKER_PROGRESS
from riskwatch.store.types import METADATA, FreeText, UtcTime
from riskwatch.store.write import append, chunks, remove, upsert
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Update
    from sqlalchemy.engine import Connection, Engine

    from riskwatch.core.stage import RowChanges
    from riskwatch.store.batch import StreamOffset

    Row = tuple[Any, ...]
    Found = dict[str, Any]

WORKER: Final = "notify"
STAGE: Final = "notify"
WAITING: Final = "waiting"
SENT: Final = "sent"
DEAD: Final = "dead"
MAX_WAITING: Final = 1_000
"""Largest queue of a route. Beyond it the least urgent notifications become dead letters."""
_FULL: Final = f"QUEUE_FULL: more than {MAX_WAITING} notices wait on this route"
_PROGRESS: Final = (0, 0, 0, 0, 0, 1, 1)
"""Columns of `worker_progress` for a worker without journal and outputs."""

NOTICE: Final = Table(
    "notice",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("place", BigInteger, nullable=False),
    Column("route", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("urgency", Integer, nullable=False),
    Column("title", FreeText, nullable=False),
    Column("alerts", Integer, nullable=False),
    Column("body", FreeText, nullable=False),
    Column("ts", UtcTime, nullable=False),
    Column("made_ts", UtcTime, nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_ts", UtcTime, nullable=False),
    Column("done_ts", UtcTime, nullable=True),
    Column("reason", FreeText, nullable=False),
    Column("replayed_by", FreeText, nullable=False),
    Index("ix_notice_route_status_place", "route", "status", "place"),
)
"""Notifications: one message to one route each, with the status of its delivery."""

NOTICE_WORD: Final = Table(
    "notice_word",
    METADATA,
    Column("raise_id", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("alert", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("fate", Text, nullable=False),
    Column("why", FreeText, nullable=False),
    Column("ts", UtcTime, nullable=False, index=True),
    Column("notice_id", Text, nullable=False),
)
"""The last fate of each raise of an alert on each route."""

_N: Final = NOTICE.c


@dataclass(slots=True)
class NotificationBatch:
    """Everything that one transaction writes: changed state, offset, notifications, fates."""

    rows: RowChanges = field(default_factory=dict)
    offset: StreamOffset | None = None
    notices: list[Row] = field(default_factory=list)
    words: dict[tuple[str, str], Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DueNotification:
    """A notification that may be delivered: the oldest of its group."""

    id: str
    place: int
    urgency: int
    tries: int
    due_ts: datetime


def commit_notifications(
    engine: Engine, epoch: int, batch: NotificationBatch, row_format: RowFormat = ROW_FORMAT
) -> int:
    """Write a batch in one transaction; return how many notifications the queue dropped.

    Raises
    ------
    FencedError
        If another process took the lease.
    StoreUnavailableError
        If the database is lost. The batch may be committed, and committing again is safe.
    """
    with translate_errors("notices cannot be written"), engine.begin() as conn:
        hold_lease(conn, WORKER, epoch)
        rows, w = batch.rows, WORKER
        upsert(conn, STATE_ROW, [(w, STAGE, k, b) for k, b in rows.items() if b is not None])
        remove(conn, STATE_ROW, [(w, STAGE, k) for k, b in rows.items() if b is None])
        if rows:
            upsert(conn, WORKER_PROGRESS, [(w, *_PROGRESS, ENGINE, row_format.number)])
        if (o := batch.offset) is not None:
            upsert(conn, STREAM_OFFSET, [(w, o.stream, o.identity, o.position, o.records)])
        append(conn, NOTICE, batch.notices)
        upsert(conn, NOTICE_WORD, list(batch.words.values()))
        routes = sorted({row[2] for row in batch.notices})
        return sum(_bounded(conn, route) for route in routes)


def _bounded(conn: Connection, route: str) -> int:
    """Turn the least urgent notifications beyond the bound into dead letters; return how many."""
    mine = (_N.route == route) & (_N.status == WAITING)
    over = conn.execute(select(func.count()).where(mine)).scalar_one() - MAX_WAITING
    if over <= 0:
        return 0
    least = select(_N.id, _N.made_ts).where(mine).order_by(_N.urgency, _N.place).limit(over)
    for row in conn.execute(least).all():
        given_up = update(NOTICE).where(_N.id == row.id)
        conn.execute(given_up.values(status=DEAD, reason=_FULL, done_ts=row.made_ts))
    return int(over)


def due_notifications(engine: Engine, route: str) -> list[DueNotification]:
    """Return the oldest waiting notification of each group of a route, which keeps the order.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    columns = (_N.id, _N.place, _N.urgency, _N.tries, _N.due_ts, _N.origin, _N.group_key)
    query = (
        select(*columns).where(_N.route == route, _N.status == WAITING).order_by(_N.place, _N.id)
    )
    found: dict[tuple[str, str], DueNotification] = {}
    for row in _all(engine, query, "notices cannot be read"):
        found.setdefault((row.origin, row.group_key), DueNotification(*row[:5]))
    return list(found.values())


def notification_body(engine: Engine, notice_id: str) -> bytes:
    """Return the body of a notification; every try sends the same bytes.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    (row,) = _all(engine, select(_N.body).where(_N.id == notice_id), "a notice cannot be read")
    text: str = row.body
    return text.encode()


def mark_delivered(engine: Engine, epoch: int, notice_id: str, now: datetime) -> None:
    """Mark a notification as delivered."""
    values = {"status": SENT, "tries": _N.tries + 1, "done_ts": now, "reason": ""}
    _update(engine, epoch, _waiting(notice_id).values(**values))


def postpone(engine: Engine, epoch: int, notice_id: str, due: datetime, reason: str) -> None:
    """Record a failed try, and the time of the next one."""
    values = {"tries": _N.tries + 1, "due_ts": due, "reason": reason}
    _update(engine, epoch, _waiting(notice_id).values(**values))


def give_up(engine: Engine, epoch: int, notice_id: str, now: datetime, reason: str) -> None:
    """Turn a notification into a dead letter after its last try."""
    values = {"status": DEAD, "tries": _N.tries + 1, "done_ts": now, "reason": reason}
    _update(engine, epoch, _waiting(notice_id).values(**values))


def give_up_orphans(engine: Engine, epoch: int, routes: Sequence[str], now: datetime) -> None:
    """Turn notifications of routes that no longer exist into dead letters."""
    reason = "ROUTE_GONE: notify.toml has no such route"
    orphans = update(NOTICE).where(_N.status == WAITING, _N.route.not_in(list(routes)))
    _update(engine, epoch, orphans.values(status=DEAD, done_ts=now, reason=reason))


def waiting_counts(engine: Engine) -> dict[str, int]:
    """Return the number of waiting notifications by route."""
    query = select(_N.route, func.count()).where(_N.status == WAITING).group_by(_N.route)
    return {row[0]: row[1] for row in _all(engine, query, "notices cannot be counted")}


def last_notification_place(engine: Engine) -> int:
    """Return the place of the newest notification; 0 if there is none."""
    (row,) = _all(engine, select(func.max(_N.place)), "notices cannot be read")
    return row[0] or 0


def forget_notifications(engine: Engine, before: datetime) -> None:
    """Delete finished notifications and fates from before a time."""
    with translate_errors("old notices cannot be deleted"), engine.begin() as conn:
        conn.execute(delete(NOTICE).where(_N.made_ts < before, _N.status != WAITING))
        conn.execute(delete(NOTICE_WORD).where(NOTICE_WORD.c.ts < before))


def list_notifications(
    conn: Connection, status: str | None, route: str | None, limit: int
) -> list[Found]:
    """Return notifications, the newest first, without their bodies."""
    query = select(*(c for c in NOTICE.columns if c.name != "body"))
    if status is not None:
        query = query.where(_N.status == status)
    if route is not None:
        query = query.where(_N.route == route)
    query = query.order_by(_N.place.desc(), _N.id).limit(limit)
    return [dict(row) for row in conn.execute(query).mappings()]


def replay_dead(engine: Engine, ids: Sequence[str], person: str, now: datetime) -> int:
    """Queue dead letters for delivery again, from the first try; return how many.

    Raises
    ------
    StoreError
        If the database refuses.
    """
    again = {
        "status": WAITING, "tries": 0, "due_ts": now, "done_ts": None, "replayed_by": person,
    }  # fmt: skip
    done = 0
    with translate_errors("notices cannot be sent again"), engine.begin() as conn:
        for chunk in chunks(ids):
            some = update(NOTICE).where(_N.id.in_(chunk), _N.status == DEAD)
            done += conn.execute(some.values(**again)).rowcount
    return done


def _waiting(notice_id: str) -> Update:
    return update(NOTICE).where(_N.id == notice_id, _N.status == WAITING)


def _update(engine: Engine, epoch: int, change: Update) -> None:
    with translate_errors("the delivery of a notice cannot be noted"), engine.begin() as conn:
        hold_lease(conn, WORKER, epoch)
        conn.execute(change)


def _all(engine: Engine, query: Any, what: str) -> Sequence[Any]:
    with translate_errors(what), engine.connect() as conn:
        return conn.execute(query).all()
