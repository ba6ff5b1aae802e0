"""Open a database, the same way everywhere."""

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

from riskwatch.errors import BatchRefusedError, StoreError, StoreUnavailableError
from riskwatch.store.types import dump_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL, Connection


# Headers of messages as JSON keeps them: pairs in their order, values in base 64.

Headers = tuple[tuple[str, bytes], ...]


def headers_text(headers: Headers) -> list[list[str]]:
    """Headers as a JSON column takes them.

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
"""How long a statement waits for another's lock on SQLite, milliseconds."""
CONNECT_S: Final = 10
"""How long to wait for a Postgres server, seconds."""
_READER: Final = {"timezone": "UTC", "default_transaction_read_only": "on"}
_WRITER: Final = {
    "timezone": "UTC",
    # A writer that is paused within a transaction, or whose machine vanished, must not keep the
    # lease's row from the one that takes over.
    "idle_in_transaction_session_timeout": "5s",
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
}
_NOTICED: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A server that vanished without a word is noticed within some ten seconds."""
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
_LOOKS: Final = frozenset(
    {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo"}
    | {"foreign_key_list"}
)
"""Pragmas that only describe tables."""


def open_engine(url: str, *, readonly: bool = False) -> Engine:
    """Open a SQLite file or a Postgres database.

    SQLite runs with a write-ahead log and ``synchronous=FULL``: a commit outlives a loss of
    power, not only a kill (it costs 0.8 ms more than NORMAL on a commit of 1,000 journal rows).
    Transactions that may write begin IMMEDIATE, so what they read
    first is what they write upon.

    Parameters
    ----------
    url : str
        ``sqlite:///file.db`` or ``postgresql://user@host/name``.
    readonly : bool
        For asking: the database must exist, and it refuses every write.

    Raises
    ------
    StoreError
        If the URL is of no known kind, the file is missing (`readonly`), or the server does
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
    """Turn what a database says against the statements within into an error of ours.

    Parameters
    ----------
    what : str
        What cannot be done without it, as the message begins.

    Raises
    ------
    StoreUnavailableError
        If the same may be tried again.
    StoreError
        If it is refused for good.
    """
    try:
        yield
    except DBAPIError as error:
        raise store_error(error, what) from error


def error_line(error: DBAPIError) -> str:
    """First line of what the database said."""
    return (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]


_PASSING: Final = ("08", "25006", "25P03", "40", "53", "57P", "55P03")
"""Conditions of Postgres that pass: connection, a standby not promoted yet, retry, resources,
shutdown, lock."""


_CONTENT: Final = ("22", "23", "54")
"""Conditions of Postgres that the content of a statement causes: data, constraint, size."""


def store_error(error: DBAPIError, what: str) -> StoreError:
    """Tell what may be tried again from what is refused for good, and from bad content.

    Examples
    --------
    >>> gone = OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))
    >>> type(store_error(gone, "w")).__name__
    'StoreUnavailableError'
    """
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        # No answer of a server at all: the driver itself lost it, or the file is locked.
        passing = isinstance(error, (OperationalError, InterfaceError))
    else:
        passing = state.startswith(_PASSING)
    if passing or error.connection_invalidated:
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
        # Never the whole of it: it may hold a password in whatever form.
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
        # Transactions are begun by us: the driver's own habit leaves reads outside of them.
        dbapi.isolation_level = None
        cursor = dbapi.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        cursor.execute("PRAGMA foreign_keys=ON")
        # Reads the file: one that is no database is found here and not halfway.
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
    looks = action == sqlite3.SQLITE_PRAGMA and name in _LOOKS
    return sqlite3.SQLITE_OK if looks or action in _READS else sqlite3.SQLITE_DENY


def _postgres(url: URL, *, readonly: bool) -> Engine:
    settings = _READER if readonly else _WRITER
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    # Positional parameters let the hot path hand rows over as tuples on both databases.
    return create_engine(
        url,
        paramstyle="format",
        json_serializer=dump_json,
        connect_args={"connect_timeout": CONNECT_S, "options": options, **_NOTICED},
    )
