"""Checkpoints of the journal: a replay from the last one makes a new one for each day.

During the replay, every decision must equal the one in the audit chain, byte for byte. A
re-derivation from a checkpoint therefore gives the result of the whole journal, as long as the
digest of the checkpoint is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from riskwatch.audit.rederivation import Rederivation, foreign
from riskwatch.contracts.audit import GENESIS
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.outputs import DecisionMade
from riskwatch.errors import StoreError
from riskwatch.store.audit import AUDIT_CHAIN, deployment_at, stretches
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
    """Replay the journal of a worker from its last checkpoint, and write one for each day.

    Parameters
    ----------
    conn : Connection
        Reads; see :func:`riskwatch.store.queries.open_reader`. It must not hold the write lock,
        because a worker may be running.
    engine : Engine
        Writes the checkpoints.
    worker : str
        Name of the worker.
    keep : int
        Number of newest checkpoints whose rows stay.
    end : bool
        Write one at the last entry of the journal, too. If it is written before an upgrade, with
        the worker stopped, the next engine continues from it.

    Returns
    -------
    list of Checkpoint
        The new checkpoints.

    Raises
    ------
    StoreError
        If the journal is gone or does not give the decisions of the chain, the last checkpoint
        was changed, or another engine applied the journal and left no checkpoint at its last
        entry. Checkpoints that were written before the error stay.
    """
    found = usable_checkpoints(conn, worker)
    parts = stretches(conn, worker)
    why = foreign(conn, worker, parts[-1]) if parts and not found else ""
    if why:
        raise StoreError(f"{worker}: {why}: no checkpoint can be kept")
    start = found[-1] if found else None
    seq, digest = (0, GENESIS) if start is None else (start.audit_seq, start.audit_digest)
    made: list[Checkpoint] = []

    def write_at(journal: int, us: int) -> None:
        new = Checkpoint(
            worker=worker,
            journal=journal,
            us=us,
            audit_seq=seq,
            audit_digest=digest,
            events=events,
            deployment=deployment_at(conn, worker, journal),
        )
        made.append(write_checkpoint(engine, new, replay.rows(), keep=keep))

    replay = Rederivation(conn, worker, start, write_at)
    events = replay.keeps_events()
    for output in replay.outputs():
        if isinstance(output, DecisionMade):
            seq, digest = _next(conn, worker, seq, output)
    if end and replay.read:
        write_at(*replay.reached)
    return made


def _next(conn: Connection, worker: str, seq: int, output: DecisionMade) -> tuple[int, str]:
    """Return sequence number and digest of the next decision in the chain; it must be `output`."""
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
