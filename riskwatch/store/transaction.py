"""The transaction of a batch: it writes everything in the batch, or nothing."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, delete, func, or_, select

from riskwatch.contracts.outputs import tag_of_value
from riskwatch.contracts.topics import ALERTS, DLQ_SUFFIX
from riskwatch.core.clock import DAY, moment
from riskwatch.core.migration import ROW_FORMAT, RowFormat
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.errors import StoreError
from riskwatch.store.audit import last_payload, write_audit
from riskwatch.store.batch import Batch, Counts, OutboxRecord, ResumePoint, StreamOffset
from riskwatch.store.engine import headers_from, headers_text, refusing_content, translate_errors
from riskwatch.store.history import prune as prune_history
from riskwatch.store.lease import hold_lease, raise_epoch
from riskwatch.store.project import fold, write_episodes
from riskwatch.store.state_rows import load_rows
from riskwatch.store.truth import (
    DEAD_LETTER,
    LEASE,
    OUTBOX,
    RISK_JOURNAL,
    STATE_ROW,
    STREAM_OFFSET,
    WORKER_PROGRESS,
)
from riskwatch.store.write import append, remove, upsert
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from riskwatch.store.batch import DeadLetter


# The outbox: records that wait for publication.

_C: Final = OUTBOX.c
_COLUMNS: Final = (_C.seq, _C.topic, _C.key, _C.value, _C.ts, _C.raw_key, _C.headers)
_REPLACES: Final = {
    "AlertResolved": "AlertRaised",
    "DataQualityResolved": "DataQualityRaised",
}
"""Output kinds that replace another kind with the same key."""
_ANSWERS: Final = frozenset({"CommandApplied", "CommandRefused"})
"""Answers to commands; they replace nothing."""


def pending_records(
    engine: Engine, worker: str, limit: int, *, latest_only: bool = False
) -> list[OutboxRecord]:
    """Return unpublished outbox records of `worker`, in order, at most `limit`.

    With `latest_only`, replaced records are left out. Only the last record of each topic and key
    stays, on the topic of alerts the last of each kind, and all answers to commands. Dead
    letters always stay.

    Raises
    ------
    StoreError
        If the database cannot be used.
    """
    query = select(*_COLUMNS).where(_C.worker == worker).order_by(_C.seq).limit(limit)
    with translate_errors(f"{worker}: the outbox cannot be read"), engine.connect() as conn:
        if latest_only:
            newest = (
                select(func.max(_C.seq))
                .where(_C.worker == worker, _C.topic != ALERTS)
                .group_by(_C.topic, _C.key)
            )
            latest = _unreplaced_alerts(conn, worker)[:limit]
            query = query.where(
                or_(_C.seq.in_(newest), _C.seq.in_(latest), _C.topic.endswith(DLQ_SUFFIX))
            )
        found = conn.execute(query).all()
    return [OutboxRecord(*row[:6], headers=headers_from(row[6])) for row in found]


def _unreplaced_alerts(conn: Connection, worker: str) -> list[int]:
    """Return the numbers of unreplaced records of the topic of alerts."""
    rows = conn.execute(
        select(_C.seq, _C.key, _C.value)
        .where(_C.worker == worker, _C.topic == ALERTS)
        .order_by(_C.seq)
    )
    last: dict[tuple[str, str], int] = {}
    for seq, key, value in rows:
        tag = tag_of_value(value)
        last[_REPLACES.get(tag, tag), f"{key}|{seq}" if tag in _ANSWERS else key] = seq
    return sorted(last.values())


FIRST: Final = 1
"""Number of the first output and journal entry; 0 means that nothing was published yet."""
_P: Final = WORKER_PROGRESS.c
_PROGRESS: Final = (
    select(_P.next_seq, _P.next_journal, _P.read, _P.us)
    .select_from(LEASE.outerjoin(WORKER_PROGRESS, LEASE.c.worker == _P.worker))
    .where(LEASE.c.worker == bindparam("w"))
)
_DELETE_PUBLISHED: Final = delete(OUTBOX).where(
    OUTBOX.c.worker == bindparam("w"), OUTBOX.c.seq <= bindparam("upto")
)


def take_lease(
    engine: Engine, worker: str, holder: str, row_format: RowFormat = ROW_FORMAT
) -> ResumePoint:
    """Take the lease of `worker`, and load the state from which it resumes.

    The previous holder of the lease is fenced: its next commit fails. State rows of an older
    format are migrated in memory. The database keeps the old rows until the first commit, which
    must write `ResumePoint.migrated`.

    Parameters
    ----------
    engine : Engine
        From :func:`riskwatch.store.engine.open_engine`.
    worker : str
        Worker and partition.
    holder : str
        Host and process of the caller, for people to read.
    row_format : RowFormat
        Format of state rows that the worker reads.

    Raises
    ------
    StoreError
        If the database cannot be used, or the stored state has a newer format than this
        build's. The lease is then unchanged.
    """
    with translate_errors(f"the lease of {worker} cannot be taken"), engine.begin() as conn:
        return _resume(conn, worker, raise_epoch(conn, worker, holder), row_format)


def commit(engine: Engine, batch: Batch, row_format: RowFormat = ROW_FORMAT) -> None:
    """Write a batch in one transaction. Committing it again changes nothing.

    Parameters
    ----------
    engine : Engine
        From :func:`riskwatch.store.engine.open_engine`.
    batch : Batch
        Collected by the runner.
    row_format : RowFormat
        Format of its rows, which is stored with them.

    Raises
    ------
    FencedError
        If another process took the lease: stop without writing.
    StoreError
        If the batch is older than the stored state, its counts do not add up, or the database
        refuses it. Nothing was written.
    StoreUnavailableError
        If the database is lost. The batch may be committed, and committing again is safe.
    """
    if not batch.counts.is_conserved():
        raise StoreError(f"{batch.worker}: counts do not add up: {batch.counts}")
    what = f"{batch.worker}: batch refused"
    with refusing_content(what), translate_errors(what), engine.begin() as conn:
        _write(conn, batch, row_format)


def _resume(conn: Connection, worker: str, epoch: int, row_format: RowFormat) -> ResumePoint:
    o = STREAM_OFFSET.c
    rows, migrated = load_rows(conn, worker, row_format)
    offsets = [
        StreamOffset(*row)
        for row in conn.execute(
            select(o.stream, o.identity, o.position, o.records).where(o.worker == worker)
        )
    ]
    p = conn.execute(select(WORKER_PROGRESS).where(_P.worker == worker)).one_or_none()
    return ResumePoint(
        epoch=epoch,
        rows=rows,
        offsets={found.stream: found for found in sorted(offsets, key=lambda x: x.stream)},
        counts=Counts(p.read, p.applied, p.duplicate, p.rejected) if p else Counts(),
        us=p.us if p else 0,
        next_seq=p.next_seq if p else FIRST,
        next_journal=p.next_journal if p else FIRST,
        configured=last_payload(conn, worker, ConfigurationChanged),
        migrated=migrated,
    )


def _write(conn: Connection, batch: Batch, row_format: RowFormat) -> None:
    w = batch.worker
    next_seq, next_journal, last_us = _fence(conn, batch)
    # An earlier try may have written a part; its sequence numbers show which.
    outputs = [s for s in batch.outputs if s.seq >= next_seq]
    forwards = [f for f in batch.forwards if f.seq >= next_seq]
    journal = [e for e in batch.journal if e.seq >= next_journal]
    for stage, changes in batch.rows.items():
        upsert(
            conn,
            STATE_ROW,
            [(w, stage, k, body) for k, body in changes.items() if body is not None],
        )
        remove(conn, STATE_ROW, [(w, stage, k) for k, body in changes.items() if body is None])
    upsert(
        conn,
        STREAM_OFFSET,
        [(w, o.stream, o.identity, o.position, o.records) for o in batch.offsets],
    )
    append(
        conn,
        RISK_JOURNAL,
        [(w, e.seq, e.us, _day(e.us // DAY), e.kind, e.payload) for e in journal],
    )
    append(conn, DEAD_LETTER, [_dead(w, letter) for letter in batch.dead_letters])
    folded = fold(s.output for s in outputs)
    folded.write(conn)
    write_episodes(conn, w, folded.episodes)
    if batch.us // DAY > last_us // DAY:
        prune_history(conn, moment(batch.us))
    write_audit(conn, w, outputs)
    _relay(conn, batch, next_seq)
    c = batch.counts
    seqs = [s.seq for s in outputs] + [f.seq for f in forwards]
    last_seq = max(seqs, default=next_seq - 1) + 1
    last_journal = max((e.seq + 1 for e in journal), default=next_journal)
    progress = (c.read, c.applied, c.duplicate, c.rejected, batch.us, last_seq, last_journal)
    upsert(conn, WORKER_PROGRESS, [(w, *progress, ENGINE, row_format.number)])


def _fence(conn: Connection, batch: Batch) -> tuple[int, int, int]:
    """Hold the lease until the end of the transaction.

    Return the next number of an output and of a journal entry, and the event time reached.
    """
    hold_lease(conn, batch.worker, batch.epoch)
    found = conn.execute(_PROGRESS, {"w": batch.worker}).one()
    if found.read is None:
        return FIRST, FIRST, batch.us
    if batch.counts.read < found.read:
        raise StoreError(
            f"{batch.worker}: the batch ends at record {batch.counts.read}, but {found.read} "
            "are already stored"
        )
    return found.next_seq, found.next_journal, found.us


def _relay(conn: Connection, batch: Batch, next_seq: int) -> None:
    if batch.published_seq:
        conn.execute(_DELETE_PUBLISHED, {"w": batch.worker, "upto": batch.published_seq})
    rows = [
        (batch.worker, r.seq, r.topic, r.key, r.value, r.ts, r.raw_key, headers_text(r.headers))
        for r in batch.outbox()
        if r.seq >= next_seq
    ]
    append(conn, OUTBOX, rows)


def _dead(worker: str, letter: DeadLetter) -> tuple[Any, ...]:
    return (
        worker,
        letter.stream,
        letter.position,
        letter.reason.value,
        letter.detail,
        letter.payload,
        len(letter.payload),
        sha256(letter.payload).hexdigest(),
        letter.key,
        headers_text(letter.headers),
        letter.us,
    )


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    return moment(number * DAY).date().isoformat()
