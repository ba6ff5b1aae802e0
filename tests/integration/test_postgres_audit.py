"""The audit chain and the roles on a real Postgres: privileges, and protection against edits."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from riskwatch.acks.drills import FAILED, RealState, drill_report, drill_row
from riskwatch.audit.verify import SAME, verify
from riskwatch.errors import StoreError
from riskwatch.store import migrate
from riskwatch.store.audit import AUDITED, audit_rows, chain_tail
from riskwatch.store.audit_check import check_database
from riskwatch.store.batch import Batch, Counts, SequencedOutput
from riskwatch.store.checkpoints import (
    Checkpoint,
    check_checkpoints,
    checkpoint_rows,
    checkpoints,
    usable_checkpoints,
    write_checkpoint,
)
from riskwatch.store.drills import drills, last_drills, write_drill
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import (
    APPEND_ONLY,
    AUDITOR,
    INTERNAL_TABLES,
    OPERATOR,
    READER,
    ROLES,
    WRITER,
)
from riskwatch.store.queries import open_reader
from riskwatch.store.schema import METADATA
from riskwatch.store.transaction import commit, take_lease
from tests.support.audit import BY_ROWS, WORKER, fill_chain
from tests.support.batches import batches, steps
from tests.support.drills import signal
from tests.support.rederiving import kept, write_nights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection, Engine

    from tests.support.postgres import Server

pytestmark = pytest.mark.postgres
REFUSED = "permission denied|append only"


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """Migrated database."""
    migrate.upgrade(postgres_url)
    opened = open_engine(postgres_url)
    yield opened
    opened.dispose()


@contextmanager
def acting(engine: Engine, role: str) -> Iterator[Connection]:
    """Act as a role; what is done is undone."""
    with engine.connect() as conn:
        conn.execute(text(f"SET ROLE {role}"))
        yield conn
        conn.rollback()
        conn.execute(text("RESET ROLE"))
        conn.commit()


def refused(engine: Engine, role: str, statement: str) -> None:
    """Make sure that a role may not do something."""
    with acting(engine, role) as conn, pytest.raises(DBAPIError, match=REFUSED):
        conn.execute(text(statement))


def test_the_chain_is_the_one_of_sqlite(engine: Engine, tmp_path: Path) -> None:
    """The same history gives the same rows and digests, and both are intact."""
    url = f"sqlite:///{tmp_path}/x.db"
    migrate.upgrade(url)
    lite = open_engine(url)
    found = []
    for target in (engine, lite):
        for batch in batches(take_lease(target, "w", "test").epoch):
            commit(target, batch)
        with target.connect() as conn:
            assert check_database(conn, "w")[1] == []
            found.append(list(audit_rows(conn, "w")))
    lite.dispose()
    assert found[0] == found[1]
    assert len(found[0]) == sum(isinstance(o, AUDITED) for moment in steps() for o in moment)


COLUMNS = "place, kind, id, key, us, engine, payload, previous, digest"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_chain SET payload = '{}'",
        "DELETE FROM audit_chain WHERE seq = 8",
        "TRUNCATE audit_chain",
        f"INSERT INTO audit_chain SELECT worker, 99, {COLUMNS} FROM audit_chain WHERE seq = 1",
        "SET session_replication_role = replica; DELETE FROM audit_chain",
    ],
)
def test_the_owner_himself_is_refused(engine: Engine, statement: str) -> None:
    """Even a superuser, even as a replica, as long as the triggers are there."""
    fill_chain(engine, 4)
    with engine.connect() as conn, pytest.raises(DBAPIError, match="append only"):
        conn.execute(text(statement))
    with engine.connect() as conn:
        assert check_database(conn, WORKER)[1] == []
        assert chain_tail(conn, WORKER)[0] == 8


@pytest.mark.parametrize("kind", BY_ROWS)
def test_tampering_is_found_here_too(engine: Engine, kind: str) -> None:
    """With the triggers dropped, as who owns the tables can."""
    fill_chain(engine, 6)
    with engine.connect() as conn:
        for name in ("change", "truncate", "insert"):
            conn.execute(text(f"DROP TRIGGER audit_chain_{name} ON audit_chain"))
        conn.commit()
        for seed in range(3):
            BY_ROWS[kind](conn, random.Random(seed))
            assert check_database(conn, WORKER)[1] != []
            conn.rollback()


def test_a_worker_can_do_its_work(engine: Engine) -> None:
    """Lease, batches with every kind of row, and reading them back, as the writer alone."""
    name = engine.url.database
    with engine.begin() as conn:
        conn.execute(text(f'ALTER DATABASE "{name}" SET role = {WRITER}'))
    # A login of its own would need a password; the role of the database does the same.
    writer = open_engine(engine.url.render_as_string(hide_password=False))
    with writer.connect() as conn:
        assert conn.execute(text("SELECT current_user")).scalar_one() == WRITER
        assert migrate.current_revision(writer) == migrate.head_revision()
    for batch in batches(take_lease(writer, "w", "test").epoch):
        commit(writer, batch)
    assert take_lease(writer, "w", "again").next_seq > 1
    with writer.connect() as conn:
        assert check_database(conn, "w")[1] == []
    writer.dispose()


def test_a_writer_keeps_checkpoints(engine: Engine) -> None:
    """And forgets the rows of the oldest; what is read back is what was written."""
    event.listen(engine, "begin", lambda conn: conn.exec_driver_sql(f"SET LOCAL ROLE {WRITER}"))
    rows = {"risk": {"ä": b"\x00\xff", "B": b"2", "a": b"1"}, "market": {"a": b""}}
    for journal in (10, 20):
        made = Checkpoint(worker="risk", journal=journal, us=journal, events=False)
        made = write_checkpoint(engine, made, rows, keep=1)
    with engine.connect() as conn:
        assert usable_checkpoints(conn, "risk") == [made]
        assert checkpoint_rows(conn, made) == rows
        assert [found.journal for found in checkpoints(conn, "risk")] == [10, 20]
        assert list(check_checkpoints(conn, "risk")) == []


def test_checkpoints_are_the_ones_of_sqlite(
    engine: Engine, postgres_url: str, tmp_path: Path
) -> None:
    """The same journal gives the same digests, and decisions are derived from them."""
    del engine
    path = write_nights(tmp_path)
    write_nights(tmp_path, postgres_url)
    made = kept(postgres_url)
    assert made == kept(f"sqlite:///{path}")
    with open_reader(postgres_url) as conn:
        last = [link for link in audit_rows(conn, "embedded") if link.kind == "DecisionMade"][-1]
        (verdict,) = verify(conn, [last.id])
    assert verdict.status == SAME
    assert f"after the checkpoint at entry {made[0].journal:,}" in verdict.said[0]


def test_drills_are_kept_here_too(engine: Engine) -> None:
    """What was signalled and what came of it; a signal that the chain does not have is found."""
    risk, clients = (take_lease(engine, name, "test").epoch for name in (WORKER, "clients"))
    made = signal(expect=["desk-1"])
    counts = Counts(1, 1)
    commit(engine, Batch(WORKER, risk, outputs=[SequencedOutput(1, made)], counts=counts, us=1))
    done = drill_report(made, ["desk-1"], [], RealState("a", "a"))
    write_drill(engine, ("clients", clients), drill_row(done))
    write_drill(engine, ("clients", clients), drill_row(done))
    with engine.begin() as conn:
        (shown,) = drills(conn, 5)
        assert (shown["id"], shown["outcome"], shown["expected"]) == ("drill-1", FAILED, 1)
        assert [row["id"] for row in last_drills(conn)] == ["drill-1"]
        assert check_database(conn, WORKER)[1] == []
        conn.execute(text("UPDATE drill_signal SET person = 'nobody'"))
        assert check_database(conn, WORKER)[1] != []


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("verb", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
def test_a_writer_touches_nothing_that_is_append_only(
    engine: Engine, table: str, verb: str
) -> None:
    """Not the audit chain, decisions, switches, drills, the journal, nor checkpoints."""
    column = METADATA.tables[table].columns.keys()[-1]
    refused(engine, WRITER, verb.format(table, column, column))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (a int)",
        "DROP TABLE audit_chain",
        "ALTER TABLE audit_chain DISABLE TRIGGER ALL",
        "UPDATE alembic_version SET version_num = '0001'",
        "CREATE OR REPLACE FUNCTION audit_chain_refuse() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE ROLE riskwatch_mine",
    ],
)
def test_nobody_but_the_owner_changes_the_schema(engine: Engine, statement: str) -> None:
    """Nor the triggers, nor the revision."""
    for role in ROLES:
        with (
            acting(engine, role) as conn,
            pytest.raises(DBAPIError, match=f"{REFUSED}|must be owner|return type"),
        ):
            conn.execute(text(statement))


@pytest.mark.parametrize("role", [READER, OPERATOR, AUDITOR])
def test_who_reads_does_not_write(engine: Engine, role: str) -> None:
    """No table at all, by no verb."""
    with engine.connect() as conn:
        names = [
            row[0]
            for row in conn.execute(
                text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            )
        ]
    assert len(names) > 20
    for name in names:
        refused(engine, role, f'DELETE FROM "{name}"')
        refused(engine, role, f'INSERT INTO "{name}" DEFAULT VALUES')
        refused(engine, role, f'TRUNCATE "{name}"')


def test_a_reader_sees_what_is_documented_to_ask(engine: Engine) -> None:
    """Views and tables, and neither raw input nor state; the auditor sees all of it."""
    with acting(engine, READER) as conn:
        for name in ("exposure_now", "decision", "killswitch_now", "dead_letter", "audit_chain"):
            conn.execute(text(f"SELECT * FROM {name}")).all()
    for name in INTERNAL_TABLES:
        refused(engine, READER, f"SELECT * FROM {name}")
        with acting(engine, AUDITOR) as conn:
            conn.execute(text(f"SELECT * FROM {name}")).all()


def test_an_operator_reads_what_commands_need(engine: Engine) -> None:
    """State for previews and the journal for ``verify``, and not the outbox."""
    for name in INTERNAL_TABLES:
        if name == "outbox":
            refused(engine, OPERATOR, f"SELECT * FROM {name}")
            continue
        with acting(engine, OPERATOR) as conn:
            conn.execute(text(f"SELECT * FROM {name}")).all()


def test_an_upgrade_makes_roles_that_are_missing(postgres_own: Server) -> None:
    """A database from before a role gets that role, although its schema is current."""
    migrate.upgrade(postgres_own.url)
    with psycopg.connect(postgres_own.url, autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {OPERATOR}")
        admin.execute(f"DROP ROLE {OPERATOR}")
        migrate.upgrade(postgres_own.url)
        admin.execute(f"SET ROLE {OPERATOR}")
        assert admin.execute("SELECT * FROM state_row").fetchall() == []


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_refused(postgres_server: str, encoding: str) -> None:
    """The upgrade names the encoding and the remedy, and creates nothing."""
    name = f"rw_encoding_{random.randrange(10**9)}"
    made = make_url(postgres_server).set(drivername="postgresql")
    with psycopg.connect(made.render_as_string(hide_password=False), autocommit=True) as admin:
        admin.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C' "
            "TEMPLATE template0"
        )
        try:
            url = made.set(database=name).render_as_string(hide_password=False)
            with pytest.raises(StoreError, match=f"encoding {encoding}, and riskwatch needs UTF8"):
                migrate.upgrade(url)
            assert migrate.current_revision(url) is None
        finally:
            admin.execute(f"DROP DATABASE {name}")


def test_an_upgrade_mends_rights(engine: Engine) -> None:
    """What somebody granted by hand is gone, what he took is back."""
    with engine.begin() as conn:
        conn.execute(text(f"GRANT DELETE ON alert TO {READER}"))
        conn.execute(text(f"REVOKE SELECT ON alert FROM {AUDITOR}"))
    migrate.upgrade(engine)
    refused(engine, READER, "DELETE FROM alert")
    with acting(engine, AUDITOR) as conn:
        conn.execute(text("SELECT * FROM alert")).all()


def test_who_may_not_make_roles_can_upgrade(postgres_url: str) -> None:
    """The schema comes, and the roles are used if they are there."""
    name = f"rw_owner_{random.randrange(10**9)}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN")
        database = admin.info.dbname
        admin.execute(f'ALTER DATABASE "{database}" OWNER TO {name}')
        admin.execute(f'ALTER DATABASE "{database}" SET role = {name}')
        try:
            assert migrate.upgrade(postgres_url) == migrate.head_revision()
            migrate.check(postgres_url)
        finally:
            admin.execute(f'ALTER DATABASE "{database}" RESET role')
            admin.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
            admin.execute(f'ALTER DATABASE "{database}" OWNER TO CURRENT_USER')
            admin.execute(f"DROP OWNED BY {name}")
            admin.execute(f"DROP ROLE {name}")
