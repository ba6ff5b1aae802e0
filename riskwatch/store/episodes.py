"""Alerts and data-quality issues: opened, raised again, resolved. At most one open per key.

A fold over outputs in their order, starting from the rows that are open in the database; so
the result is the same wherever batches begin and end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, tuple_

from riskwatch.core.faults import as_alert
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    DataQualityRaised,
    DataQualityResolved,
    StageFaulted,
)
from riskwatch.store.projections import ALERT, DATA_QUALITY
from riskwatch.store.write import upsert

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import Select, Table
    from sqlalchemy.engine import Connection

Found = dict[str, Any]
_CHUNK: Final = 200
"""Keys looked up at once; databases bound the number of parameters."""


def write_episodes(conn: Connection, worker: str, outputs: Sequence[Any]) -> None:
    """Fold `outputs` of `worker` into the tables of alerts and data-quality issues."""
    told = [as_alert(o) if isinstance(o, StageFaulted) else o for o in outputs]
    alerts = [o for o in told if isinstance(o, AlertRaised | AlertResolved)]
    issues = [o for o in outputs if isinstance(o, DataQualityRaised | DataQualityResolved)]
    if alerts:
        keys = sorted({o.alert for o in alerts})
        found = (
            row
            for chunk in _chunks(keys)
            for row in _open(conn, ALERT, select(ALERT).where(ALERT.c.alert.in_(chunk)))
        )
        opened = {row["alert"]: row for row in found}
        _write(conn, ALERT, _fold_alerts(opened, alerts))
    if issues:
        pairs = sorted({(o.issue.value, o.subject) for o in issues})
        c = DATA_QUALITY.c
        found = (
            row
            for chunk in _chunks(pairs)
            for row in _open(
                conn,
                DATA_QUALITY,
                select(DATA_QUALITY).where(
                    c.worker == worker, tuple_(c.issue, c.subject).in_(chunk)
                ),
            )
        )
        still = {(row["issue"], row["subject"]): row for row in found}
        _write(conn, DATA_QUALITY, _fold_issues(worker, still, issues))


def _fold_alerts(
    opened: dict[str, Found], outputs: Iterable[AlertRaised | AlertResolved]
) -> list[Found]:
    touched: dict[str, Found] = {}
    for o in outputs:
        if isinstance(o, AlertResolved):
            row = opened.pop(o.alert, None)
            if row is None:
                continue
            row.update(resolved_ts=o.ts, resolved_id=o.id)
        else:
            row = opened.setdefault(
                o.alert,
                {"id": o.id, "alert": o.alert, "opened_ts": o.ts, "raised": 0}
                | {"resolved_ts": None, "resolved_id": None},
            )
            row.update(
                scope=o.scope,
                severity=o.severity.value,
                cause=o.cause.value,
                title=o.title,
                reasons=o.reasons,
                exposure_usd=o.exposure_usd,
                decision_id=o.decision_id,
                last_ts=o.ts,
                last_id=o.id,
                raised=row["raised"] + 1,
            )
        touched[row["id"]] = row
    return list(touched.values())


def _fold_issues(
    worker: str,
    opened: dict[tuple[str, str], Found],
    outputs: Iterable[DataQualityRaised | DataQualityResolved],
) -> list[Found]:
    touched: dict[str, Found] = {}
    for o in outputs:
        key = (o.issue.value, o.subject)
        if isinstance(o, DataQualityResolved):
            row = opened.pop(key, None)
            if row is None:
                continue
            row.update(resolved_ts=o.ts, resolved_id=o.id)
        else:
            row = opened.setdefault(
                key,
                {"worker": worker, "id": o.id, "issue": key[0], "subject": o.subject}
                | {"opened_ts": o.ts, "raised": 0, "resolved_ts": None, "resolved_id": None},
            )
            row.update(
                detail=o.detail,
                cause=o.cause.value,
                last_ts=o.ts,
                last_id=o.id,
                raised=row["raised"] + 1,
            )
        touched[row["id"]] = row
    return list(touched.values())


def _open(conn: Connection, table: Table, query: Select[Any]) -> Iterator[Found]:
    for row in conn.execute(query.where(table.c.resolved_ts.is_(None))).mappings():
        yield dict(row)


def _write(conn: Connection, table: Table, rows: list[Found]) -> None:
    # A row that was closed comes before its successor of the same key, which finds the place free.
    names = [c.name for c in table.columns]
    upsert(conn, table, [tuple(row[name] for name in names) for row in rows])


def _chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for at in range(0, len(keys), _CHUNK):
        yield keys[at : at + _CHUNK]
