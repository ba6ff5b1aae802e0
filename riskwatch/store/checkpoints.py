"""Checkpoints: stage rows at a journal entry, from which decisions can be derived again.

A checkpoint is made by replaying the journal, and only if every decision on the way equals the
one in the audit chain. It uses no state of the running worker. Its digest covers its rows, its
journal entry, the checkpoint before it, and the row of the last decision in the audit chain.

An engine continues from its own checkpoints. It uses a checkpoint of another engine in one case
alone: if the other engine applied its last entry exactly there. At that entry the rows were
handed over, as when a worker starts after an upgrade. Rows of an older format are migrated when
they are read, after their digest was checked. Rows of a newer format are not used. Stored
checkpoints are never changed.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    Table,
    Text,
    delete,
    select,
)

from riskwatch.contracts.audit import GENESIS
from riskwatch.core.migration import ROW_FORMAT, RowFormat
from riskwatch.core.stage import FORMAT
from riskwatch.errors import StoreError
from riskwatch.store.audit import AUDIT_CHAIN, Stretch, deployment_at, stretches
from riskwatch.store.engine import translate_errors
from riskwatch.store.types import METADATA
from riskwatch.store.write import add
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.engine import Connection, Engine

    Rows = Mapping[str, Mapping[str, bytes]]
    """Bodies by stage and key."""

DOMAIN: Final = b"riskwatch/checkpoint/v1"
MAX_CHECKPOINT_ROWSETS: Final = 32
"""Number of newest checkpoints of a worker whose rows are kept. The rows of the last one of each
engine are kept too. Of other checkpoints only the digests stay."""

CHECKPOINT: Final = Table(
    "checkpoint",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("journal", BigInteger, primary_key=True),
    Column("us", BigInteger, nullable=False),
    Column("audit_seq", BigInteger, nullable=False),
    Column("audit_digest", Text, nullable=False),
    Column("events", Boolean, nullable=False),
    Column("engine", Text, nullable=False),
    Column("state_format", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("deployment", Text, nullable=False),
)

CHECKPOINT_ROW: Final = Table(
    "checkpoint_row",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("journal", BigInteger, primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

_C: Final = CHECKPOINT.c
_R: Final = CHECKPOINT_ROW.c
_VALUES: Final = attrgetter(*_C.keys())


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint, without its rows.

    Attributes
    ----------
    worker, journal : str, int
        Worker, and the last entry of its journal in the checkpoint.
    us : int
        Event time of that entry of the journal, microseconds.
    audit_seq, audit_digest : int, str
        Row of the last decision before it in the audit chain; 0 and zeros if there was none.
    events : bool
        Whether the journal also holds the events of the ledger.
    engine, state_format : str, int
        Version that made it, and the format of its rows.
    content : str
        Digest of its rows.
    previous, digest : str
        Digests of the checkpoint before it, and of this one.
    deployment : str
        Deployment under which that entry was applied; empty as in
        :func:`riskwatch.store.audit.deployment_at`.
    """

    worker: str
    journal: int
    us: int
    audit_seq: int = 0
    audit_digest: str = GENESIS
    events: bool
    engine: str = ENGINE
    state_format: int = FORMAT
    content: str = ""
    previous: str = GENESIS
    digest: str = ""
    deployment: str = ""


class CheckpointError(StoreError):
    """A checkpoint was changed after it was made."""


def digest_of(checkpoint: Checkpoint) -> str:
    """Compute the digest of a checkpoint, over all its other fields.

    A checkpoint without a deployment has the digest that builds before deployments gave it.
    """
    left_out = ("digest",) if checkpoint.deployment else ("digest", "deployment")
    return _framed(str(getattr(checkpoint, name)) for name in _C.keys() if name not in left_out)  # noqa: SIM118 - of columns


def content_of(rows: Rows) -> str:
    """Return the digest of rows; their order does not matter."""
    return _framed(
        part
        for stage, bodies in sorted(rows.items())
        for key, body in sorted(bodies.items())
        for part in (stage, key, body)
    )


def write_checkpoint(
    engine: Engine, made: Checkpoint, rows: Rows, *, keep: int = MAX_CHECKPOINT_ROWSETS
) -> Checkpoint:
    """Store a checkpoint after the last one of its worker, and delete rows of old ones.

    Raises
    ------
    StoreError
        If the database refuses, because another process stores one at the same moment.
    """
    worker = made.worker
    with translate_errors(f"{worker}: the checkpoint cannot be kept"), engine.begin() as conn:
        before = checkpoints(conn, worker)
        previous = before[-1].digest if before else GENESIS
        made = msgspec.structs.replace(made, content=content_of(rows), previous=previous)
        made = msgspec.structs.replace(made, digest=digest_of(made))
        add(conn, CHECKPOINT, [_VALUES(made)])
        bodies = [
            (worker, made.journal, stage, key, body)
            for stage, found in rows.items()
            for key, body in found.items()
        ]
        add(conn, CHECKPOINT_ROW, bodies)
        every = [*before, made]
        old = [found.journal for found in every[:-keep]]
        # The next engine continued from the last checkpoint of an engine, so its rows stay.
        last = [found.journal for found, after in pairwise(every) if found.engine != after.engine]
        if old:
            deletion = delete(CHECKPOINT_ROW).where(_R.worker == worker, _R.journal <= old[-1])
            conn.execute(deletion.where(_R.journal.not_in(last)))
    return made


