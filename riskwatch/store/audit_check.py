"""Whether a chain is what was written: each breach is one line, an intact chain has none.

What the rows alone can show: a row that was changed, removed from the middle, put in, or moved.
What it takes the published heads for: rows cut off at the end, and a chain that somebody wrote
anew from some row on, digests and all. What it takes the other tables for: a decision that is
in one and not in the other.
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
"""Breaches that are told of one chain: one change early in it may bring many."""
_TOLD: Final[dict[type[Output], str]] = {
    DecisionMade: "decision_log",
    KillSwitchChanged: "killswitch_history",
    DrillSignalled: "drill_signal",
    DecisionAdvised: "advisory_log",
}


class ChainVerifier:
    """Follows a chain row by row.

    Parameters
    ----------
    worker : str
        Whose.
    seq, digest : int, str
        Row before the first one, for a stretch out of the middle.

    Attributes
    ----------
    worker, seq, digest
        Last row that was seen.
    rows : int
        How many were seen.
    """

    def __init__(self, worker: str, seq: int = 0, digest: str = GENESIS) -> None:
        self.worker = worker
        self.seq = seq
        self.digest = digest
        self.rows = 0

    def follow(self, link: AuditLink) -> list[str]:
        """Look at the next row; returns what is wrong with it."""
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
        elif said := _misfiled(link):
            found.append(f"{place}: {said}")
        self.seq, self.digest = link.seq, link.digest
        self.rows += 1
        return found


def check_chain(
    rows: Iterable[AuditLink], chain: ChainVerifier, heads: Iterable[Head] = ()
) -> Iterator[str]:
    """Say what is wrong with a chain, and where it disagrees with heads that were published.

    Parameters
    ----------
    rows : iterable of Link
        From the first to the last.
    chain : Chain
        Where they begin; afterwards, where they end.
    heads : iterable of Head
        Of this worker, in any order.
    """
    wanted: dict[int, set[str]] = {}
    for head in heads:
        wanted.setdefault(head.seq, set()).add(head.digest)
    if wanted.get(0, {GENESIS}) != {GENESIS}:
        yield f"{chain.worker}: a head of an empty chain has a digest"
    for link in rows:
        yield from chain.follow(link)
        digests = wanted.get(link.seq)
        if digests is not None and digests != {link.digest}:
            yield (
                f"{chain.worker} row {link.seq}: was published with digest "
                f"{min(digests - {link.digest})[:16]}, is {link.digest[:16]}: the chain was "
                "written anew"
            )
    last = max(wanted, default=0)
    if last > chain.seq:
        yield (
            f"{chain.worker}: ends at row {chain.seq}, but row {last} was published: "
            f"{last - chain.seq} rows were cut off"
        )


def check_database(
    conn: Connection, worker: str, heads: Iterable[Head] = ()
) -> tuple[ChainVerifier, list[str]]:
    """Check the chain of one worker, and that the tables beside it tell the same.

    Returns
    -------
    tuple
        Where the chain ends, and what is wrong, at most :data:`MOST` lines.
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
    """Compare the logs of decisions and switches with what the chain says of them.

    A log holds what the chain holds from its first row on; what is older than the chain is
    not judged.
    """
    c = AUDIT_CHAIN.c
    first = conn.execute(select(c.us).where(c.worker == worker).order_by(c.seq).limit(1)).scalar()
    if first is None:
        return
    for kind, name in _TOLD.items():
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
        for gone in sorted(chained):
            yield f"{name} {gone}: is in the chain and not in the table"


def _differs(target: LogTable, payload: str, row: tuple[object, ...]) -> bool:
    try:
        return target.stored(decode_output(payload.encode())) != row
    except (ValueError, AttributeError):
        return True


def _misfiled(link: AuditLink) -> str | None:
    """Say where the columns of a row tell something else than its payload."""
    try:
        output = decode_output(link.payload.encode())
    except ValueError:
        return "its payload is no output of this contract"
    said = (type(output).__name__, output.id, output.key(), micros(output.ts), output.engine)
    if said != (link.kind, link.id, link.key, link.us, link.engine):
        return "its columns say something else than its payload"
    return None
