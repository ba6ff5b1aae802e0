"""History of the tables that hold the latest row: what riskwatch said, as intervals of event time.

Each tracked table has a table ``<name>_history`` with the same columns and an interval: a row held
from `valid_from` until before `valid_to`, and still holds if that is NULL. An output opens an
interval if it says something else than the open one: any difference counts, except one of a
measured number (a price, a probability) within the threshold of its table. Output after output is
compared with the open interval, never with the output before, so a number that creeps opens an
interval as soon as it has left the threshold, and the intervals do not depend on where batches end.

The history has the event time of outputs. It is what was said at the time: a fact that is heard
late changes what is said from then on, and not what was said before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Column, Index, Table, and_, delete, func, insert, or_, select, tuple_

from riskwatch.errors import StoreError
from riskwatch.store import projections as t
from riskwatch.store.types import METADATA, UtcTime
from riskwatch.store.write import Row, chunks, remove, upsert

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Connection

RETENTION_DAYS: Final = 400
"""Days of event time for which closed intervals are kept."""
_UNSAID: Final = ("ts", "output_id")
"""Columns that say when a row was written and not what it says."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackedTable:
    """A table of latest rows, and its history.

    Attributes
    ----------
    table, history : Table
        The table of latest rows, and the table of intervals.
    relative : dict of str to float
        Columns that may move by this share of the value in the open interval without opening one.
    absolute : dict of str to float
        Columns that may move by this much.
    free : tuple of str
        Columns that never open an interval; they describe the numbers of the others.
    """

    table: Table
    history: Table
    relative: Mapping[str, float]
    absolute: Mapping[str, float]
    free: tuple[str, ...]

    @property
    def width(self) -> int:
        """Number of columns of the key of the table of latest rows."""
        return len(self.table.primary_key.columns)

    def says_else(self, before: Row, after: Row) -> bool:
        """Whether a row says something else than the one of the open interval."""
        for column, old, new in zip(self.table.columns, before, after, strict=True):
            name = column.name
            if old == new or name in _UNSAID or name in self.free:
                continue
            near = self._threshold(name, old)
            if near is None or old is None or new is None or abs(float(new) - float(old)) >= near:
                return True
        return False

    def _threshold(self, name: str, old: Any) -> float | None:
        if name in self.absolute:
            return self.absolute[name]
        share = self.relative.get(name)
        return None if share is None or old is None else share * abs(float(old))


def _tracked(
    table: Table,
    relative: Mapping[str, float] | None = None,
    absolute: Mapping[str, float] | None = None,
    free: tuple[str, ...] = (),
) -> TrackedTable:
    columns = [
        Column(c.name, c.type, primary_key=c.primary_key, nullable=c.nullable)
        for c in table.columns
        if c.name != "ts"
    ]
    keys = len(table.primary_key.columns)
    columns.insert(keys, Column("valid_from", UtcTime, primary_key=True))
    columns.insert(keys + 1, Column("valid_to", UtcTime, nullable=True))
    history = Table(f"{table.name}_history", METADATA, *columns)
    Index(None, history.c.valid_to)
    return TrackedTable(table, history, relative or {}, absolute or {}, free)


_PRICE: Final = 0.001
"""A change of price alone below this share opens no interval."""
_SCORE: Final = 0.005
"""A change of a probability below this opens no interval."""
_CONFIRMED: Final = ("priced_at", "confirmed_at")
"""Columns of a holding that follow each confirmation and say nothing else about it."""

TRACKED: Final[dict[str, TrackedTable]] = {
    tracked.table.name: tracked
    for tracked in (
        _tracked(t.EXPOSURE, free=_CONFIRMED),
        _tracked(t.POSITION, free=_CONFIRMED),
        _tracked(
            t.ASSET_VALUE,
            relative={"price_usd": _PRICE},
            absolute={"deviation_bp": 10.0},
            free=("value_bp", "direct_bp", "sd_bp", "live"),
        ),
        _tracked(
            t.SCORE,
            absolute={"probability": _SCORE},
            free=("severity", "features", "contributions"),
        ),
        _tracked(
            t.COUNTERPARTY_ASSESSMENT,
            relative=dict.fromkeys(
                ("gross_usd", "net_usd", "ead_usd", "el_usd", "exit_cost_usd", "stuck_usd"), _PRICE
            ),
            absolute={"pd": 0.0001, "lgd": _SCORE, "jump_to_default_share": _PRICE},
        ),
        _tracked(
            t.LIMIT_STATE,
            relative={"used_usd": _PRICE, "hard_usd": _PRICE, "warning_usd": _PRICE},
            absolute={"utilisation": _PRICE},
        ),
        _tracked(
            t.DRAWDOWN,
            relative={"unit_value": _PRICE, "high_water_mark": _PRICE, "equity_usd": _PRICE},
            absolute={
                "drawdown_bp": 10.0,
                "coverage": _PRICE,
                "loss_day_bp": 10.0,
                "loss_24h_bp": 10.0,
            },
        ),
    )
}
"""Tables with a history, by the name of the table of latest rows."""


