"""Reads state rows from SQL, migrated to the format of this build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, select

from riskwatch.core.migration import OLDEST, ROW_FORMAT, RowFormat, row_changes
from riskwatch.errors import RowFormatError
from riskwatch.store.truth import STATE_ROW, WORKER_PROGRESS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from riskwatch.core.stage import RowChanges

    Rows = dict[str, dict[str, bytes]]
    """Bodies by stage and key."""

_S: Final = STATE_ROW.c
_P: Final = WORKER_PROGRESS.c
_FORMAT_OF: Final = select(_P.state_format, _P.engine).where(_P.worker == bindparam("w"))
_ROWS_OF: Final = select(_S.stage, _S.key, _S.body).where(_S.worker == bindparam("w"))


def load_rows(
    conn: Connection, worker: str, row_format: RowFormat = ROW_FORMAT
) -> tuple[Rows, dict[str, RowChanges]]:
    """Read all state rows of a worker, migrated to a format. This writes nothing.

    Returns
    -------
    tuple
        The rows by stage and key, and those that differ from the stored ones.

    Raises
    ------
    RowFormatError
        If the stored rows are newer than the format.
    """
    stored: Rows = {}
    for stage, key, body in conn.execute(_ROWS_OF, {"w": worker}):
        stored.setdefault(stage, {})[key] = body
    number, engine = _stored_format(conn, worker)
    try:
        rows = row_format.migrate(stored, number, engine)
    except RowFormatError as error:
        raise RowFormatError(f"{worker}: {error}") from error
    return rows, ({} if number == row_format.number else row_changes(stored, rows))


def current_row(
    conn: Connection, stage: str, key: str, row_format: RowFormat = ROW_FORMAT
) -> bytes | None:
    """Return one row of a stage, whichever worker hosts the stage; ``None`` if there is none.

    A worker that has not written since an upgrade still has rows of the older format. Then all
    its rows are read and migrated.

    Raises
    ------
    RowFormatError
        If the stored rows are newer than the format.
    """
    query = select(_S.body).where(_S.worker == bindparam("w"), _S.stage == stage, _S.key == key)
    hosts = select(_P.worker, _P.state_format).order_by(_P.worker)
    for worker, number in conn.execute(hosts).all():
        if number == row_format.number:
            body = conn.execute(query, {"w": worker}).scalar_one_or_none()
        else:
            body = load_rows(conn, worker, row_format)[0].get(stage, {}).get(key)
        if body is not None:
            return bytes(body)
    return None


def _stored_format(conn: Connection, worker: str) -> tuple[int, str]:
    """Return the format of a worker's rows, and the engine that wrote them.

    The first release did not store the format of the worker ``notify``.
    """
    found = conn.execute(_FORMAT_OF, {"w": worker}).one_or_none()
    return (OLDEST, "0.1.0") if found is None else (found.state_format, found.engine)
