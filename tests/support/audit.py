"""Audit chains for tests: many rows, and ways to tamper with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, text, update

from riskwatch.contracts.audit import AuditLink, seal
from riskwatch.core.clock import micros
from riskwatch.core.enums import State
from riskwatch.store.audit import AUDIT_CHAIN
from riskwatch.store.batch import Batch, Counts, SequencedOutput
from riskwatch.store.transaction import commit, take_lease
from tests.support.batches import at, decision, killswitch

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sqlalchemy.engine import Connection, Engine

C = AUDIT_CHAIN.c
WORKER = "risk"
TRIGGERS = ("audit_chain_update", "audit_chain_delete", "audit_chain_insert")


def fill_chain(engine: Engine, moments: int, *, size: int = 1) -> None:
    """Commit so many decisions, each with its switch, in batches of `size`."""
    epoch = take_lease(engine, WORKER, "test").epoch
    seq = 1
    for first in range(0, moments, size):
        batch = Batch(WORKER, epoch, counts=Counts(read=first + size, applied=first + size))
        for n in range(first, min(first + size, moments)):
            state = State.HALT if n % 2 else State.REDUCE
            for output in (decision(n), killswitch(n, state)):
                batch.outputs.append(SequencedOutput(seq, output))
                seq += 1
        batch.us = micros(at(first + size))
        commit(engine, batch)


def unguarded(conn: Connection) -> None:
    """Take the triggers away, as who owns the database can."""
    for name in TRIGGERS:
        conn.execute(text(f"DROP TRIGGER {name}"))


def rows(conn: Connection) -> list[dict[str, Any]]:
    """Every row of the chain, in order."""
    found = conn.execute(select(AUDIT_CHAIN).order_by(C.seq)).mappings()
    return [dict(row) for row in found]


def change(conn: Connection, rng: random.Random) -> None:
    """Change one field of one row."""
    row = rng.choice(rows(conn))
    name = rng.choice([n for n in row if n not in ("worker", "seq")])
    value = row[name]
    if isinstance(value, int):
        value += rng.choice((-1, 1))
    else:
        where = rng.randrange(len(value))
        other = rng.choice([c for c in "0123456789abcdef " if c != value[where]])
        value = value[:where] + other + value[where + 1 :]
    conn.execute(update(AUDIT_CHAIN).where(C.seq == row["seq"]).values({name: value}))


def remove(conn: Connection, rng: random.Random) -> None:
    """Remove one row, and close the gap in the numbers or not; never the last one."""
    found = rows(conn)
    seq = rng.randrange(1, len(found))
    conn.execute(delete(AUDIT_CHAIN).where(C.seq == seq))
    if rng.random() < 0.5:
        for after in range(seq + 1, len(found) + 1):
            conn.execute(update(AUDIT_CHAIN).where(C.seq == after).values(seq=after - 1))


def put_in(conn: Connection, rng: random.Random) -> None:
    """Put a copy of some row in somewhere, the others moved up; perhaps at the end."""
    found = rows(conn)
    seq = rng.randint(1, len(found) + 1)
    for after in range(len(found), seq - 1, -1):
        conn.execute(update(AUDIT_CHAIN).where(C.seq == after).values(seq=after + 1))
    conn.execute(insert(AUDIT_CHAIN), {**rng.choice(found), "seq": seq})


def reorder(conn: Connection, rng: random.Random) -> None:
    """Let two rows change places."""
    one, other = rng.sample(range(1, len(rows(conn)) + 1), 2)
    for old, new in ((one, -1), (other, one), (-1, other)):
        conn.execute(update(AUDIT_CHAIN).where(C.seq == old).values(seq=new))


def cut_off(conn: Connection, rng: random.Random) -> None:
    """Remove some rows at the end."""
    keep = rng.randrange(len(rows(conn)))
    conn.execute(delete(AUDIT_CHAIN).where(C.seq > keep))


def write_anew(conn: Connection, rng: random.Random) -> None:
    """Change a row and give it, and every row after it, the digest that it then must have."""
    found = rows(conn)
    at_row = rng.randrange(len(found))
    found[at_row]["payload"] = found[at_row]["payload"].replace("180", "18", 1)
    previous = found[at_row]["previous"]
    for row in found[at_row:]:
        link = seal(AuditLink(**{**row, "previous": previous}))
        previous = link.digest
        values = {"payload": link.payload, "previous": link.previous, "digest": link.digest}
        conn.execute(update(AUDIT_CHAIN).where(C.seq == row["seq"]).values(values))


BY_ROWS: dict[str, Callable[[Connection, random.Random], None]] = {
    "changed": change,
    "removed": remove,
    "put in": put_in,
    "re-ordered": reorder,
}
"""What the rows alone must show."""
BY_HEADS: dict[str, Callable[[Connection, random.Random], None]] = {
    "cut off": cut_off,
    "written anew": write_anew,
}
"""What it takes the published heads for."""
