"""The audit chain: every audited output is one row, and every change of a row is found."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from riskwatch.contracts.audit import GENESIS, Head
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.outputs import DecisionMade
from riskwatch.store.audit import (
    AUDIT_CHAIN,
    AUDITED,
    audit_row,
    audit_rows,
    chain_tail,
    chained_workers,
    last_payload,
)
from riskwatch.store.audit_check import MAX_BREACHES, check_database
from riskwatch.store.batch import Batch, SequencedOutput
from riskwatch.store.projections import DECISION_LOG, KILLSWITCH_HISTORY
from riskwatch.store.transaction import commit, take_lease
from tests.support.audit import BY_HEADS, BY_ROWS, WORKER, C, fill_chain, rows, unguarded
from tests.support.batches import batches, decision, steps
from tests.support.people import command, people

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

TRIALS = int(os.environ.get("RISKWATCH_TAMPER", "20"))
"""How often each kind of tampering is tried."""
ROWS = 24
AUDITED_STEPS = sum(isinstance(o, AUDITED) for moment in steps() for o in moment)
"""Outputs of the sample history that are rows of a chain."""


def breaches(conn: Connection, heads: tuple[Head, ...] = ()) -> list[str]:
    """Return the breaches of the chain."""
    return check_database(conn, WORKER, heads)[1]


def head_of(conn: Connection) -> Head:
    """Return the head to publish now."""
    seq, digest = chain_tail(conn, WORKER)
    return Head(worker=WORKER, epoch=1, seq=seq, digest=digest, ts="", engine="0")


def test_what_is_audited_is_a_row_each_in_order(engine: Engine) -> None:
    """The rows hold audited outputs byte for byte, with their sequence numbers."""
    for batch in batches(take_lease(engine, "w", "test").epoch):
        commit(engine, batch)
    outputs = [o for moment in steps() for o in moment]
    audited = [(n, o) for n, o in enumerate(outputs, start=1) if isinstance(o, AUDITED)]
    with engine.connect() as conn:
        found = list(audit_rows(conn, "w"))
        assert check_database(conn, "w")[1] == []
        assert chained_workers(conn) == ["w"]
        last = last_payload(conn, "w", DecisionMade)
    assert audited
    assert [(link.place, link.payload.encode()) for link in found] == [
        (n, encode_output(o)) for n, o in audited
    ]
    assert [link.seq for link in found] == list(range(1, len(found) + 1))
    assert last == encode_output(decision(2))


def test_what_people_do_is_in_the_chain(engine: Engine) -> None:
    """Commands, refusals, controls, drills and what they decide are a row each."""
    desk = people()
    commands = [
        command("rita", "halt", 1),
        command("ann", "release", 2),
        command("ann", "drill", 3, "firm"),
        command("vic", "halt", 4),
    ]
    outputs = [out for each in commands for out in desk.tell(each)]
    batch = Batch("w", take_lease(engine, "w", "test").epoch, relay=True)
    batch.outputs += [SequencedOutput(n, each) for n, each in enumerate(outputs, start=1)]
    commit(engine, batch)
    with engine.connect() as conn:
        kinds = [link.kind for link in audit_rows(conn, "w")]
    assert Counter(kinds) == {
        "CommandApplied": 3,
        "CommandRefused": 1,
        "ControlChanged": 1,
        "DecisionMade": 1,
        "DrillSignalled": 1,
        "KillSwitchChanged": 1,
    }


def test_committing_again_adds_no_row(engine: Engine) -> None:
    """A repeated batch adds no row, even if it is cut elsewhere."""
    for batch in batches(take_lease(engine, "w", "test").epoch, (3, 2)):
        for _ in range(2):
            commit(engine, batch)
    with engine.connect() as conn:
        assert len(list(audit_rows(conn, "w"))) == AUDITED_STEPS
        assert check_database(conn, "w")[1] == []


def test_a_chain_does_not_know_where_batches_ended(engine: Engine) -> None:
    """The same history gives the same digests, however it is cut into batches."""
    ends = []
    for size in (1, 4):
        with engine.begin() as conn:
            conn.execute(text("DROP TRIGGER IF EXISTS audit_chain_delete"))
            for table in ("audit_chain", "worker_progress", "lease", "decision_log"):
                conn.execute(text(f"DELETE FROM {table}"))
            conn.execute(text("DELETE FROM killswitch_history"))
        fill_chain(engine, 8, size=size)
        with engine.connect() as conn:
            ends.append(chain_tail(conn, WORKER))
    assert ends[0] == ends[1]
    assert ends[0][0] == 16


def test_an_empty_chain_has_a_head(engine: Engine) -> None:
    """An empty chain has zero rows, a digest of zeros, and no breach."""
    with engine.connect() as conn:
        assert chain_tail(conn, WORKER) == (0, GENESIS)
        assert breaches(conn, (head_of(conn),)) == []
        assert audit_row(conn, "0") is None


def test_the_database_refuses_to_change_it(engine: Engine) -> None:
    """It refuses UPDATE, DELETE, INSERT OR REPLACE, and a row that is not the next one."""
    fill_chain(engine, 3)
    again = "INSERT OR REPLACE INTO audit_chain SELECT * FROM audit_chain WHERE seq = 2"
    ahead = insert(AUDIT_CHAIN).from_select(
        list(C.keys()),
        select(*(C.seq + 7 if c.name == "seq" else c for c in C)).where(C.seq == 1),
    )
    for statement in (
        update(AUDIT_CHAIN).values(payload="{}"),
        delete(AUDIT_CHAIN),
        text(again),
        ahead,
    ):
        with (
            engine.connect() as conn,
            pytest.raises(IntegrityError, match="audit_chain is append only"),
        ):
            conn.execute(statement)
    with engine.connect() as conn:
        assert breaches(conn) == []
        assert chain_tail(conn, WORKER)[0] == 6


def test_tampering_is_found(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind of tampering at random places is found; the test prints the number of trials."""
    fill_chain(engine, ROWS // 2)
    found: Counter[str] = Counter()
    with engine.connect() as conn:
        unguarded(conn)
        head = head_of(conn)
        conn.commit()
        for kind, tamper in {**BY_ROWS, **BY_HEADS}.items():
            for seed in range(TRIALS):
                before = rows(conn)
                tamper(conn, random.Random(f"{kind}/{seed}"))
                assert rows(conn) != before, (kind, seed)
                heads = (head,) if kind in BY_HEADS else ()
                found[kind] += bool(breaches(conn, heads))
                conn.rollback()
        assert breaches(conn, (head,)) == []
    with capsys.disabled():
        summary = ", ".join(f"{kind} {n} of {TRIALS}" for kind, n in found.items())
        sys.stdout.write(f"\ntampering found: {summary}\n")
    assert found == dict.fromkeys([*BY_ROWS, *BY_HEADS], TRIALS)


def test_a_chain_written_anew_agrees_with_itself(engine: Engine) -> None:
    """Only published heads show a rewritten chain and rows cut off at the end."""
    fill_chain(engine, 4)
    with engine.connect() as conn:
        unguarded(conn)
        head = head_of(conn)
        conn.execute(delete(AUDIT_CHAIN).where(C.seq > 5))
        chain, found = check_database(conn, WORKER, (head,))
        assert chain.seq == 5
        assert f"{WORKER}: ends at row 5, but row 8 was published: 3 rows were cut off" in found
        assert not any("cut off" in line for line in breaches(conn))


def test_tables_that_tell_otherwise_are_found(engine: Engine) -> None:
    """A decision that was changed, deleted or inserted in its table is found by the chain."""
    fill_chain(engine, 4)
    d, k = DECISION_LOG.c, KILLSWITCH_HISTORY.c
    copied = select(*((d.id + "f").label("id") if c.name == "id" else c for c in d))
    for statement, breach in (
        (update(DECISION_LOG).where(d.id == decision(1).id).values(rule="x"), "something else"),
        (delete(DECISION_LOG).where(d.id == decision(1).id), "in the chain and not in the table"),
        (update(KILLSWITCH_HISTORY).values(effective="NORMAL"), "something else"),
        (delete(KILLSWITCH_HISTORY).where(k.scope != ""), "in the chain and not in the table"),
        (
            insert(DECISION_LOG).from_select(list(d.keys()), copied.where(d.id == decision(2).id)),
            "is not in the chain",
        ),
    ):
        with engine.connect() as conn:
            conn.execute(statement)
            found = breaches(conn)
            conn.rollback()
        assert found
        assert all(breach in line for line in found), found


def test_many_breaches_are_counted_and_not_all_told(engine: Engine) -> None:
    """One line gives the number of further breaches."""
    fill_chain(engine, MAX_BREACHES)
    with engine.connect() as conn:
        unguarded(conn)
        conn.execute(update(AUDIT_CHAIN).values(key="x"))
        found = breaches(conn)
        conn.rollback()
    assert len(found) == MAX_BREACHES + 1
    assert found[-1] == f"{WORKER}: and {MAX_BREACHES} breaches more"


def test_a_stretch_by_time_has_no_holes(engine: Engine) -> None:
    """An interval selects all rows from its first to its last one."""
    fill_chain(engine, 6)
    with engine.connect() as conn:
        every = list(audit_rows(conn, WORKER))
        some = list(audit_rows(conn, WORKER, from_us=every[4].us, to_us=every[7].us))
        assert some == every[4:8]
        assert list(audit_rows(conn, WORKER, from_us=every[-1].us + 1)) == []
        assert audit_row(conn, every[4].id) == every[4]
