"""What Postgres refuses for a while is waited out: it ends no worker and is nobody's message."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from riskwatch.engine.ports import SqlStore
from riskwatch.engine.retry import Retry, RetryingStore
from riskwatch.errors import BatchRefusedError, StoreUnavailableError
from riskwatch.store import engine as store_engine
from riskwatch.store import faults, migrate
from riskwatch.store.audit_check import check_database
from riskwatch.store.engine import open_engine
from riskwatch.store.scope_table import scope_table
from riskwatch.store.transaction import take_lease
from riskwatch.worker.metrics import Metrics
from tests.support.batches import batches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

    from riskwatch.store.batch import Batch

pytestmark = pytest.mark.postgres

PASSING = ("57014", "40001", "40P01", "53100", "53200", "55P03", "58030", "25P04", "57P01")
"""Cancelled, serialisation, deadlock, full disk, memory, lock, I/O, timeout, shutdown."""
REFUSE = """
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  -- A sequence is not rolled back, so it counts the transactions that were refused.
  IF nextval('refusals') <= 2 THEN
    RAISE EXCEPTION 'refused for a while' USING ERRCODE = '{state}';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON decision_log FOR EACH STATEMENT EXECUTE FUNCTION refuse();
"""


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """Migrated database."""
    migrate.upgrade(postgres_url)
    opened = open_engine(postgres_url)
    yield opened
    opened.dispose()


def waiting_store(engine: Engine) -> tuple[RetryingStore, Metrics]:
    """Return a store that waits, and what it measures."""
    metrics = Metrics()
    return RetryingStore(SqlStore(engine), Retry(threading.Event(), metrics)), metrics


def commit_all(store: RetryingStore, made: list[Batch]) -> None:
    """Commit batches, one after the other."""
    for batch in made:
        store.commit(batch)


def tried_again(metrics: Metrics, what: str) -> float:
    """Return how often an operation was tried again."""
    found = metrics.registry.get_sample_value("riskwatch_retries_total", {"what": what})
    return found or 0.0


def assert_whole(engine: Engine, made: list[Batch]) -> None:
    """Everything was committed once, and the chain holds."""
    outputs = sum(len(batch.outputs) for batch in made)
    with engine.connect() as conn:
        assert conn.execute(text("SELECT next_seq FROM worker_progress")).scalar() == outputs + 1
        assert check_database(conn, "w")[1] == []
    assert faults.faults(engine, "w") == []


@pytest.mark.parametrize("state", PASSING)
def test_a_commit_that_is_refused_for_a_while_is_tried_again(engine: Engine, state: str) -> None:
    """With the same content, until it is in; nothing is doubled and nothing is set aside."""
    made = batches(take_lease(engine, "w", "test").epoch)
    with engine.begin() as conn:
        conn.execute(text(REFUSE.format(state=state)))
    store, metrics = waiting_store(engine)
    commit_all(store, made)
    assert tried_again(metrics, "commit") == 2
    assert_whole(engine, made)


def test_a_statement_that_is_cancelled_in_mid_commit_is_tried_again(engine: Engine) -> None:
    """An administrator cancels it while it waits for a lock; the commit goes on afterwards."""
    made = batches(take_lease(engine, "w", "test").epoch)
    store, metrics = waiting_store(engine)
    with ThreadPoolExecutor(1) as pool, engine.connect() as other:
        other.execute(text("LOCK TABLE decision_log IN ACCESS EXCLUSIVE MODE"))
        done = pool.submit(commit_all, store, made)
        with engine.connect() as admin:
            cancelled = 0
            while not cancelled:
                cancelled = len(
                    admin.execute(
                        text(
                            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
                        )
                    ).all()
                )
                admin.commit()
        other.rollback()
        done.result(timeout=30)
    assert tried_again(metrics, "commit") >= 1
    assert_whole(engine, made)


@pytest.fixture
def hasty(postgres_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine of the same database that waits a fifth of a second for a lock."""
    del engine
    monkeypatch.setitem(store_engine._WRITER, "lock_timeout", "200ms")
    opened = open_engine(postgres_url)
    yield opened
    opened.dispose()


def test_a_lock_that_another_session_holds_is_waited_out(engine: Engine, hasty: Engine) -> None:
    """The wait is counted, and ends with the lock."""
    made = batches(take_lease(engine, "w", "test").epoch)
    store, metrics = waiting_store(hasty)
    with ThreadPoolExecutor(1) as pool, engine.connect() as other:
        other.execute(text("LOCK TABLE killswitch IN ACCESS EXCLUSIVE MODE"))
        done = pool.submit(commit_all, store, made)
        while not tried_again(metrics, "commit"):
            assert not done.done()
            time.sleep(0.01)
        other.rollback()
        done.result(timeout=30)
    assert_whole(engine, made)


@pytest.mark.parametrize("locked", ["killswitch", "lease", "worker_progress"])
def test_a_lock_on_what_the_heartbeat_reads_is_told(
    engine: Engine, hasty: Engine, locked: str
) -> None:
    """The heartbeat does not wait for ever without a word: the store counts as not answering."""
    epoch = take_lease(engine, "w", "test").epoch
    with engine.connect() as other:
        other.execute(text(f"LOCK TABLE {locked} IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            scope_table(hasty, "w", epoch)
        other.rollback()
    assert scope_table(hasty, "w", epoch).seq == 0


def test_a_worker_waits_for_a_lock_at_most_five_seconds_at_a_time(engine: Engine) -> None:
    """So that it can say so; readers and upgrades have no such limit."""
    with engine.connect() as conn:
        assert conn.execute(text("SHOW lock_timeout")).scalar() == "5s"


def test_a_statement_timeout_of_the_server_is_waited_out(
    postgres_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that the server's own time limit ends is tried again."""
    made = batches(take_lease(engine, "w", "test").epoch)
    monkeypatch.setitem(store_engine._WRITER, "statement_timeout", "200ms")
    limited = open_engine(postgres_url)
    store, metrics = waiting_store(limited)
    with ThreadPoolExecutor(1) as pool, engine.connect() as other:
        other.execute(text("LOCK TABLE decision_log IN ACCESS EXCLUSIVE MODE"))
        done = pool.submit(commit_all, store, made)
        while not tried_again(metrics, "commit"):
            assert not done.done()
            time.sleep(0.01)
        other.rollback()
        done.result(timeout=30)
    limited.dispose()
    assert_whole(engine, made)


def test_a_commit_of_other_content_is_refused_for_good(engine: Engine) -> None:
    """What the content of a batch causes is no wait: it is found, counted and told."""
    made = batches(take_lease(engine, "w", "test").epoch)
    with engine.begin() as conn:
        conn.execute(text(REFUSE.format(state="22003")))
    store, metrics = waiting_store(engine)
    with pytest.raises(BatchRefusedError, match="refused for a while"):
        commit_all(store, made)
    assert tried_again(metrics, "commit") == 0
