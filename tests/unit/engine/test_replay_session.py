"""A replay into a real database: a new one gets a schema, a foreign one is refused."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from riskwatch.engine.replay import ReplayJob, ReplayLimits, open_database, replay_files
from riskwatch.errors import StoreError, StreamIdentityError
from riskwatch.store.content import content_digest
from tests.support.toy import fill_line, toy_lines, toy_pipeline

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of mixed events."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"".join(line + b"\n" for line in toy_lines(200)))
    return path


def test_a_fresh_file_is_set_up_and_filled(tmp_path: Path, path: Path) -> None:
    """Tables and views are made, and the events are in them."""
    url = f"sqlite:///{tmp_path}/new.db"
    summary = replay_files(ReplayJob([path], url), toy_pipeline())
    assert summary.read == 200
    with open_database(url) as engine, engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM exposure")).scalar_one() == 3
        read = conn.execute(text("SELECT read FROM worker_progress")).scalar_one()
        rejected = conn.execute(text("SELECT count(*) FROM dead_letter")).scalar_one()
    assert (read, rejected) == (200, summary.rejected)


def test_going_on_is_the_same_as_one_run(tmp_path: Path, path: Path) -> None:
    """Stopped and resumed through files and SQL, the content is equal."""
    whole, parts = (f"sqlite:///{tmp_path}/{name}.db" for name in ("whole", "parts"))
    replay_files(ReplayJob([path], whole), toy_pipeline())
    for _ in range(5):
        replay_files(ReplayJob([path], parts, limits=ReplayLimits(7, None, 43)), toy_pipeline())
    with open_database(whole) as a, open_database(parts) as b:
        assert content_digest(a) == content_digest(b)


def test_another_file_of_the_name_is_refused(tmp_path: Path, path: Path) -> None:
    """And the message says what to do."""
    url = f"sqlite:///{tmp_path}/new.db"
    replay_files(ReplayJob([path], url), toy_pipeline())
    path.write_bytes(b"".join(fill_line(n, n) + b"\n" for n in range(300)))
    with pytest.raises(StreamIdentityError, match=r"changed or replaced\. Use the file as it was"):
        replay_files(ReplayJob([path], url), toy_pipeline())


def test_a_database_of_others_is_left_alone(tmp_path: Path, path: Path) -> None:
    """A SQLite file with tables but without our schema is not touched."""
    with sqlite3.connect(tmp_path / "theirs.db") as conn:
        conn.execute("CREATE TABLE theirs (x)")
    conn.close()
    with pytest.raises(StoreError, match=r"has no riskwatch schema.*run `riskwatch db upgrade`"):
        replay_files(ReplayJob([path], f"sqlite:///{tmp_path}/theirs.db"), toy_pipeline())


def test_an_outdated_database_says_what_to_run(tmp_path: Path, path: Path) -> None:
    """It may be in use by others, so it is not upgraded on the way."""
    url = f"sqlite:///{tmp_path}/old.db"
    with open_database(url) as engine, engine.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(StoreError, match=r"is at revision 0001.*run `riskwatch db upgrade`"):
        replay_files(ReplayJob([path], url), toy_pipeline())
