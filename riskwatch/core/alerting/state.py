"""What is remembered of alerts and of who was told, in rows; every collection has a bound."""

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
"""Most open alerts; those beyond are counted in one."""
MAX_ENDED: Final = 10_000
"""Most alerts that are over and still known to be, so that an old record opens none again."""
MAX_SILENCES: Final = 10_000
"""Most silences; one more silences nothing."""
MAX_WORKERS: Final = 256
"""Most workers whose outputs are read."""
SEPARATOR: Final = "\x1f"
"""Stands between route and group in the name of a row: no name holds it."""


class RouteProgress(msgspec.Struct):
    """What one route knows of one open alert.

    Attributes
    ----------
    told : str
        Id of the raise that was told last; empty if none was.
    first_us : int
        When its present severity was first told: from then on, somebody must acknowledge it.
    rank : int
        The severest that was told.
    escalated_us : int
        When the second route was told; 0 if it was not.
    of, what, why : str
        Last word on a raise: its id, what became of it, and why.
    """

    told: str = ""
    first_us: int = 0
    rank: int = -1
    escalated_us: int = 0
    of: str = ""
    what: str = ""
    why: str = ""


class AlertRow(msgspec.Struct):
    """One open alert. `state` is the state of its scope now, where decisions say it."""

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
        """What a route knows of it."""
        found = self.ways.get(route)
        if found is None:
            found = self.ways[route] = RouteProgress()
        return found


class AlertItem(msgspec.Struct, frozen=True):
    """One alert as a notice tells it.

    Attributes
    ----------
    alert : str
        Its key.
    episode : str
        Id of the raise that opened it: the same in every notice about it.
    raise_id : str
        Id of the last raise.
    status : str
        ``firing`` or ``resolved``.
    severity, state : State
        As it was raised; state of its scope now.
    exposure_usd : Decimal
        Our dollars on it when it was raised, USD.
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
    """What one route knows of one group.

    Attributes
    ----------
    since_us : int
        Since when something waits to be told; -1 if nothing does.
    last_us : int
        When people were last told that something in it fires; -1 if never.
    over : list of Item
        Alerts that are over and not yet said to be.
    over_us : int
        Since when there are any.
    """

    since_us: int = -1
    last_us: int = -1
    over: list[AlertItem] = []
    over_us: int = -1


class SilenceRow(msgspec.Struct):
    """Who silenced a scope, why, and until when (microseconds)."""

    by: str
    reason: str
    until: int


class EndedAlertRow(msgspec.Struct):
    """Last raise of an alert that is over: its id and event time."""

    last_id: str
    last_us: int


class NotifyMeta(msgspec.Struct):
    """Time that was reached, and raises that found no room since there last was some."""

    us: int = 0
    over: int = 0


class WorkerCursor(msgspec.Struct):
    """Place of a worker's last output."""

    epoch: int
    seq: int


_TYPES: Final[dict[str, Any]] = {
    "alert": AlertRow, "group": AlertGroupRow, "silence": SilenceRow, "lane": WorkerCursor,
    "ended": EndedAlertRow,
}  # fmt: skip


class NotifyState:
    """Rows by kind and name, and which of them changed."""

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
        """Remember that a row changed (or went) and must be written."""
        self._dirty[f"{kind}/{name}"] = None

    def drain(self) -> RowChanges:
        """Rows that changed since the last call, keys sorted."""
        out: RowChanges = {}
        for key in sorted(self._dirty):
            kind, _, name = key.partition("/")
            value = self.meta if kind == "meta" else self._tables[kind].get(name)
            out[key] = None if value is None else encode_row(value)
        self._dirty.clear()
        return out

    def load(self, rows: dict[str, Row]) -> None:
        """Become the state that these rows describe.

        Raises
        ------
        ValueError
            If a row is of no kind that this engine writes.
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
        """Forget what routes know that are not there any more."""
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
        """Whether a worker's record is news: its places only grow, and no old term comes back."""
        lane = self.cursors.get(worker)
        if lane is None:
            if len(self.cursors) >= MAX_WORKERS:
                return True  # without a lane, ids alone tell repeats apart
            lane = self.cursors[worker] = WorkerCursor(epoch, seq)
        elif seq <= lane.seq or epoch < lane.epoch:
            return False
        lane.epoch, lane.seq = epoch, seq
        self.mark("lane", worker)
        return True

    def close(self, row: AlertRow) -> None:
        """Forget an alert that is over, but for what tells its old records."""
        del self.alerts[row.key]
        self.mark("alert", row.key)
        self.ended[row.key] = EndedAlertRow(row.last_id, row.last_us)
        self.mark("ended", row.key)
        if len(self.ended) > MAX_ENDED:
            oldest = min(self.ended, key=lambda key: (self.ended[key].last_us, key))
            del self.ended[oldest]
            self.mark("ended", oldest)

    def groups_of_route(self, route: str) -> Iterator[tuple[str, AlertGroupRow]]:
        """Groups of a route, by key."""
        for name in sorted(self.groups):
            owner, _, key = name.partition(SEPARATOR)
            if owner == route:
                yield key, self.groups[name]

    def group(self, route: str, key: str) -> AlertGroupRow:
        """Group of a route, made if there is none."""
        return self.groups.setdefault(f"{route}{SEPARATOR}{key}", AlertGroupRow())
