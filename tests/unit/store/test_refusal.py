"""Transient and permanent errors of databases."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError

from riskwatch.errors import StoreUnavailableError
from riskwatch.store.engine import error_line, store_error


def raised(kind: type[DBAPIError], error: Exception, *, lost: bool = False) -> DBAPIError:
    """Wrap a driver's error as SQLAlchemy does."""
    made = kind("SELECT 1", {}, error)
    made.connection_invalidated = lost
    return made


@pytest.mark.parametrize(
    "error",
    [
        errors.AdminShutdown("terminating connection"),
        errors.CannotConnectNow("starting up"),
        errors.CrashShutdown("x"),
        errors.ConnectionFailure("x"),
        errors.DeadlockDetected("x"),
        errors.SerializationFailure("x"),
        errors.TooManyConnections("x"),
        errors.DiskFull("x"),
        errors.LockNotAvailable("x"),
        psycopg.OperationalError("server closed the connection unexpectedly"),
        sqlite3.OperationalError("database is locked"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_will_pass_may_be_tried_again(error: Exception) -> None:
    """Shutdown, start, lost connections, locks and lack of space are transient."""
    assert isinstance(store_error(raised(OperationalError, error), "w"), StoreUnavailableError)


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidPassword("x"),
        errors.InvalidCatalogName("x"),
        errors.UniqueViolation("x"),
        errors.UndefinedTable("x"),
        errors.InsufficientPrivilege("x"),
        sqlite3.IntegrityError("UNIQUE constraint failed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_refused_for_good_ends_the_worker(error: Exception) -> None:
    """All other errors are permanent."""
    kind = IntegrityError if isinstance(error, sqlite3.Error) else OperationalError
    found = store_error(raised(kind, error), "w")
    assert not isinstance(found, StoreUnavailableError)


def test_a_lost_connection_is_tried_again_whatever_was_said() -> None:
    """An invalidated connection is transient, whatever the message."""
    error = raised(DBAPIError, errors.InternalError_("x"), lost=True)
    assert isinstance(store_error(error, "w"), StoreUnavailableError)
    quiet = raised(InterfaceError, psycopg.InterfaceError("connection already closed"))
    assert isinstance(store_error(quiet, "w"), StoreUnavailableError)


def test_one_line_says_what_it_was() -> None:
    """The message has the operation and the first line of the error, or its type."""
    error = raised(OperationalError, psycopg.OperationalError("gone\nDETAIL: x"))
    assert str(store_error(error, "w: batch refused")) == "w: batch refused: gone"
    assert error_line(raised(OperationalError, psycopg.OperationalError(""))) == "OperationalError"
