"""Notices in SQL: what is to be delivered, what was, what cannot be, and who was told of what.

Notices, the offsets that they rest on and the state that made them are written in one transaction,
under the lease of the worker ``notify``. Delivery reads from here alone: whatever ends the process
in between, a notice is delivered at least once, always under its own id.
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
from riskwatch.store.write import append, remove, upsert
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
"""Most notices that wait on one route; the least of those beyond are dead letters."""
_FULL: Final = f"QUEUE_FULL: more than {MAX_WAITING} notices wait on this route"
_CHUNK: Final = 200
_STANDING: Final = (0, 0, 0, 0, 0, 1, 1)
"""What `worker_progress` says of a worker without journal and outputs; its format counts."""

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
"""One message to one route, and how its delivery stands."""

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
"""The last word on each raise of an alert and each route."""

_N: Final = NOTICE.c


@dataclass(slots=True)
class NotificationBatch:
    """What becomes true together: dirty state, how far was read, notices, words."""

    rows: RowChanges = field(default_factory=dict)
    offset: StreamOffset | None = None
    notices: list[Row] = field(default_factory=list)
    words: dict[tuple[str, str], Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DueNotification:
    """A notice that may be delivered: the oldest of its group."""

    id: str
    place: int
    urgency: int
    tries: int
    due_ts: datetime


def commit_notifications(
    engine: Engine, epoch: int, told: NotificationBatch, row_format: RowFormat = ROW_FORMAT
) -> int:
    """Make what was said true in one transaction; returns how many notices the queue drove out.

    Raises
    ------
    FencedError
        If another process took the lease.
    StoreUnavailableError
        If the database went away. It may have committed; committing again changes nothing.
    """
    with translate_errors("notices cannot be written"), engine.begin() as conn:
        hold_lease(conn, WORKER, epoch)
        rows, w = told.rows, WORKER
        upsert(conn, STATE_ROW, [(w, STAGE, k, b) for k, b in rows.items() if b is not None])
        remove(conn, STATE_ROW, [(w, STAGE, k) for k, b in rows.items() if b is None])
        if rows:
            upsert(conn, WORKER_PROGRESS, [(w, *_STANDING, ENGINE, row_format.number)])
        if (o := told.offset) is not None:
            upsert(conn, STREAM_OFFSET, [(w, o.stream, o.identity, o.position, o.records)])
        append(conn, NOTICE, told.notices)
        upsert(conn, NOTICE_WORD, list(told.words.values()))
        routes = sorted({row[2] for row in told.notices})
        return sum(_bounded(conn, route) for route in routes)


def _bounded(conn: Connection, route: str) -> int:
    """Give up the least of what waits on a route where that is too much; it can be replayed."""
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
    """Of each group of a route the oldest notice that waits: those behind it keep their order.

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
    """Bytes of a notice, as they are sent each time.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    (row,) = _all(engine, select(_N.body).where(_N.id == notice_id), "a notice cannot be read")
    text: str = row.body
    return text.encode()


def mark_delivered(engine: Engine, epoch: int, notice_id: str, now: datetime) -> None:
    """Take note that a notice arrived."""
    tried = {"status": SENT, "tries": _N.tries + 1, "done_ts": now, "reason": ""}
    _update(engine, epoch, _waiting(notice_id).values(**tried))


def postpone(engine: Engine, epoch: int, notice_id: str, due: datetime, reason: str) -> None:
    """Take note that a notice did not arrive and is to be tried again."""
    tried = {"tries": _N.tries + 1, "due_ts": due, "reason": reason}
    _update(engine, epoch, _waiting(notice_id).values(**tried))


def give_up(engine: Engine, epoch: int, notice_id: str, now: datetime, reason: str) -> None:
    """Take note that a notice is not tried any more: it is a dead letter."""
    tried = {"status": DEAD, "tries": _N.tries + 1, "done_ts": now, "reason": reason}
    _update(engine, epoch, _waiting(notice_id).values(**tried))


def give_up_orphans(engine: Engine, epoch: int, routes: Sequence[str], now: datetime) -> None:
    """Give up what waits on routes that are not there any more."""
    reason = "ROUTE_GONE: notify.toml has no such route"
    gone = update(NOTICE).where(_N.status == WAITING, _N.route.not_in(list(routes)))
    _update(engine, epoch, gone.values(status=DEAD, done_ts=now, reason=reason))


def waiting_counts(engine: Engine) -> dict[str, int]:
    """How many notices wait, by route."""
    query = select(_N.route, func.count()).where(_N.status == WAITING).group_by(_N.route)
    return {row[0]: row[1] for row in _all(engine, query, "notices cannot be counted")}


def last_notification_place(engine: Engine) -> int:
    """Place of the newest notice; 0 if there is none."""
    (row,) = _all(engine, select(func.max(_N.place)), "notices cannot be read")
    return row[0] or 0


def forget_notifications(engine: Engine, before: datetime) -> None:
    """Delete what is done and what was said before a time."""
    with translate_errors("old notices cannot be deleted"), engine.begin() as conn:
        conn.execute(delete(NOTICE).where(_N.made_ts < before, _N.status != WAITING))
        conn.execute(delete(NOTICE_WORD).where(NOTICE_WORD.c.ts < before))


def list_notifications(
    conn: Connection, status: str | None, route: str | None, limit: int
) -> list[Found]:
    """Notices, the newest first, without their bodies."""
    query = select(*(c for c in NOTICE.columns if c.name != "body"))
    if status is not None:
        query = query.where(_N.status == status)
    if route is not None:
        query = query.where(_N.route == route)
    query = query.order_by(_N.place.desc(), _N.id).limit(limit)
    return [dict(row) for row in conn.execute(query).mappings()]


def replay_dead(engine: Engine, ids: Sequence[str], person: str, now: datetime) -> int:
    """Have dead letters delivered again, from the first try; returns how many there were.

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
        for at in range(0, len(ids), _CHUNK):
            some = update(NOTICE).where(_N.id.in_(ids[at : at + _CHUNK]), _N.status == DEAD)
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
