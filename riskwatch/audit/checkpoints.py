"""Keeping checkpoints: the journal is replayed from the last one, and each new day is one more.

On the way every decision must be the one of the audit chain, byte for byte. So what is derived
from a checkpoint is what the whole journal would give, as far as its digest holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from riskwatch.audit.rederivation import Rederivation, foreign
from riskwatch.contracts.audit import GENESIS
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.outputs import DecisionMade
from riskwatch.errors import StoreError
from riskwatch.store.audit import AUDIT_CHAIN, stretches
from riskwatch.store.checkpoints import (
    MAX_CHECKPOINT_ROWSETS,
    Checkpoint,
    usable_checkpoints,
    write_checkpoint,
)

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine


def keep_checkpoints(
    conn: Connection,
    engine: Engine,
    worker: str,
    *,
    keep: int = MAX_CHECKPOINT_ROWSETS,
    end: bool = False,
) -> list[Checkpoint]:
    """Replay what came since the last checkpoint of a worker, and keep one for each day.

    Parameters
    ----------
    conn : Connection
        To read by; see :func:`riskwatch.store.queries.open_reader`. It must not hold the right to
        write, for a worker may be at work.
    engine : Engine
        To write by.
    worker : str
        Whose journal.
    keep : int
        Checkpoints whose rows stay, the newest.
    end : bool
        Keep one at the last entry of the journal as well. Made before an upgrade, with the worker
        stopped, it is where the next engine goes on from.

    Returns
    -------
    list of Checkpoint
        The new ones.

    Raises
    ------
    StoreError
        If the journal is gone or does not give the decisions of the chain, the last checkpoint
        was changed, or another engine applied the journal and left no checkpoint at its last
        entry. What was kept before that stays.
    """
    found = usable_checkpoints(conn, worker)
    parts = stretches(conn, worker)
    why = foreign(conn, worker, parts[-1]) if parts and not found else ""
    if why:
        raise StoreError(f"{worker}: {why}: no checkpoint can be kept")
    start = found[-1] if found else None
    seq, digest = (0, GENESIS) if start is None else (start.audit_seq, start.audit_digest)
    made: list[Checkpoint] = []

    def keep_at(journal: int, us: int) -> None:
        new = Checkpoint(
            worker=worker,
            journal=journal,
            us=us,
            audit_seq=seq,
            audit_digest=digest,
            events=events,
        )
        made.append(write_checkpoint(engine, new, replay.rows(), keep=keep))

    replay = Rederivation(conn, worker, start, keep_at)
    events = replay.keeps_events()
    for output in replay.outputs():
        if isinstance(output, DecisionMade):
            seq, digest = _next(conn, worker, seq, output)
    if end and replay.read:
        keep_at(*replay.reached)
    return made


def _next(conn: Connection, worker: str, seq: int, output: DecisionMade) -> tuple[int, str]:
    """Row of the next decision in the chain, which must be this one."""
    a = AUDIT_CHAIN.c
    query = select(a.seq, a.digest, a.id, a.payload)
    query = query.where(a.worker == worker, a.kind == DecisionMade.__name__, a.seq > seq)
    row = conn.execute(query.order_by(a.seq).limit(1)).one_or_none()
    if row is None or row.payload.encode() != encode_output(output):
        there = "none" if row is None else row.id
        raise StoreError(
            f"{worker}: the journal gives decision {output.id}, the audit chain has {there} there: "
            "no checkpoint is kept from here on (`riskwatch verify --all` tells more)"
        )
    return row.seq, row.digest