def checkpoints(conn: Connection, worker: str) -> list[Checkpoint]:
    """Return all checkpoints of a worker in order, with those that have no rows."""
    found = conn.execute(select(CHECKPOINT).where(_C.worker == worker).order_by(_C.journal))
    return [Checkpoint(**row) for row in found.mappings()]


def usable_checkpoints(
    conn: Connection, worker: str, stretch: Stretch | None = None
) -> list[Checkpoint]:
    """Return the checkpoints from which this engine can continue, in order.

    Parameters
    ----------
    conn : Connection
        Connection to read with.
    worker : str
        Worker of the journal.
    stretch : Stretch, optional
        Part of the journal to derive; the last part by default.
    """
    if stretch is None:
        found = stretches(conn, worker)
        stretch = found[-1] if found else Stretch(ENGINE, 0, 1)
    if stretch.engine != ENGINE:
        return []
    query = select(_R.journal).where(_R.worker == worker).distinct()
    kept = set(conn.execute(query).scalars())
    before = stretch.first - 1
    return [
        found
        for found in checkpoints(conn, worker)
        if found.journal in kept
        and found.deployment == deployment_at(conn, worker, found.journal)
        and before <= found.journal <= stretch.last
        and found.state_format <= FORMAT
        and (found.engine == ENGINE or found.journal == before)
    ]


def checkpoint_rows(
    conn: Connection, checkpoint: Checkpoint, row_format: RowFormat = ROW_FORMAT
) -> dict[str, dict[str, bytes]]:
    """Read the rows of a checkpoint, in the format of this build.

    Raises
    ------
    CheckpointError
        If the checkpoint was changed after it was made, or is of another deployment.
    RowFormatError
        If its rows are newer than the format.
    """
    own = deployment_at(conn, checkpoint.worker, checkpoint.journal)
    if checkpoint.deployment != own:
        raise CheckpointError(_foreign(checkpoint, own))
    rows = _rows(conn, checkpoint)
    if digest_of(checkpoint) != checkpoint.digest or content_of(rows) != checkpoint.content:
        hint = "; `riskwatch verify --whole` does without" if checkpoint.engine == ENGINE else ""
        raise CheckpointError(f"{_changed(checkpoint)}{hint}")
    return row_format.migrate(rows, checkpoint.state_format, checkpoint.engine)


def check_checkpoints(conn: Connection, worker: str) -> Iterator[str]:
    """Yield a line for each fault of a worker's checkpoints; none if all are unchanged."""
    kept = set(conn.execute(select(_R.journal).where(_R.worker == worker).distinct()).scalars())
    before = GENESIS
    for found in checkpoints(conn, worker):
        place = f"{worker} checkpoint at entry {found.journal}"
        if found.previous != before:
            yield f"{place}: does not continue the one before it"
        if digest_of(found) != found.digest or (
            found.journal in kept and content_of(_rows(conn, found)) != found.content
        ):
            yield _changed(found)
        elif found.deployment != (own := deployment_at(conn, worker, found.journal)):
            yield _foreign(found, own)
        elif found.audit_digest != _audited(conn, found):
            yield f"{place}: stands behind another row {found.audit_seq} of the audit chain"
        before = found.digest
        kept.discard(found.journal)
    for journal in sorted(kept):
        yield f"{worker} checkpoint at entry {journal}: has rows, and no digest"


def _rows(conn: Connection, checkpoint: Checkpoint) -> dict[str, dict[str, bytes]]:
    query = (
        select(_R.stage, _R.key, _R.body)
        .where(_R.worker == checkpoint.worker, _R.journal == checkpoint.journal)
        .order_by(_R.stage, _R.key)
    )
    rows: dict[str, dict[str, bytes]] = {}
    for stage, key, body in conn.execute(query):
        rows.setdefault(stage, {})[key] = bytes(body)
    # Databases order text differently, so sort here.
    return {stage: dict(sorted(found.items())) for stage, found in sorted(rows.items())}


def _audited(conn: Connection, checkpoint: Checkpoint) -> str:
    if checkpoint.audit_seq == 0:
        return GENESIS
    a = AUDIT_CHAIN.c
    query = select(a.digest).where(a.worker == checkpoint.worker, a.seq == checkpoint.audit_seq)
    return str(conn.execute(query).scalar_one_or_none())


def _changed(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.worker} checkpoint at entry {checkpoint.journal}: was changed"


def _foreign(checkpoint: Checkpoint, own: str) -> str:
    return (
        f"{checkpoint.worker} checkpoint at entry {checkpoint.journal}: is of deployment "
        f"{checkpoint.deployment or 'none'}, and the entry is of {own or 'none'}"
    )


def _framed(parts: Iterator[str | bytes] | Iterator[str]) -> str:
    h = sha256(DOMAIN)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "big"))
        h.update(data)
    return h.hexdigest()
