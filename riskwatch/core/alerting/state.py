"""State of alerts and of their notification, as rows; every collection has a bound."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.core.alerting.config import AlertKind, AlertLevel
from riskwatch.core.enums import Cause, State
from riskwatch.core.stage import Row, RowChanges, encode_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.alerting.config import NotifyConfig

MAX_ALERTS: Final = 10_000
"""Maximum number of open alerts; further ones are counted in one overflow alert."""
MAX_ENDED: Final = 10_000
"""Maximum number of stored ended alerts; they prevent that an old record opens an alert again."""
MAX_SILENCES: Final = 10_000
"""Maximum number of silences; a further one has no effect."""
MAX_WORKERS: Final = 256
"""Maximum number of workers whose outputs are read."""
SEPARATOR: Final = "\x1f"
"""Separates route and group in the name of a row; no name contains it."""


class RouteProgress(msgspec.Struct):
    """Progress of one open alert on one route.

    Attributes
    ----------
    told : str
        Id of the raise that was last notified; empty if there is none.
    first_us : int
        When its present severity was first notified, microseconds; the time for an acknowledgement
        starts then.
    rank : int
        Rank of the highest notified severity.
    escalated_us : int
        When the second route was notified, microseconds; 0 if it was not.
    of, what, why : str
        Last disposition: id of the raise, disposition, and reason.
    """

    told: str = ""
    first_us: int = 0
    rank: int = -1
    escalated_us: int = 0
    of: str = ""
    what: str = ""
    why: str = ""


class AlertRow(msgspec.Struct):
    """One open alert. `state` is the present state of its scope, by the last decision."""

    key: str
    scope: str
    about: AlertKind
    severity: State
    state: State
    cause: Cause
    title: str
    reasons: list[str]
    usd: Decimal
    decision_id: str
    opened_id: str
    opened_us: int
    last_id: str
    last_us: int
    raised: int = 1
    acked_by: str = ""
    acked_rank: int = -1
    ways: dict[str, RouteProgress] = {}

    def progress(self, route: str) -> RouteProgress:
        """Return the progress of the alert on a route, created on first use."""
        found = self.ways.get(route)
        if found is None:
            found = self.ways[route] = RouteProgress()
        return found


class AlertItem(msgspec.Struct, frozen=True):
    """One alert in a notification.

    Attributes
    ----------
    alert : str
        Its key.
    episode : str
        Id of the raise that opened it, the same in every notification about it.
    raise_id : str
        Id of the last raise.
    status : str
        ``firing`` or ``resolved``.
    severity, state : State
        Its severity when it was last raised, and the present state of its scope.
    exposure_usd : Decimal
        Our exposure when it was last raised, USD.
    """

    alert: str
    episode: str
    raise_id: str
    status: str
    scope: str
    about: AlertKind
    severity: State
    state: State
    level: AlertLevel
    cause: Cause
    title: str
    reasons: list[str]
    exposure_usd: Decimal
    decision_id: str
    opened: str
    raised: int
    acknowledged_by: str


class AlertGroupRow(msgspec.Struct):
    """Progress of one group of alerts on one route; times in microseconds.

    Attributes
    ----------
    since_us : int
        Time since which an alert waits to be notified; -1 if none waits.
    last_us : int
        When the group was last notified as firing; -1 if never.
    over : list of AlertItem
        Resolved alerts that are not notified yet.
    over_us : int
        Time since which there are any.
    """

    since_us: int = -1
    last_us: int = -1
    over: list[AlertItem] = []
    over_us: int = -1


class SilenceRow(msgspec.Struct):
    """A silence of a scope: operator, reason and end (microseconds)."""

    by: str
    reason: str
    until: int


class EndedAlertRow(msgspec.Struct):
    """The last raise of an ended alert: its id and event time."""

    last_id: str
    last_us: int


class NotifyMeta(msgspec.Struct):
    """The time reached, and the number of raises without room since there last was room."""

    us: int = 0
    over: int = 0


class WorkerCursor(msgspec.Struct):
    """Epoch and sequence number of a worker's last output."""

    epoch: int
    seq: int


