"""Verifies audit chains. Each breach is one line; an intact chain has none.

The rows alone show a row that was changed, inserted, moved, or removed from the middle. The
published heads also show rows cut off at the end, and a chain that was rewritten from some row
on, with new digests. The other tables also show a decision that is in one place and not in the
other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from riskwatch.contracts.audit import GENESIS, AuditLink, link_digest
from riskwatch.contracts.outputs import decode_output
from riskwatch.core.clock import micros, rfc3339
from riskwatch.core.outputs import (
    DecisionAdvised,
    DecisionMade,
    DrillSignalled,
    KillSwitchChanged,
    Output,
)
from riskwatch.store.audit import AUDIT_CHAIN, audit_rows
from riskwatch.store.project import PROJECTIONS, LogTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy.engine import Connection

    from riskwatch.contracts.audit import Head

MAX_BREACHES: Final = 20
"""Largest number of reported breaches of a chain: one early change may cause many."""
_LOG_TABLES: Final[dict[type[Output], str]] = {
    DecisionMade: "decision_log",
    KillSwitchChanged: "killswitch_history",
    DrillSignalled: "drill_signal",
    DecisionAdvised: "advisory_log",
}


class ChainVerifier:
    """Verifies a chain row by row.

    Parameters
    ----------
    worker : str
        Worker of the chain.
    seq, digest : int, str
        Row before the first one, for a part from the middle.

    Attributes
    ----------
    worker, seq, digest
        Last verified row.
    rows : int
        Number of verified rows.
    """

    def __init__(self, worker: str, seq: int = 0, digest: str = GENESIS) -> None:
        self.worker = worker
        self.seq = seq
        self.digest = digest
        self.rows = 0

    def follow(self, link: AuditLink) -> list[str]:
        """Verify the next row; return its breaches."""
        found = []
        place = f"{self.worker} row {link.seq}"
        if link.worker != self.worker:
            found.append(f"{place}: is a row of {link.worker}")
        if link.seq != self.seq + 1:
            found.append(f"{place}: row {self.seq + 1} must come after row {self.seq}")
        if link.previous != self.digest:
            found.append(f"{place}: does not continue row {self.seq}: another row stood before it")
        if link_digest(link) != link.digest:
            found.append(f"{place}: was changed: its digest is not that of what it says")
        elif fault := _mismatch(link):
            found.append(f"{place}: {fault}")
        self.seq, self.digest = link.seq, link.digest
        self.rows += 1
        return found


def check_chain(
    rows: Iterable[AuditLink], chain: ChainVerifier, heads: Iterable[Head] = ()
) -> Iterator[str]:
    """Yield the breaches of a chain, and its disagreements with published heads.

    Parameters
    ----------
    rows : iterable of AuditLink
        Rows from the first to the last.
    chain : ChainVerifier
        State before the first row; afterwards, after the last one.
    heads : iterable of Head
        Published heads of this worker, in any order.
    """
    head_digests: dict[int, set[str]] = {}
    for head in heads:
        head_digests.setdefault(head.seq, set()).add(head.digest)
    if head_digests.get(0, {GENESIS}) != {GENESIS}:
        yield f"{chain.worker}: a head of an empty chain has a digest"
    for link in rows:
        yield from chain.follow(link)
        digests = head_digests.get(link.seq)
        if digests is not None and digests != {link.digest}:
            yield (
                f"{chain.worker} row {link.seq}: was published with digest "
                f"{min(digests - {link.digest})[:16]}, is {link.digest[:16]}: the chain was "
                "written anew"
            )
    last = max(head_digests, default=0)
    if last > chain.seq:
        yield (
            f"{chain.worker}: ends at row {chain.seq}, but row {last} was published: "
            f"{last - chain.seq} rows were cut off"
        )


def check_database(
    conn: Connection, worker: str, heads: Iterable[Head] = ()
) -> tuple[ChainVerifier, list[str]]:
    """Check the chain of one worker, and that the log tables agree with it.

    Returns
    -------
    tuple
        The verifier after the last row, and the breaches, at most :data:`MAX_BREACHES` lines
        and one that counts the rest.
    """
    chain = ChainVerifier(worker)
    found: list[str] = []
    more = 0
    for line in (
        *check_chain(audit_rows(conn, worker), chain, heads),
        *check_tables(conn, worker),
    ):
        if len(found) < MAX_BREACHES:
            found.append(line)
        else:
            more += 1
    if more:
        found.append(f"{worker}: and {more} breaches more")
    return chain, found


def check_tables(conn: Connection, worker: str) -> Iterator[str]:
    """Compare the log tables of decisions, switches and drills with the chain.

    From the first row of the chain on, a log must hold the same as the chain. Older rows of a
    log are not checked.
    """
    c = AUDIT_CHAIN.c
    first = conn.execute(select(c.us).where(c.worker == worker).order_by(c.seq).limit(1)).scalar()
    if first is None:
        return
    for kind, name in _LOG_TABLES.items():
        (target,) = (t for t in PROJECTIONS[kind] if isinstance(t, LogTable))
        query = select(c.id, c.payload).where(c.worker == worker, c.kind == kind.__name__)
        chained = {row.id: row.payload for row in conn.execute(query)}
        for row in conn.execute(select(target.table)):
            payload = chained.pop(row.id, None)
            if payload is None:
                if micros(row.ts) > first:
                    yield f"{name} {row.id}: of {rfc3339(micros(row.ts))} is not in the chain"
            elif _differs(target, payload, tuple(row)):
                yield f"{name} {row.id}: says something else than the chain"
        for missing in sorted(chained):
            yield f"{name} {missing}: is in the chain and not in the table"


def _differs(target: LogTable, payload: str, row: tuple[object, ...]) -> bool:
    try:
        return target.stored(decode_output(payload.encode())) != row
    except (ValueError, AttributeError):
        return True


def _mismatch(link: AuditLink) -> str | None:
    """Describe a mismatch between the columns of a row and its payload; ``None`` if they agree."""
    try:
        output = decode_output(link.payload.encode())
    except ValueError:
        return "its payload is no output of this contract"
    columns = (type(output).__name__, output.id, output.key(), micros(output.ts), output.engine)
    if columns != (link.kind, link.id, link.key, link.us, link.engine):
        return "its columns say something else than its payload"
    return None
