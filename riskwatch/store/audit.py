"""The audit chain in SQL: its table, its writer and its readers.

Only the risk worker (or the one worker of an embedded database) emits outputs of the kinds in
:data:`AUDITED`, so no other worker has a chain. To audit a further kind of output, add it there.
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
    DeploymentAdopted,
    DrillSignalled,
    HighWaterMarkSet,
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
    DeploymentAdopted,
    CommandApplied,
    CommandRefused,
    ControlChanged,
    AuthorityChanged,
    DrillSignalled,
    HighWaterMarkSet,
)
"""Output types that are stored in the chain, one row each."""

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
"""Append only: the database refuses to change, delete or replace a row."""

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
"""Greater than any sequence number."""


class _Began(msgspec.Struct):
    """First journal entry and deployment of a :class:`ConfigurationChanged`."""

    journal: int
    deployment: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a journal that one engine applied, according to recorded configurations.

    Attributes
    ----------
    engine : str
        Version of the engine.
    audit_seq : int
        Row of the chain at which the part begins.
    first, last : int
        First and last entry of the journal. The last part is open: it ends at :data:`BEYOND`.
    """

    engine: str
    audit_seq: int
    first: int
    last: int = BEYOND


def write_audit(conn: Connection, worker: str, outputs: Iterable[SequencedOutput]) -> None:
    """Append the audited outputs, in order, to the worker's chain.

    Call it within the transaction of the batch, under the lease, so that nobody else appends.
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
    # Unlike in other tables, a row that exists already must fail the batch.
    add(conn, AUDIT_CHAIN, rows)


def chain_tail(conn: Connection, worker: str) -> tuple[int, str]:
    """Return the number and digest of the last row of a chain; 0 and zeros if there is none."""
    found = conn.execute(_TAIL, {"w": worker}).one_or_none()
    return (0, GENESIS) if found is None else (found.seq, found.digest)


def last_payload(
    conn: Connection, worker: str, kind: type[Output], before: int = BEYOND
) -> bytes | None:
    """Return the last output of a kind before a row of a worker's chain, encoded."""
    parameters = {"w": worker, "k": kind.__name__, "before": before}
    found = conn.execute(_LAST_OF, parameters).scalar_one_or_none()
    return None if found is None else found.encode()


def last_configuration(conn: Connection) -> bytes | None:
    """Return the configuration that was recorded last, of whichever worker, as it was encoded."""
    query = select(_C.payload).where(_C.kind == ConfigurationChanged.__name__)
    found = conn.execute(query.order_by(_C.us.desc(), _C.seq.desc()).limit(1)).scalar()
    return None if found is None else str(found).encode()


def stretches(conn: Connection, worker: str) -> list[Stretch]:
    """Return the parts of a worker's journal by the engine that applied them, in order.

    A worker records its configuration when it starts with another engine. A part without an
    entry is left out: its engine started and applied nothing.
    """
    found: list[Stretch] = []
    for seq, engine, payload in conn.execute(_CONFIGURED, {"w": worker}):
        first = msgspec.json.decode(payload, type=_Began).journal
        while found and found[-1].first >= first:
            seq = found.pop().audit_seq  # noqa: PLW2901 - later rows belong to this part
        if found and found[-1].engine == engine:
            continue
        found.append(Stretch(engine, seq, first))
    for at, after in enumerate(found[1:]):
        found[at] = replace(found[at], last=after.first - 1)
    return found


def deployment_at(conn: Connection, worker: str, journal: int) -> str:
    """Return the deployment under which an entry of a worker's journal was applied.

    It is empty in replays in one process, and for builds that knew no deployments.
    """
    found = ""
    for _, _, payload in conn.execute(_CONFIGURED, {"w": worker}):
        record = msgspec.json.decode(payload, type=_Began)
        if record.journal <= journal:
            found = record.deployment
    return found


def chained_workers(conn: Connection) -> list[str]:
    """Return the workers that have a chain, sorted."""
    return sorted(conn.execute(select(_C.worker).distinct()).scalars())


def audit_rows(
    conn: Connection, worker: str, *, from_us: int | None = None, to_us: int | None = None
) -> Iterator[AuditLink]:
    """Yield the rows of one chain in order, optionally only those that cover an interval.

    Event time never goes back within a chain, except for the row that a worker writes when it
    starts. The selected rows are all from the first to the last one with a time in
    ``[from_us, to_us]``.
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
    """Return the row of an output, the first if there are several; ``None`` if there is none."""
    query = select(AUDIT_CHAIN).where(_C.id == output_id).order_by(_C.worker, _C.seq).limit(1)
    found = conn.execute(query).mappings().one_or_none()
    return None if found is None else AuditLink(**found)