def write_history(
    conn: Connection, tracked: TrackedTable, lines: Sequence[tuple[Row, bool]]
) -> None:
    """Write the intervals that rows of a table open and close.

    Parameters
    ----------
    conn : Connection
        Within the transaction of the batch.
    tracked : TrackedTable
        The table.
    lines : sequence of (row, bool)
        Rows of the table in the order of their outputs, and whether each one deletes its key.
    """
    width = tracked.width
    open_rows = _open_intervals(conn, tracked, sorted({row[:width] for row, _ in lines}))
    written: dict[Row, Row] = {}
    dropped: dict[Row, None] = {}
    at = _places(tracked)
    for row, closes in lines:
        key, ts = row[:width], row[at.ts]
        before = open_rows.get(key)
        if before is not None:
            since = before.valid_from
            if not closes and not tracked.says_else(before.row, row):
                continue
            if since >= ts:  # it said both at one time, and only the last one counts
                written.pop((*key, since), None)
                dropped[*key, since] = None
                ts = since
            else:
                written[*key, since] = before.line(at, until=ts)
            del open_rows[key]
        if not closes:
            opened = open_rows[key] = _Interval(row, ts)
            dropped.pop((*key, ts), None)
            written[*key, ts] = opened.line(at, until=None)
    remove(conn, tracked.history, list(dropped))
    upsert(conn, tracked.history, list(written.values()))


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the columns of a row of latest rows stand."""

    width: int
    ts: int


def _places(tracked: TrackedTable) -> _Places:
    names = [c.name for c in tracked.table.columns]
    return _Places(tracked.width, names.index("ts"))


@dataclass(frozen=True, slots=True)
class _Interval:
    """An open interval: what its row says, and since when."""

    row: Row
    valid_from: datetime

    def line(self, at: _Places, until: datetime | None) -> Row:
        """Return the row of the table of intervals."""
        rest = (*self.row[at.width : at.ts], *self.row[at.ts + 1 :])
        return (*self.row[: at.width], self.valid_from, until, *rest)


def _open_intervals(
    conn: Connection, tracked: TrackedTable, keys: Sequence[Row]
) -> dict[Row, _Interval]:
    """Return the open intervals of keys, with rows as the table of latest rows has them."""
    h, width, found = tracked.history.c, tracked.width, {}
    columns = [h.valid_from if c.name == "ts" else h[c.name] for c in tracked.table.columns]
    at = _places(tracked).ts
    key_columns = columns[:width]
    for chunk in chunks(keys):
        match: ColumnElement[bool] = (
            key_columns[0].in_([key[0] for key in chunk])
            if width == 1
            else tuple_(*key_columns).in_(chunk)
        )
        for line in conn.execute(select(*columns).where(h.valid_to.is_(None), match)):
            row = tuple(line)
            found[row[:width]] = _Interval(row, row[at])
    return found


def prune(conn: Connection, before: datetime, days: int = RETENTION_DAYS) -> None:
    """Delete intervals that were closed `days` before the beginning of the day of `before`."""
    edge = before.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)
    for tracked in TRACKED.values():
        conn.execute(delete(tracked.history).where(tracked.history.c.valid_to < edge))


def first_moment(conn: Connection) -> datetime | None:
    """Return when the history begins; ``None`` while it is empty."""
    found = [
        began
        for tracked in TRACKED.values()
        if (began := conn.scalar(select(func.min(tracked.history.c.valid_from)))) is not None
    ]
    return min(found, default=None)


def intervals(
    conn: Connection,
    tracked: TrackedTable,
    where: Mapping[str, str],
    span: tuple[datetime | None, datetime | None] = (None, None),
) -> list[dict[str, Any]]:
    """Return intervals, by key and time.

    Parameters
    ----------
    conn : Connection
        See :func:`riskwatch.store.queries.open_reader`.
    tracked : TrackedTable
        One of :data:`TRACKED`.
    where : dict of str to str
        Values of key columns.
    span : (datetime or None, datetime or None)
        Only intervals that hold at or after the first time, and at or before the second.

    Raises
    ------
    StoreError
        If `where` names a column that is no key.
    """
    history = tracked.history
    keys = [c.name for c in history.primary_key.columns if c.name != "valid_from"]
    query = select(history)
    for name, value in where.items():
        if name not in keys:
            raise StoreError(f"the keys of {history.name} are {', '.join(keys)}, not {name}")
        query = query.where(history.c[name] == value)
    since, until = span
    if since is not None:
        query = query.where(or_(history.c.valid_to.is_(None), history.c.valid_to > since))
    if until is not None:
        query = query.where(history.c.valid_from <= until)
    query = query.order_by(*(history.c[k] for k in keys), history.c.valid_from)
    return [dict(row) for row in conn.execute(query).mappings()]


def rows_at(conn: Connection, tracked: TrackedTable, ts: datetime) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as they were at `ts`, by key; `ts` of a row is its `valid_from`."""
    h = tracked.history.c
    holds = and_(h.valid_from <= ts, or_(h.valid_to.is_(None), h.valid_to > ts))
    columns = [
        h.valid_from.label("ts") if c.name == "ts" else h[c.name] for c in tracked.table.columns
    ]
    for row in conn.execute(select(*columns).where(holds).order_by(*columns[: tracked.width])):
        yield dict(zip(row._fields, row, strict=True))


def copy_at(source: Connection, target: Connection, ts: datetime, also: Iterable[Table]) -> None:
    """Fill an empty database with what another one said at `ts`.

    The tables of `also` are copied as they are now: reference data has no history.
    """
    for tracked in TRACKED.values():
        rows = list(rows_at(source, tracked, ts))
        if rows:
            target.execute(insert(tracked.table), rows)
    for table in also:
        rows = [dict(row) for row in source.execute(select(table)).mappings()]
        if rows:
            target.execute(insert(table), rows)
