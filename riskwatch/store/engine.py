"""Opens databases, and translates database errors into errors of riskwatch."""

from __future__ import annotations

import sqlite3
from base64 import b64decode, b64encode
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
)

from riskwatch.errors import BatchRefusedError, RiskwatchError, StoreError, StoreUnavailableError
from riskwatch.store.types import dump_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Connection


Headers = tuple[tuple[str, bytes], ...]
"""Headers of a message, in order."""


def headers_text(headers: Headers) -> list[list[str]]:
    """Return headers for a JSON column: pairs in order, with values in base 64.

    Examples
    --------
    >>> headers_text((("trace", b"1"),))
    [['trace', 'MQ==']]
    """
    return [[name, b64encode(value).decode()] for name, value in headers]


def headers_from(stored: list[list[str]] | None) -> Headers:
    """Inverse of :func:`headers_text`.

    Examples
    --------
    >>> headers_from([["trace", "MQ=="]])
    (('trace', b'1'),)
    """
    return tuple((name, b64decode(value)) for name, value in stored or ())


BUSY_MS: Final = 10_000
"""Longest wait for a lock on SQLite, milliseconds."""
CONNECT_S: Final = 10
"""Longest wait for a connection to Postgres, seconds."""
_READER: Final = {"timezone": "UTC", "default_transaction_read_only": "on"}
_WRITER: Final = {
    "timezone": "UTC",
    # A writer that is paused in a transaction, or whose machine is lost, must not lock the row of
    # the lease, because another process must be able to take over.
    "idle_in_transaction_session_timeout": "5s",
    # Whoever waits for a lock says so and tries again; a heartbeat must not end without a word.
    "lock_timeout": "5s",
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
}
_KEEPALIVE: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""TCP settings that detect a lost server within about ten seconds."""
MEMORY: Final = (None, "", ":memory:")
_READS: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
        sqlite3.SQLITE_TRANSACTION,
    }
)
_DESCRIBING_PRAGMAS: Final = frozenset(
    {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"}
    | {"foreign_key_list"}
)
"""Pragmas that only describe tables."""


def open_engine(url: str, *, readonly: bool = False) -> Engine:
    """Open a SQLite file or a Postgres database.

    SQLite uses a write-ahead log and ``synchronous=FULL``: a commit survives a loss of power,
    not only a kill (it costs 0.8 ms more than NORMAL on a commit of 1,000 journal rows).
    Transactions that may write begin IMMEDIATE, so nothing that they read can change before they
    write.

    Parameters
    ----------
    url : str
        ``sqlite:///file.db`` or ``postgresql://user@host/name``.
    readonly : bool
        Open for reading: the database must exist, and it refuses every write.

    Raises
    ------
    StoreError
        If the URL is of an unknown kind, the file is missing (`readonly`), or the server does
        not answer.
    """
    parsed = _parse(url)
    shown = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() == "sqlite":
        engine = _sqlite(parsed, shown, readonly=readonly)
    else:
        engine = _postgres(parsed, readonly=readonly)
    try:
        with translate_errors(f"{shown} cannot be opened"), engine.connect():
            pass
    except StoreError:
        engine.dispose()
        raise
    return engine


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Translate database errors of the statements within the context.

    Parameters
    ----------
    what : str
        Beginning of the message: the operation that failed.

    Raises
    ------
    StoreUnavailableError
        If the operation may succeed when it is tried again.
    StoreError
        If the operation is refused for good.
    """
    try:
        yield
    except DBAPIError as error:
        raise store_error(error, what) from error


@contextmanager
def refusing_content(what: str) -> Iterator[None]:
    """Turn what an encoder or a driver raises about the content of a batch into an error of ours.

    Parameters
    ----------
    what : str
        What failed, as the message begins.

    Raises
    ------
    BatchRefusedError
        If anything but an error of ours, of the system, or of memory is raised.
    """
    try:
        yield
    except (RiskwatchError, OSError, MemoryError):
        raise
    except Exception as error:
        raise BatchRefusedError(f"{what}: {type(error).__name__}: {error}") from error


def error_line(error: DBAPIError) -> str:
    """Return the first line of the database's message."""
    return (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]


_TRANSIENT: Final = (
    "08", "25006", "25P03", "25P04", "40", "53", "55P03", "57014", "57P", "58030",
)  # fmt: skip
"""Transient SQLSTATE classes of Postgres: connection, standby not promoted yet, timeout of a
transaction, serialisation and deadlock, resources (a full disk), lock, cancelled or timed-out
statement, shutdown, input or output. A worker waits for the end of each, and says so."""


_CONTENT: Final = ("22", "23", "54")
"""Conditions of Postgres that the content of a statement causes: data, constraint, size."""


def store_error(error: DBAPIError, what: str) -> StoreError:
    """Return a transient or a permanent error for a database error, or one about the content.

    Examples
    --------
    >>> gone = OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))
    >>> type(store_error(gone, "w")).__name__
    'StoreUnavailableError'
    """
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        # There is no SQLSTATE if the driver lost the server, or the SQLite file is locked.
        transient = isinstance(error, (OperationalError, InterfaceError))
    else:
        transient = state.startswith(_TRANSIENT)
    if transient or error.connection_invalidated:
        kind: type[StoreError] = StoreUnavailableError
    elif isinstance(error, (DataError, IntegrityError)) or (state or "").startswith(_CONTENT):
        kind = BatchRefusedError
    else:
        kind = StoreError
    return kind(f"{what}: {error_line(error)}")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        elif backend != "sqlite":
            raise StoreError(
                f"database must be sqlite:///file or postgresql://host/name, was {backend}"
            )
    except (ArgumentError, NoSuchModuleError):
        # Never show the whole URL: it may contain a password.
        kind = f"was of kind {url.partition('://')[0]!r}" if "://" in url else "has no ://"
        raise StoreError(
            f"database must be sqlite:///file or postgresql://host/name, {kind}"
        ) from None
    return parsed


def _sqlite(url: URL, shown: str, *, readonly: bool) -> Engine:
    if readonly and url.database not in MEMORY and not Path(str(url.database)).is_file():
        raise StoreError(f"{shown}: there is no such database; `riskwatch db upgrade` makes one")
    engine = create_engine(url)

    def connected(dbapi: Any, record: object) -> None:
        del record
        # We begin transactions ourselves, because the driver leaves reads outside of them.
        dbapi.isolation_level = None
        cursor = dbapi.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        cursor.execute("PRAGMA foreign_keys=ON")
        # This reads the file, so a file that is not a database is found here.
        cursor.execute("PRAGMA schema_version")
        if readonly:
            dbapi.set_authorizer(_only_reads)
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    def begun(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN" if readonly else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def _only_reads(action: int, name: str | None, *_: object) -> int:
    describes = action == sqlite3.SQLITE_PRAGMA and name in _DESCRIBING_PRAGMAS
    return sqlite3.SQLITE_OK if describes or action in _READS else sqlite3.SQLITE_DENY


def _postgres(url: URL, *, readonly: bool) -> Engine:
    settings = _READER if readonly else _WRITER
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    # Positional parameters let the hot path pass rows as tuples on both databases.
    return create_engine(
        url,
        paramstyle="format",
        json_serializer=dump_json,
        connect_args={
            "connect_timeout": CONNECT_S,
            "options": options,
            # A database of another encoding can be looked at, and is refused with a reason.
            "client_encoding": "utf8",
            **_KEEPALIVE,
        },
    )
