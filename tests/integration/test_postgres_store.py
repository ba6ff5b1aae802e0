"""The store on a real Postgres: the same tables, the same content, the same refusals."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from alembic import command
from sqlalchemy import inspect, select, text

from riskwatch.errors import FencedError, StoreError
from riskwatch.store import engine as store_engine
from riskwatch.store import migrate, queries, transaction
from riskwatch.store.audit_check import check_database
from riskwatch.store.content import content_digest, dump
from riskwatch.store.deployment import adopt, check_chained, former_deployments, meet_broker
from riskwatch.store.engine import open_engine
from riskwatch.store.projections import EXPOSURE
from riskwatch.store.transaction import commit, pending_records, take_lease
from riskwatch.store.user_query import run_user_query
from tests.support.batches import FINE, batches, decision
from tests.support.views import EXPECTED, answers, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

pytestmark = pytest.mark.postgres


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """Migrated database."""
    migrate.upgrade(postgres_url)
    opened = open_engine(postgres_url)
    yield opened
    opened.dispose()


def test_migrations_make_the_tables_of_this_build(engine: Engine) -> None:
    """No difference by Alembic's comparison; down and up again is the same."""
    migrate.check(engine)
    config = migrate._config()
    with engine.begin() as conn:
        config.attributes["connection"] = conn
        command.downgrade(config, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    assert inspect(engine).get_view_names() == []
    migrate.upgrade(engine)
    migrate.check(engine)


def test_a_database_has_a_deployment_and_a_broker_of_its_own(engine: Engine) -> None:
    """Its id is random; another broker is refused; an adoption is a row of the chain."""
    own, first = meet_broker(engine, "c1", "uat.", "here:9092")
    assert first
    with pytest.raises(StoreError, match=r"cluster c1 .*there:9092 is cluster c2"):
        meet_broker(engine, "c2", "uat.", "there:9092")
    made = adopt(
        engine, "cli", 1_700_000_000_000_000, deployment="staging", person="ann", reason="r"
    )
    assert (made.previous, made.cluster) == (own.id, "c1")
    assert meet_broker(engine, "c2", "", "there:9092")[0].id == "staging"
    with engine.connect() as conn:
        assert former_deployments(conn) == [own.id]
        assert check_chained(conn, "risk") is None
        assert check_database(conn, "risk")[1] == []


def test_a_worker_may_adopt_and_a_reader_may_read(engine: Engine) -> None:
    """The rights of the roles cover the table of deployments."""
    asked = "SELECT has_table_privilege(:role, 'deployment', :right)"
    with engine.connect() as conn:
        found = {
            (role, right): conn.execute(text(asked), {"role": role, "right": right}).scalar_one()
            for role in (migrate.WRITER, migrate.READER)
            for right in ("SELECT", "INSERT", "UPDATE")
        }
    assert all(found[migrate.WRITER, right] for right in ("SELECT", "INSERT", "UPDATE"))
    assert [found[migrate.READER, r] for r in ("SELECT", "INSERT", "UPDATE")] == [
        True,
        False,
        False,
    ]


def test_workers_that_start_together_take_turns(postgres_url: str) -> None:
    """Each finds the schema in place, whoever made it."""
    code = f"from riskwatch.store import migrate; print(migrate.upgrade({postgres_url!r}))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    ended = [process.communicate(timeout=60) for process in started]
    assert ended == [(migrate.head_revision() + "\n", "")] * 3
    migrate.check(postgres_url)


def test_an_empty_database_says_what_to_do(postgres_url: str) -> None:
    """The same words as on SQLite, without the password."""
    assert migrate.current_revision(postgres_url) is None
    with (
        pytest.raises(StoreError, match="has no riskwatch schema"),
        queries.open_reader(postgres_url),
    ):
        raise AssertionError("not reached")


def test_the_same_batches_give_the_same_content(engine: Engine, tmp_path: Path) -> None:
    """Row for row and byte for byte what SQLite holds, whatever the database's language."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    migrate.upgrade(url)
    lite = open_engine(url)
    for target in (engine, lite):
        fill(target)
    for ours, theirs in zip_longest(dump(engine), dump(lite)):
        assert ours == theirs
    assert content_digest(engine) == content_digest(lite)
    assert pending_records(engine, "w", 100) == pending_records(lite, "w", 100)
    assert take_lease(engine, "w", "x") == take_lease(lite, "w", "x")
    lite.dispose()


def test_views_say_what_adds_up_by_hand(engine: Engine) -> None:
    """The same numbers as on SQLite; here they are exact decimals."""
    fill(engine)
    with engine.connect() as conn:
        found = answers(conn)
        query = text("SELECT amount FROM exposure_now WHERE asset = 'XYZ'")
        assert conn.execute(query).scalar_one() == FINE
    for query_text, rows in EXPECTED.items():
        assert found[query_text] == [pytest.approx(row) for row in rows], query_text


def test_queries_of_the_page_run_here_too(engine: Engine) -> None:
    """What the page on SQL shows is portable."""
    page = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
    shown = re.findall(r"```sql\n(.*?);\n```", page, re.DOTALL)
    assert shown
    fill(engine)
    with engine.connect() as conn:
        answered = [bool(conn.execute(text(query)).all()) for query in shown]
    assert answered.count(True) == len(shown) - 1


def test_committing_again_changes_nothing(engine: Engine) -> None:
    """Nor does a batch cut elsewhere, once its moments are stored."""
    for batch in batches(take_lease(engine, "w", "test").epoch, (2, 3)):
        commit(engine, batch)
        before = content_digest(engine)
        commit(engine, batch)
        assert content_digest(engine) == before


def test_who_lost_the_lease_cannot_write(engine: Engine) -> None:
    """The old epoch is refused, and leaves nothing."""
    old = batches(take_lease(engine, "w", "slow").epoch)
    take_lease(engine, "w", "standby")
    before = content_digest(engine)
    with pytest.raises(FencedError, match="standby holds the lease with epoch 2"):
        commit(engine, old[0])
    assert content_digest(engine) == before


def test_a_lease_is_not_taken_during_a_commit(
    engine: Engine, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit holds the row of the lease to its end, so no epoch slips in between."""
    lease = take_lease(engine, "w", "one")
    monkeypatch.setitem(store_engine._WRITER, "lock_timeout", "100ms")
    hasty = open_engine(postgres_url)
    with engine.begin() as conn:
        transaction._fence(conn, batches(lease.epoch)[0])
        with pytest.raises(StoreError, match="lock timeout"):
            take_lease(hasty, "w", "two")
        assert take_lease(hasty, "other", "two").epoch == 1
    hasty.dispose()
    assert take_lease(engine, "w", "two").epoch == 2


def test_a_fault_in_the_middle_leaves_nothing(engine: Engine) -> None:
    """The last write of the transaction fails; all before it is undone."""
    made = batches(take_lease(engine, "w", "test").epoch)
    commit(engine, made[0])
    before = content_digest(engine)
    with engine.begin() as conn:
        conn.exec_driver_sql(
            "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'disk on fire'; END $$"
        )
        conn.exec_driver_sql(
            "CREATE TRIGGER fault BEFORE INSERT OR UPDATE ON worker_progress "
            "FOR EACH ROW EXECUTE FUNCTION fault()"
        )
    with pytest.raises(StoreError, match="w: batch refused: disk on fire"):
        commit(engine, made[1])
    assert content_digest(engine) == before


def test_amounts_are_exact(engine: Engine) -> None:
    """All 42 digits come back as they went in."""
    fill(engine)
    with engine.connect() as conn:
        stored = conn.execute(select(EXPOSURE.c.amount).where(EXPOSURE.c.asset == "XYZ"))
        assert str(stored.scalar_one()) == str(FINE)
        assert queries.exact_totals(conn, "asset")["XYZ", "XYZ"] == FINE
        assert queries.find_alert_and_decision(conn, decision(2).id[:8])[1] is not None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("DELETE FROM alert", "read-only"),
        ("SET TRANSACTION READ WRITE", "read-write"),
        ("SELECT 1; COMMIT; SET default_transaction_read_only = off", "multiple commands"),
        ("SELECT * FROM nowhere", "does not exist"),
        ("CREATE TABLE t (a int)", "read-only"),
    ],
)
def test_a_query_of_a_users_own_cannot_write(
    engine: Engine, postgres_url: str, query: str, said: str
) -> None:
    """Neither directly nor by leaving the transaction."""
    del engine
    with queries.open_reader(postgres_url) as conn, pytest.raises(StoreError, match=said):
        run_user_query(conn, query, 10)


def test_a_query_of_a_users_own_reads(engine: Engine, postgres_url: str) -> None:
    """Decimals stay decimals."""
    fill(engine)
    with queries.open_reader(postgres_url) as conn:
        names, rows, more = run_user_query(
            conn, "SELECT asset, amount FROM exposure_now ORDER BY 2 DESC", 1
        )
    assert (names, rows, more) == (["asset", "amount"], [("XYZ", FINE)], True)


def test_a_server_that_goes_away_is_a_clear_error(engine: Engine, postgres_url: str) -> None:
    """A commit on a broken connection is refused in one line, and the next one works."""
    made = batches(take_lease(engine, "w", "test").epoch)
    commit(engine, made[0])
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        ended: list[Any] = admin.execute(
            end, (admin.info.dbname, admin.info.backend_pid)
        ).fetchall()
    assert ended
    with pytest.raises(StoreError, match="w: batch refused: "):
        commit(engine, made[1])
    commit(engine, made[1])
