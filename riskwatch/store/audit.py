"""The audit chain in SQL: what goes into it, and how it is written and read.

Only what decides puts out anything of :data:`AUDITED`, so the risk worker (or the one worker of
an embedded database) has a chain and no other does. A further kind of output joins by a line.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import BigInteger, Column, Index, Table, Text, bindparam, func, select

from riskwatch.contracts.audit import GENESIS, AuditLink, seal
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.clock import micros
from riskwatch.core.outputs import (
    AuthorityChanged,
    CommandApplied,
    CommandRefused,
    ConfigurationChanged,
    ControlChanged,
    DecisionAdvised,
    DecisionMade,
    DrillSignalled,
    KillSwitchChanged,
    Output,
)
from riskwatch.store.types import METADATA
from riskwatch.store.write import add

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.engine import Connection

    from riskwatch.store.batch import SequencedOutput
    from riskwatch.store.write import Row

AUDITED: Final[tuple[type[Output], ...]] = (
    DecisionMade,
    DecisionAdvised,
    KillSwitchChanged,
    ConfigurationChanged,
    CommandApplied,
    CommandRefused,
    ControlChanged,
    AuthorityChanged,
    DrillSignalled,
)
"""Kinds of output that are rows of the chain, each one."""

AUDIT_CHAIN: Final = Table(
    "audit_chain",
    METADATA,
    Column("worker", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("place", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("id", Text, nullable=False, index=True),
    Column("key", Text, nullable=False),
    Column("us", BigInteger, nullable=False),
    Column("engine", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Index("ix_audit_chain_worker_kind_seq", "worker", "kind", "seq"),
)
"""Append only: the database refuses to change, remove or replace a row."""

_C: Final = AUDIT_CHAIN.c
_VALUES: Final = attrgetter(*_C.keys())
_TAIL: Final = (
    select(_C.seq, _C.digest).where(_C.worker == bindparam("w")).order_by(_C.seq.desc()).limit(1)
)
_LAST_OF: Final = (
    select(_C.payload)
    .where(_C.worker == bindparam("w"), _C.kind == bindparam("k"), _C.seq < bindparam("before"))
    .order_by(_C.seq.desc())
    .limit(1)
)
_CONFIGURED: Final = (
    select(_C.seq, _C.engine, _C.payload)
    .where(_C.worker == bindparam("w"), _C.kind == ConfigurationChanged.__name__)
    .order_by(_C.seq)
)
_FETCH: Final = 2_000
BEYOND: Final = 2**63 - 1
"""Further than any place."""


class _Began(msgspec.Struct):
    """Of a :class:`ConfigurationChanged`: the place in the journal from which on it counts."""

    journal: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of a journal that one engine applied, as the recorded configurations tell.

    Attributes
    ----------
    engine : str
        Which one.
    audit_seq : int
        Row of the chain at which it begins.
    first, last : int
        First and last entry of the journal; the last stretch ends at no entry known here.
    """

    engine: str
    audit_seq: int
    first: int
    last: int = BEYOND


def write_audit(conn: Connection, worker: str, outputs: Iterable[SequencedOutput]) -> None:
    """Append what is audited of `outputs`, in order, behind the last row of the worker's chain.

    Called within the transaction of the batch, under the lease: nobody else appends.
    """
    audited = [s for s in outputs if isinstance(s.output, AUDITED)]
    if not audited:
        return
    seq, digest = chain_tail(conn, worker)
    rows: list[Row] = []
    for s in audited:
        o = s.output
        seq += 1
        link = seal(
            AuditLink(
                worker=worker,
                seq=seq,
                place=s.seq,
                kind=type(o).__name__,
                id=o.id,
                key=o.key(),
                us=micros(o.ts),
                engine=o.engine,
                payload=encode_output(o).decode(),
                previous=digest,
                digest="",
            )
        )
        digest = link.digest
        rows.append(_VALUES(link))
    # Not as other rows are written: a row that is there already must fail the batch.
    add(conn, AUDIT_CHAIN, rows)


def chain_tail(conn: Connection, worker: str) -> tuple[int, str]:
    """Last row of a chain and its digest; 0 and zeros if there is none."""
    found = conn.execute(_TAIL, {"w": worker}).one_or_none()
    return (0, GENESIS) if found is None else (found.seq, found.digest)


def last_payload(
    conn: Connection, worker: str, kind: type[Output], before: int = BEYOND
) -> bytes | None:
    """Return the last output of a kind before a row of a worker's chain, as it was encoded."""
    wanted = {"w": worker, "k": kind.__name__, "before": before}
    found = conn.execute(_LAST_OF, wanted).scalar_one_or_none()
    return None if found is None else found.encode()


def last_configuration(conn: Connection) -> bytes | None:
    """Return the configuration that was recorded last, of whichever worker, as it was encoded."""
    query = select(_C.payload).where(_C.kind == ConfigurationChanged.__name__)
    found = conn.execute(query.order_by(_C.us.desc(), _C.seq.desc()).limit(1)).scalar()
    return None if found is None else str(found).encode()


def stretches(conn: Connection, worker: str) -> list[Stretch]:
    """Say which engine applied which part of a worker's journal, in order.

    A worker records its configuration when it begins with another engine. A stretch without an
    entry is left out: its engine started and applied nothing.
    """
    found: list[Stretch] = []
    for seq, engine, payload in conn.execute(_CONFIGURED, {"w": worker}):
        first = msgspec.json.decode(payload, type=_Began).journal
        while found and found[-1].first >= first:
            seq = found.pop().audit_seq  # noqa: PLW2901 - rows from there on belong to this one
        if found and found[-1].engine == engine:
            continue
        found.append(Stretch(engine, seq, first))
    for at, after in enumerate(found[1:]):
        found[at] = replace(found[at], last=after.first - 1)
    return found


def chained_workers(conn: Connection) -> list[str]:
    """Workers that have a chain, sorted."""
    return sorted(conn.execute(select(_C.worker).distinct()).scalars())


def audit_rows(
    conn: Connection, worker: str, *, from_us: int | None = None, to_us: int | None = None
) -> Iterator[AuditLink]:
    """Rows of one chain in order, perhaps only the stretch that covers a time.

    Event time never goes back within a chain but for what a worker says as it begins; the
    stretch is from the first row to the last one with a time in ``[from_us, to_us]``.
    """
    query = select(AUDIT_CHAIN).where(_C.worker == worker)
    if from_us is not None or to_us is not None:
        within = select(func.min(_C.seq), func.max(_C.seq)).where(_C.worker == worker)
        if from_us is not None:
            within = within.where(_C.us >= from_us)
        if to_us is not None:
            within = within.where(_C.us <= to_us)
        first, last = conn.execute(within).one()
        if first is None:
            return
        query = query.where(_C.seq.between(first, last))
    found = conn.execute(query.order_by(_C.seq).execution_options(yield_per=_FETCH))
    for row in found.mappings():
        yield AuditLink(**row)


def audit_row(conn: Connection, output_id: str) -> AuditLink | None:
    """Look up the row of an output; the first, should there be several."""
    query = select(AUDIT_CHAIN).where(_C.id == output_id).order_by(_C.worker, _C.seq).limit(1)
    found = conn.execute(query).mappings().one_or_none()
    return None if found is None else AuditLink(**found)
