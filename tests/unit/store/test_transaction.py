"""The transaction: all or nothing, one writer, and no dependence on batch boundaries."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from riskwatch.contracts.outputs import decode_output
from riskwatch.core.migration import RowFormat
from riskwatch.core.stage import FORMAT
from riskwatch.errors import FencedError, StoreError
from riskwatch.store import migrate
from riskwatch.store.batch import Batch, Counts, OutboxRecord, SequencedOutput, StreamOffset
from riskwatch.store.content import content_digest, dump
from riskwatch.store.engine import open_engine
from riskwatch.store.projections import ALERT, DATA_QUALITY, EXPOSURE
from riskwatch.store.transaction import commit, pending_records, take_lease
from riskwatch.store.truth import DEAD_LETTER, LEASE, WORKER_PROGRESS
from tests.support.batches import FINE, at, batches, exposure

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def write(engine: Engine, sizes: tuple[int, ...] = (1, 1, 1, 1, 1)) -> list[Batch]:
    """Commit the sample history, in batches of the given numbers of moments."""
    made = batches(take_lease(engine, "w", "test").epoch, sizes)
    for batch in made:
        commit(engine, batch)
    return made


def test_a_worker_resumes_with_what_it_committed(engine: Engine) -> None:
    """The resume point holds state rows, offsets, counts, time and sequence numbers."""
    first = take_lease(engine, "w", "one")
    assert (first.epoch, first.rows, first.offsets, first.next_seq) == (1, {}, {}, 1)
    write(engine)
    found = take_lease(engine, "w", "two")
    assert found.epoch == 3
    assert found.rows == {
        "ledger": {"Zed|a": b"z", "gone5": b"1", "kraken": b"5", "zed_a": b"z", "é": b"e"}
    }
    assert found.offsets == {"fills/0": StreamOffset("fills/0", "cluster/topic/1", 50, 5)}
    assert found.counts == Counts(read=10, applied=5, duplicate=0, rejected=5)
    outputs = [s for batch in batches(1) for s in batch.outputs]
    assert (found.next_seq, found.next_journal) == (len(outputs) + 1, 6)
    assert found.us == batches(1)[-1].us


def test_workers_do_not_see_each_other(engine: Engine) -> None:
    """Another worker starts empty, with a lease of its own."""
    write(engine)
    assert take_lease(engine, "v", "test") == replace(
        take_lease(engine, "u", "test"), epoch=1, rows={}, offsets={}, counts=Counts()
    )


def test_who_lost_the_lease_cannot_write(engine: Engine) -> None:
    """The error names the new holder, and nothing is written."""
    old = batches(take_lease(engine, "w", "slow").epoch)
    take_lease(engine, "w", "standby")
    before = content_digest(engine)
    with pytest.raises(FencedError, match="epoch 1 is over, standby holds the lease with epoch 2"):
        commit(engine, old[0])
    assert content_digest(engine) == before


def test_without_a_lease_nothing_is_written(engine: Engine) -> None:
    """A batch without a lease is refused."""
    with pytest.raises(FencedError, match="nobody holds the lease"):
        commit(engine, batches(1)[0])


@pytest.mark.parametrize("again", range(5))
def test_committing_again_changes_nothing(engine: Engine, again: int) -> None:
    """For every batch, rows, alert counts and outbox stay equal."""
    for n, batch in enumerate(batches(take_lease(engine, "w", "test").epoch)):
        commit(engine, batch)
        if n == again:
            before = content_digest(engine)
            commit(engine, batch)
            assert content_digest(engine) == before


def test_an_older_batch_is_refused(engine: Engine) -> None:
    """An older batch would set the state back."""
    made = write(engine)
    before = content_digest(engine)
    with pytest.raises(StoreError, match="ends at record 2, but 10 are already stored"):
        commit(engine, made[0])
    assert content_digest(engine) == before


def test_counts_must_add_up(engine: Engine) -> None:
    """Counts that do not add up are refused."""
    batch = batches(take_lease(engine, "w", "test").epoch)[0]
    batch.counts = Counts(read=3, applied=1, rejected=1)
    with pytest.raises(StoreError, match="do not add up"):
        commit(engine, batch)


def test_a_fault_in_the_middle_leaves_nothing(engine: Engine) -> None:
    """If the last write fails, all writes are undone, and the batch can be committed again."""
    made = batches(take_lease(engine, "w", "test").epoch)
    for batch in made[:3]:
        commit(engine, batch)
    before = content_digest(engine)
    fault = "BEFORE INSERT ON worker_progress BEGIN SELECT RAISE(ABORT, 'disk on fire'); END"
    with engine.begin() as conn:
        conn.exec_driver_sql(f"CREATE TRIGGER fault {fault}")
    with pytest.raises(StoreError, match="w: batch refused: disk on fire"):
        commit(engine, made[3])
    assert content_digest(engine) == before
    with engine.begin() as conn:
        conn.exec_driver_sql("DROP TRIGGER fault")
    for batch in made[3:]:
        commit(engine, batch)
    with engine.connect() as conn:
        assert conn.execute(select(WORKER_PROGRESS.c.read)).scalar_one() == 10


@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(1, 4)))
def test_content_does_not_know_where_batches_were_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: set[int]
) -> None:
    """Every way to cut five moments into batches gives the same content."""
    edges = [0, *sorted(cuts), 5]
    sizes = tuple(b - a for a, b in pairwise(edges))
    assert list(accumulate(sizes))[-1] == 5
    digests = []
    for cut in ((1, 1, 1, 1, 1), sizes):
        url = f"sqlite:///{tmp_path_factory.mktemp('cut') / 'x.db'}"
        migrate.upgrade(url)
        engine = open_engine(url)
        write(engine, cut)
        digests.append(content_digest(engine))
        engine.dispose()
    assert digests[0] == digests[1]


def test_content_leaves_out_the_lease_and_nothing_else(engine: Engine) -> None:
    """The content digest excludes the lease and no other table."""
    write(engine)
    before = content_digest(engine)
    take_lease(engine, "w", "another")
    assert content_digest(engine) == before
    tables = {name for name, _ in dump(engine)}
    assert LEASE.name not in tables
    assert {"state_row", "risk_journal", "outbox", "alert", "exposure"} <= tables
    with engine.begin() as conn:
        conn.execute(update(WORKER_PROGRESS).values(us=WORKER_PROGRESS.c.us + 1))
    assert content_digest(engine) != before


def test_amounts_are_exact(engine: Engine) -> None:
    """Amounts are read back with all digits."""
    write(engine)
    with engine.connect() as conn:
        stored = conn.execute(select(EXPOSURE.c.amount).where(EXPOSURE.c.asset == "XYZ"))
        assert str(stored.scalar_one()) == str(FINE)


def test_equal_amounts_are_equal_text(engine: Engine) -> None:
    """On SQLite the stored text is canonical, so SQL can compare and group it."""
    lease = take_lease(engine, "w", "test")
    written = ("1000.500", "1E+3", "-0.10", "5E-18")
    outputs = [exposure(0, amount, amount, asset=f"A{n}") for n, amount in enumerate(written)]
    commit(engine, Batch("w", 1, outputs=[SequencedOutput(n, o) for n, o in enumerate(outputs, 1)]))
    with engine.connect() as conn:
        stored = conn.exec_driver_sql("SELECT amount, value_usd FROM exposure ORDER BY asset").all()
    assert lease.epoch == 1
    assert stored == [(t, t) for t in ("1000.5", "1000", "-0.1", "0.000000000000000005")]


def test_dead_letters_keep_every_byte(engine: Engine) -> None:
    """They keep payload, digest, key and headers, whatever the size."""
    write(engine)
    with engine.connect() as conn:
        letters = conn.execute(select(DEAD_LETTER)).all()
    payload = b"\xff\x00" * 70_000
    assert len(letters) == 5
    assert letters[0].payload == payload
    assert letters[0].payload_bytes == len(payload)
    assert letters[0].sha256 == sha256(payload).hexdigest()
    assert (letters[0].key, letters[0].headers) == (b"k\xff", [["h", "AP4="]])
    assert letters[0].detail == "byte 3 \ufffd \ufffd"


def test_alerts_open_once_per_key_and_close(engine: Engine) -> None:
    """A raise of an open alert updates its row; a raise after its end opens a new row."""
    write(engine)
    with engine.connect() as conn:
        first, second = conn.execute(select(ALERT).order_by(ALERT.c.opened_ts)).all()
    assert (first.opened_ts, first.resolved_ts, first.raised) == (at(2), at(3), 1)
    assert (second.opened_ts, second.last_ts, second.resolved_ts) == (at(3.5), at(4), None)
    assert (second.raised, second.severity) == (2, "HALT")


def test_data_quality_counts_and_closes(engine: Engine) -> None:
    """The row counts raises and keeps the latest detail."""
    write(engine)
    with engine.connect() as conn:
        rows = conn.execute(select(DATA_QUALITY).order_by(DATA_QUALITY.c.opened_ts)).all()
    assert [(r.opened_ts, r.resolved_ts, r.raised) for r in rows] == [
        (at(1), at(3), 2),
        (at(4), None, 1),
    ]
    assert rows[0].detail == "no trade for 330 s \ufffd"


def test_the_outbox_holds_what_is_not_published(engine: Engine) -> None:
    """It holds published topics in order; the next batch deletes published rows."""
    made = batches(take_lease(engine, "w", "test").epoch)
    commit(engine, made[0])
    waiting = pending_records(engine, "w", 100)
    published = [s for s in made[0].outputs if s.output.topic is not None]
    assert [r.seq for r in waiting] == [s.seq for s in published]
    assert [decode_output(r.value) for r in waiting] == [s.output for s in published]
    assert (waiting[0].topic, waiting[0].ts) == ("riskwatch.exposures", at(0))
    assert waiting[0].key == published[0].output.key()
    assert len(pending_records(engine, "w", 3)) == 3
    assert pending_records(engine, "other", 3) == []
    made[1].published_seq = waiting[-1].seq
    made[1].relay = False
    commit(engine, made[1])
    assert pending_records(engine, "w", 100) == []


def test_readings_for_another_worker_go_to_the_outbox_alone(engine: Engine) -> None:
    """They are numbered among the outputs, also if outputs are not relayed."""
    batch = batches(take_lease(engine, "w", "test").epoch)[0]
    after = len(batch.outputs) + 1
    reading = OutboxRecord(after, "riskwatch.readings", "kraken", b"\x00\xff", at(0))
    batch.forwards, batch.relay = [reading], False
    for _ in range(2):
        commit(engine, batch)
        assert pending_records(engine, "w", 100) == [reading]
    assert take_lease(engine, "w", "test").next_seq == after + 1


def test_state_of_a_newer_format_is_refused(engine: Engine) -> None:
    """The newer format raises an error, and the lease is unchanged."""
    write(engine)
    with engine.begin() as conn:
        conn.execute(update(WORKER_PROGRESS).values(state_format=99, engine="9.9.9"))
    with pytest.raises(StoreError, match="w: the stored state has format 99, written by engine 9"):
        take_lease(engine, "w", "test")
    with engine.connect() as conn:
        assert conn.execute(select(LEASE.c.epoch)).scalar_one() == 1


def test_migrated_rows_are_part_of_one_batch_or_of_none(engine: Engine) -> None:
    """The first batch writes them with their format, and a repeat changes nothing."""
    write(engine)
    before = content_digest(engine)
    steps = {FORMAT: {"ledger": lambda rows: {f"x/{key}": rows[key] for key in rows}}}
    kept = take_lease(engine, "w", "test", RowFormat(FORMAT + 1, steps))
    assert content_digest(engine) == before
    gone = [key for key, body in kept.migrated["ledger"].items() if body is None]
    assert gone
    assert kept.rows["ledger"] == {
        key: body for key, body in kept.migrated["ledger"].items() if body is not None
    }
    batch = Batch("w", kept.epoch, rows=kept.migrated, counts=kept.counts, us=kept.us)
    for _ in range(2):
        commit(engine, batch, RowFormat(FORMAT + 1, steps))
        again = take_lease(engine, "w", "test", RowFormat(FORMAT + 1, steps))
        assert (again.rows, again.migrated) == (kept.rows, {})
        batch = replace(batch, epoch=again.epoch)
    with pytest.raises(StoreError, match=f"has format {FORMAT + 1}"):
        take_lease(engine, "w", "test")


def test_the_database_itself_refuses_a_second_open_alert(engine: Engine) -> None:
    """A unique index enforces one open alert per key."""
    write(engine)
    copy = "INSERT INTO alert SELECT 'other', alert, scope, severity, cause, title, reasons, "
    copy += "exposure_usd, decision_id, opened_ts, last_ts, last_id, raised, NULL, NULL FROM alert"
    with engine.begin() as conn, pytest.raises(Exception, match="UNIQUE constraint failed"):
        conn.exec_driver_sql(copy + " WHERE resolved_ts IS NULL")
