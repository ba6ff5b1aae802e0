"""Opening a database: settings, and errors."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from riskwatch.errors import StoreError
from riskwatch.store.engine import open_engine

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine


def test_sqlite_survives_a_loss_of_power(engine: Engine) -> None:
    """It uses a write-ahead log, syncs every commit, and waits for locks."""
    with engine.connect() as conn:
        found = {
            name: conn.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


def test_a_transaction_holds_the_write_lock_from_its_first_read(engine: Engine, url: str) -> None:
    """Nothing that a transaction reads (such as the lease) can change before it writes."""
    with engine.begin() as conn, closing(sqlite3.connect(make_url(url).database or "")) as other:
        conn.exec_driver_sql("SELECT epoch FROM lease")
        other.execute("PRAGMA busy_timeout=0")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")


def test_a_reader_cannot_write(url: str) -> None:
    """A reader can change neither rows nor tables nor settings."""
    engine = open_engine(url, readonly=True)
    for statement in (
        "DELETE FROM lease",
        "CREATE TABLE t (a)",
        "PRAGMA user_version=7",
        "ATTACH DATABASE ':memory:' AS other",
    ):
        with engine.connect() as conn, pytest.raises(DBAPIError, match="not authorized"):
            conn.exec_driver_sql(statement)
    engine.dispose()


def test_a_missing_file_is_not_made_by_a_reader(tmp_path: Path) -> None:
    """The error names the command that creates a database."""
    with pytest.raises(StoreError, match="no such database; `riskwatch db upgrade` makes one"):
        open_engine(f"sqlite:///{tmp_path / 'none.db'}", readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    """The error is one line with the URL."""
    with pytest.raises(StoreError, match=r"none/x\.db cannot be opened: unable to open"):
        open_engine(f"sqlite:///{tmp_path / 'none' / 'x.db'}")


@pytest.mark.parametrize("readonly", [True, False])
def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path, readonly: bool) -> None:
    """The error is the same for readers and writers."""
    path = tmp_path / "x.db"
    path.write_bytes(b"time,open,high,low,close\n" * 100)
    with pytest.raises(StoreError, match="cannot be opened: file is not a database"):
        open_engine(f"sqlite:///{path}", readonly=readonly)


def test_a_server_that_does_not_answer_is_a_clear_error() -> None:
    """The error is one line without the password."""
    with pytest.raises(StoreError, match="cannot be opened") as caught:
        open_engine("postgresql://user:secret@127.0.0.1:1/risk")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["mysql://host/x", "nonsense", "postgresql+nothing://127.0.0.1:1/x"]
)
def test_other_databases_are_refused(url: str) -> None:
    """The error names the two supported kinds."""
    if url.startswith("postgresql"):
        with pytest.raises(StoreError, match="cannot be opened"):
            open_engine(url)
    else:
        with pytest.raises(StoreError, match="must be sqlite:///file or postgresql://"):
            open_engine(url)