_TYPES: Final[dict[str, Any]] = {
    "alert": AlertRow, "group": AlertGroupRow, "silence": SilenceRow, "lane": WorkerCursor,
    "ended": EndedAlertRow,
}  # fmt: skip


class NotifyState:
    """The rows by kind and name, and the set of changed rows."""

    def __init__(self) -> None:
        self.alerts: dict[str, AlertRow] = {}
        self.groups: dict[str, AlertGroupRow] = {}
        self.silences: dict[str, SilenceRow] = {}
        self.cursors: dict[str, WorkerCursor] = {}
        self.ended: dict[str, EndedAlertRow] = {}
        self.meta = NotifyMeta()
        self._dirty: dict[str, None] = {}
        self._tables: dict[str, dict[str, Any]] = {
            "alert": self.alerts,
            "group": self.groups,
            "silence": self.silences,
            "lane": self.cursors,
            "ended": self.ended,
        }

    def mark(self, kind: str, name: str = "") -> None:
        """Mark a row as changed or deleted, so that it is written."""
        self._dirty[f"{kind}/{name}"] = None

    def drain(self) -> RowChanges:
        """Return the rows that changed since the last call, keys sorted."""
        out: RowChanges = {}
        for key in sorted(self._dirty):
            kind, _, name = key.partition("/")
            value = self.meta if kind == "meta" else self._tables[kind].get(name)
            out[key] = None if value is None else encode_row(value)
        self._dirty.clear()
        return out

    def load(self, rows: dict[str, Row]) -> None:
        """Load the state from its rows.

        Raises
        ------
        ValueError
            If a row is of an unknown kind.
        """
        for key in sorted(rows):
            kind, _, name = key.partition("/")
            if kind == "meta":
                self.meta = msgspec.json.decode(rows[key], type=NotifyMeta)
            elif kind in _TYPES:
                self._tables[kind][name] = msgspec.json.decode(rows[key], type=_TYPES[kind])
            else:
                raise ValueError(f"row {key!r} is of no kind that notices are made from")

    def prune(self, config: NotifyConfig) -> None:
        """Drop the progress and the groups of routes that are no longer configured."""
        for key in sorted(self.alerts):
            row = self.alerts[key]
            gone = [name for name in row.ways if name not in config.routes]
            for name in gone:
                del row.ways[name]
                self.mark("alert", key)
        for key in [k for k in self.groups if k.partition(SEPARATOR)[0] not in config.routes]:
            del self.groups[key]
            self.mark("group", key)

    def advance_cursor(self, worker: str, epoch: int, seq: int) -> bool:
        """Advance a worker's cursor, and return whether its record is new.

        Sequence numbers only grow, and an old epoch does not come back.
        """
        cursor = self.cursors.get(worker)
        if cursor is None:
            if len(self.cursors) >= MAX_WORKERS:
                return True  # without a cursor, repeats are recognised by their ids only
            cursor = self.cursors[worker] = WorkerCursor(epoch, seq)
        elif seq <= cursor.seq or epoch < cursor.epoch:
            return False
        cursor.epoch, cursor.seq = epoch, seq
        self.mark("lane", worker)
        return True

    def close(self, row: AlertRow) -> None:
        """Delete an alert that is over, and store its last raise to recognise old records."""
        del self.alerts[row.key]
        self.mark("alert", row.key)
        self.ended[row.key] = EndedAlertRow(row.last_id, row.last_us)
        self.mark("ended", row.key)
        if len(self.ended) > MAX_ENDED:
            oldest = min(self.ended, key=lambda key: (self.ended[key].last_us, key))
            del self.ended[oldest]
            self.mark("ended", oldest)

    def groups_of_route(self, route: str) -> Iterator[tuple[str, AlertGroupRow]]:
        """Yield the groups of a route with their keys, sorted by key."""
        for name in sorted(self.groups):
            owner, _, key = name.partition(SEPARATOR)
            if owner == route:
                yield key, self.groups[name]

    def group(self, route: str, key: str) -> AlertGroupRow:
        """Return a group of a route, created if there is none."""
        return self.groups.setdefault(f"{route}{SEPARATOR}{key}", AlertGroupRow())
