"""Projection of outputs to table rows: one entry per output type, and the writes of a batch.

A latest table takes only the last row per key of a batch. A log table takes every row. The
result does not depend on where batches begin and end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET
from sqlalchemy import select, tuple_

from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    AssetValued,
    AuthorityChanged,
    CommandApplied,
    CommandRefused,
    ConfigurationChanged,
    ControlChanged,
    CounterpartyAssessed,
    DataQualityRaised,
    DataQualityResolved,
    DecisionAdvised,
    DecisionMade,
    DeploymentAdopted,
    DrawdownMeasured,
    DrillSignalled,
    EventRejected,
    ExposureChanged,
    HaltEffectMeasured,
    HighWaterMarkSet,
    KillSwitchChanged,
    LimitMeasured,
    ModelMeasured,
    PnlMeasured,
    PositionChanged,
    ScoreUpdated,
    StageFaulted,
    TransferTracked,
    alert_from_fault,
)
from riskwatch.errors import StoreError
from riskwatch.store import projections as t
from riskwatch.store.drills import DRILL_SIGNAL
from riskwatch.store.history import TRACKED, TrackedTable, write_history
from riskwatch.store.projections import (
    ALERT,
    DATA_QUALITY,
    OPERATOR_COMMAND,
    SCOPE_CONTROL,
    command_row,
)
from riskwatch.store.truth import DEPLOYMENT
from riskwatch.store.types import stored_value
from riskwatch.store.write import Row, append, chunks, remove, upsert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Select, Table
    from sqlalchemy.engine import Connection

    from riskwatch.core.outputs import Output


# Episodes: alerts and data-quality issues that are opened, raised again and resolved. At most one
# is open per key.
#
# The fold takes outputs in order and starts from the open rows in the database, so the result
# does not depend on where batches begin and end.

EpisodeRow = dict[str, Any]


def write_episodes(conn: Connection, worker: str, outputs: Sequence[Any]) -> None:
    """Write the alerts and data-quality issues of `outputs` of `worker` to their tables."""
    alert_outputs = [alert_from_fault(o) if isinstance(o, StageFaulted) else o for o in outputs]
    alerts = [o for o in alert_outputs if isinstance(o, AlertRaised | AlertResolved)]
    issues = [o for o in outputs if isinstance(o, DataQualityRaised | DataQualityResolved)]
    if alerts:
        keys = sorted({o.alert for o in alerts})
        open_rows = (
            row
            for chunk in chunks(keys)
            for row in _open(conn, ALERT, select(ALERT).where(ALERT.c.alert.in_(chunk)))
        )
        opened = {row["alert"]: row for row in open_rows}
        _write(conn, ALERT, _fold_alerts(opened, alerts))
    if issues:
        pairs = sorted({(o.issue.value, o.subject) for o in issues})
        c = DATA_QUALITY.c
        open_rows = (
            row
            for chunk in chunks(pairs)
            for row in _open(
                conn,
                DATA_QUALITY,
                select(DATA_QUALITY).where(
                    c.worker == worker, tuple_(c.issue, c.subject).in_(chunk)
                ),
            )
        )
        open_issues = {(row["issue"], row["subject"]): row for row in open_rows}
        _write(conn, DATA_QUALITY, _fold_issues(worker, open_issues, issues))


def _fold_alerts(
    opened: dict[str, EpisodeRow], outputs: Iterable[AlertRaised | AlertResolved]
) -> list[EpisodeRow]:
    touched: dict[str, EpisodeRow] = {}
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
    opened: dict[tuple[str, str], EpisodeRow],
    outputs: Iterable[DataQualityRaised | DataQualityResolved],
) -> list[EpisodeRow]:
    touched: dict[str, EpisodeRow] = {}
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


def _open(conn: Connection, table: Table, query: Select[Any]) -> Iterator[EpisodeRow]:
    for row in conn.execute(query.where(table.c.resolved_ts.is_(None))).mappings():
        yield dict(row)


def _write(conn: Connection, table: Table, rows: list[EpisodeRow]) -> None:
    # A closed row comes before its successor with the same key, so that the key is free.
    names = [c.name for c in table.columns]
    upsert(conn, table, [tuple(row[name] for name in names) for row in rows])


_RENAMED: Final = {"output_id": "id", "limit_id": "limit"}
# Enumerations are stored as their value, because drivers convert members differently.
_ENUMS: Final = frozenset(
    {"state", "effective", "previous", "in_force", "quality", "cause", "effect"}
)


# Of these an output may leave out what is not stated; the column is empty then.
_OPTIONAL: Final = frozenset({"wallet", "side", "kind", "contract_type", "settle"})


def _getter(table: Table) -> Callable[[Any], Row]:
    """Build a function that returns the row of an output; columns have the names of fields."""
    names = [_RENAMED.get(c.name, c.name) for c in table.columns]
    get = attrgetter(*(f"{n}.value" if n in _ENUMS else n for n in names))
    if _OPTIONAL.isdisjoint(names):
        return get
    empty = [None if c.nullable else "" for c in table.columns]
    return lambda output: tuple(
        nothing if value is UNSET else value
        for value, nothing in zip(get(output), empty, strict=True)
    )


@dataclass(frozen=True, slots=True, eq=False)
class LatestTable:
    """A table that keeps the last row per key. An output for which `closes` is true deletes it."""

    table: Table
    row: Callable[[Any], Row]
    width: int
    closes: Callable[[Any], bool] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LogTable:
    """A table that keeps every output once, by id."""

    table: Table
    row: Callable[[Any], Row]

    def stored(self, output: Output) -> Row:
        """Return the row of an output as it is read back."""
        return tuple(stored_value(value) for value in self.row(output))


def _latest(table: Table, closes: Callable[[Any], bool] | None = None) -> LatestTable:
    columns = list(table.columns)
    width = len(table.primary_key.columns)
    assert all(c.primary_key for c in columns[:width]), f"{table.name}: keys come first"
    return LatestTable(table, _getter(table), width, closes)


def _log(table: Table) -> LogTable:
    return LogTable(table, _getter(table))


def _no_amount(output: ExposureChanged) -> bool:
    return not output.amount


def _no_qty(output: PositionChanged) -> bool:
    return not output.qty


def _forgotten(output: TransferTracked) -> bool:
    return output.status == "forgotten"


def _ended(output: HaltEffectMeasured) -> bool:
    return output.ended


def _nothing(output: ControlChanged) -> bool:
    return output.empty


def _deployment_row(output: DeploymentAdopted) -> Row:
    """Return the row of :data:`DEPLOYMENT`; a worker adds the broker when it meets it."""
    o = output
    return (o.number, o.deployment, "", None, o.ts, o.person, o.reason)


_COMMANDS: Final = LogTable(OPERATOR_COMMAND, command_row)

PROJECTIONS: Final[dict[type[Output], tuple[LatestTable | LogTable, ...]]] = {
    ExposureChanged: (_latest(t.EXPOSURE, _no_amount),),
    PositionChanged: (_latest(t.POSITION, _no_qty),),
    TransferTracked: (_latest(t.TRANSFER, _forgotten),),
    AssetValued: (_latest(t.ASSET_VALUE),),
    ScoreUpdated: (_latest(t.SCORE),),
    CounterpartyAssessed: (_latest(t.COUNTERPARTY_ASSESSMENT),),
    LimitMeasured: (_latest(t.LIMIT_STATE),),
    DecisionMade: (_log(t.DECISION_LOG),),
    DecisionAdvised: (_log(t.ADVISORY_LOG),),
    KillSwitchChanged: (_latest(t.KILLSWITCH), _log(t.KILLSWITCH_HISTORY)),
    CommandApplied: (_COMMANDS,),
    CommandRefused: (_COMMANDS,),
    ControlChanged: (_latest(SCOPE_CONTROL, _nothing),),
    AuthorityChanged: (_log(t.AUTHORITY_CHANGE),),
    ModelMeasured: (_latest(t.MODEL_STANDING),),
    EventRejected: (),  # the runner stores its bytes as a dead letter
    DrillSignalled: (_log(DRILL_SIGNAL),),
    HaltEffectMeasured: (_latest(t.HALT_EFFECT, _ended),),
    DrawdownMeasured: (_latest(t.DRAWDOWN),),
    PnlMeasured: (_latest(t.PNL),),
    HighWaterMarkSet: (_log(t.HIGH_WATER_MARK),),
    ConfigurationChanged: (),  # stored in the audit chain only
    DeploymentAdopted: (LogTable(DEPLOYMENT, _deployment_row),),
}
EPISODES: Final = (
    AlertRaised,
    AlertResolved,
    DataQualityRaised,
    DataQualityResolved,
    StageFaulted,
)
"""Outputs that open or close an episode; :func:`write_episodes` writes them."""


@dataclass(slots=True)
class ProjectedRows:
    """Rows to write, keys to delete, and episodes of a sequence of outputs."""

    latest: dict[LatestTable, dict[Row, Row | None]] = field(default_factory=dict)
    logs: dict[LogTable, list[Row]] = field(default_factory=dict)
    history: dict[TrackedTable, list[tuple[Row, bool]]] = field(default_factory=dict)
    episodes: list[Any] = field(default_factory=list)

    def write(self, conn: Connection) -> None:
        """Write the rows. :func:`write_episodes` writes the episodes."""
        for latest, rows in self.latest.items():
            upsert(conn, latest.table, [row for row in rows.values() if row is not None])
            remove(conn, latest.table, [key for key, row in rows.items() if row is None])
        for log, lines in self.logs.items():
            append(conn, log.table, lines)
        for tracked, told in self.history.items():
            write_history(conn, tracked, told)


def fold(outputs: Iterable[Output]) -> ProjectedRows:
    """Fold outputs, in order, into the rows that the tables must have after them.

    Raises
    ------
    StoreError
        If a type of output has no projection.
    """
    folded = ProjectedRows()
    for output in outputs:
        targets = PROJECTIONS.get(type(output))
        if targets is None:
            if not isinstance(output, EPISODES):
                raise StoreError(f"no table takes an output of type {type(output).__name__}")
            folded.episodes.append(output)
            continue
        for target in targets:
            row = target.row(output)
            if isinstance(target, LogTable):
                folded.logs.setdefault(target, []).append(row)
            else:
                closed = target.closes is not None and target.closes(output)
                rows = folded.latest.setdefault(target, {})
                rows[row[: target.width]] = None if closed else row
                if (tracked := TRACKED.get(target.table.name)) is not None:
                    folded.history.setdefault(tracked, []).append((row, closed))
    return folded
