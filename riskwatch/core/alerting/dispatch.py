"""Dispatch: the notifications that are due at a time, by route and group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.alerting.config import SILENCEABLE_KINDS, AlertKind
from riskwatch.core.alerting.notification import (
    MAX_ITEMS,
    AlertDisposition,
    Disposition,
    NotificationKind,
    alert_item,
    make_notification,
)
from riskwatch.core.alerting.state import SEPARATOR
from riskwatch.core.clock import SECOND, rfc3339
from riskwatch.core.enums import State
from riskwatch.core.scopes import covering_scopes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.core.alerting.config import NotifyConfig, Route
    from riskwatch.core.alerting.notification import NotifierOutput
    from riskwatch.core.alerting.state import AlertGroupRow, AlertItem, AlertRow, NotifyState

MAX_UNREPORTED_RESOLVED: Final = 200
"""Number of resolved alerts in one group from which they are notified without further wait."""

Hold = tuple[Disposition, str] | None
HeldAlert = tuple["AlertRow", Hold]


class Dispatcher:
    """Creates the notifications that are due.

    Parameters
    ----------
    config : NotifyConfig
        Routes.
    """

    def __init__(self, config: NotifyConfig) -> None:
        self.config = config

    def tick(self, state: NotifyState, us: int) -> list[NotifierOutput]:
        """Return the notifications that are due now; time does not go backwards."""
        us = self._now(state, us)
        for scope in [s for s in sorted(state.silences) if state.silences[s].until <= us]:
            del state.silences[scope]
            state.mark("silence", scope)
        out: list[NotifierOutput] = []
        for route in self.config.routes.values():
            groups = self._grouped(state, route)
            for key in sorted(groups):
                self._group(state, route, key, groups[key], us, out)
        return out

    def flush(self, state: NotifyState, row: AlertRow, us: int) -> list[NotifierOutput]:
        """Notify the groups in which an alert waits at once, because it is about to end."""
        us = self._now(state, us)
        out: list[NotifierOutput] = []
        for route in self.config.routes.values():
            progress = row.ways.get(route.id)
            if (
                progress is None
                or progress.of != row.last_id
                or progress.what != Disposition.GROUPED.value
            ):
                continue
            key = route.group(row)
            rows = self._grouped(state, route).get(key, [])
            self._group(state, route, key, rows, us, out, now=True)
        return out

    def routes_for(self, row: AlertRow) -> list[Route]:
        """Return the routes that take an alert."""
        level = self.config.level(row)
        return [route for route in self.config.routes.values() if route.matches(row, level)]

    def item(self, row: AlertRow, status: str = "firing") -> AlertItem:
        """Return an alert as an item of a notification."""
        return alert_item(row, self.config.level(row), status)

    @staticmethod
    def _now(state: NotifyState, us: int) -> int:
        if us > state.meta.us:
            state.meta.us = us
            state.mark("meta")
        return state.meta.us

    def _grouped(self, state: NotifyState, route: Route) -> dict[str, list[HeldAlert]]:
        """Return the open alerts of a route by group, each with the reason that holds it back."""
        taken = [
            row
            for _, row in sorted(state.alerts.items())
            if route.matches(row, self.config.level(row))
        ]
        halted = {
            row.scope: None
            for row in taken
            if row.about is AlertKind.STATE and row.severity is row.state is State.HALT
        }
        groups: dict[str, list[HeldAlert]] = {key: [] for key, _ in state.groups_of_route(route.id)}
        for row in taken:
            hold = hold_reason(state, row, halted)
            groups.setdefault(route.group(row), []).append((row, hold))
        return groups

    def _group(
        self,
        state: NotifyState,
        route: Route,
        key: str,
        rows: list[HeldAlert],
        us: int,
        out: list[NotifierOutput],
        *,
        now: bool = False,
    ) -> None:
        group = state.group(route.id, key)
        before = msgspec.structs.astuple(group)
        free = [row for row, hold in rows if hold is None]
        pending = [row for row in free if row.progress(route.id).told != row.last_id]
        for row, hold in rows:
            if hold is not None and row.progress(route.id).told != row.last_id:
                record_disposition(state, row, route.id, hold, us, out)
        if not pending:
            group.since_us = -1
        elif group.since_us < 0:
            group.since_us = us
        wait = round(route.group_wait_s * SECOND)
        urgent = now or any(row.severity is State.HALT for row in pending)
        fire = bool(pending) and (urgent or us >= group.since_us + wait)
        over = len(group.over)
        if over and (fire or us >= group.over_us + wait or over >= MAX_UNREPORTED_RESOLVED):
            self._resolve(route, key, group, us, out)
        if fire:
            self._notify(state, route, key, pending, us, out)
            group.since_us, group.last_us = -1, us
        else:
            why = (
                Disposition.GROUPED,
                f"waits with its group until {rfc3339(group.since_us + wait)}",
            )
            for row in pending:
                record_disposition(state, row, route.id, why, us, out)
        self._repeat(route, key, group, free, us, out)
        self._escalate(state, route, key, free, us, out)
        if not rows and not group.over:
            state.groups.pop(f"{route.id}{SEPARATOR}{key}", None)
            state.mark("group", f"{route.id}{SEPARATOR}{key}")
        elif msgspec.structs.astuple(group) != before or group.over:
            state.mark("group", f"{route.id}{SEPARATOR}{key}")

    @staticmethod
    def _resolve(
        route: Route, key: str, group: AlertGroupRow, us: int, out: list[NotifierOutput]
    ) -> None:
        """Notify that alerts are over."""
        for at in range(0, len(group.over), MAX_ITEMS):
            some = group.over[at : at + MAX_ITEMS]
            out.append(
                make_notification(NotificationKind.RESOLVED, route.id, (route.id, key), us, some)
            )
        group.over, group.over_us = [], -1

    def _notify(
        self,
        state: NotifyState,
        route: Route,
        key: str,
        pending: Sequence[AlertRow],
        us: int,
        out: list[NotifierOutput],
    ) -> None:
        """Notify the pending alerts of a group."""
        for some in self._pages(pending):
            items = [self.item(row) for row in some]
            made = make_notification(NotificationKind.FIRING, route.id, (route.id, key), us, items)
            out.append(made)
            for row in some:
                progress = row.progress(route.id)
                if row.severity.rank > progress.rank:
                    progress.first_us, progress.escalated_us = us, 0
                progress.told, progress.rank = row.last_id, row.severity.rank
                record_disposition(
                    state, row, route.id, (Disposition.NOTIFIED, "told"), us, out, made.id
                )

    def _repeat(
        self,
        route: Route,
        key: str,
        group: AlertGroupRow,
        free: Sequence[AlertRow],
        us: int,
        out: list[NotifierOutput],
    ) -> None:
        """Notify unacknowledged alerts of a group again, if it is time."""
        if not route.repeat_s or group.last_us < 0:
            return
        if us < group.last_us + round(route.repeat_s * SECOND):
            return
        open_ = [row for row in free if row.progress(route.id).told and not row.acked_by]
        if open_:
            some = self._pages(open_)[0]
            items, more = [self.item(row) for row in some], len(open_) - len(some)
            out.append(
                make_notification(
                    NotificationKind.REPEAT, route.id, (route.id, key), us, items, more
                )
            )
            group.last_us = us

    def _escalate(
        self,
        state: NotifyState,
        route: Route,
        key: str,
        free: Sequence[AlertRow],
        us: int,
        out: list[NotifierOutput],
    ) -> None:
        """Notify the second route of alerts that were not acknowledged in time."""
        if not route.escalate_after_s or not route.escalate_to:
            return
        after = round(route.escalate_after_s * SECOND)
        late = [
            row
            for row in free
            if (progress := row.progress(route.id)).told
            and not row.acked_by
            and not progress.escalated_us
            and us >= progress.first_us + after
        ]
        for some in self._pages(late):
            items = [self.item(row) for row in some]
            out.append(
                make_notification(
                    NotificationKind.ESCALATED, route.escalate_to, (route.id, key), us, items
                )
            )
            for row in some:
                row.progress(route.id).escalated_us = us
                state.mark("alert", row.key)

    def _pages(self, rows: Sequence[AlertRow]) -> list[list[AlertRow]]:
        """Return alerts in pages of one notification each, the most severe first."""
        level = self.config.level
        grave = sorted(rows, key=lambda r: (-level(r).rank, -r.severity.rank, -r.usd, r.key))
        return [grave[at : at + MAX_ITEMS] for at in range(0, len(grave), MAX_ITEMS)]


def hold_reason(state: NotifyState, row: AlertRow, halted: dict[str, None]) -> Hold:
    """Return why an alert is held back; a HALT or an alert that needs an operator never is.

    Parameters
    ----------
    state : NotifyState
        Gives the silences, each of which covers its own scope only.
    row : AlertRow
        The alert.
    halted : dict of str
        Scopes at HALT of which this route is notified.
    """
    if row.severity is State.HALT or row.about not in SILENCEABLE_KINDS:
        return None
    silence = state.silences.get(row.scope)
    if silence is not None:
        until = rfc3339(silence.until)
        return Disposition.SILENCED, f"by {silence.by} until {until}: {silence.reason}"
    try:
        above = covering_scopes(row.scope)
    except ValueError:
        above = (row.scope,)
    for scope in above:
        if scope in halted:
            return Disposition.INHIBITED, f"{scope} is at HALT"
    return None


def record_disposition(
    state: NotifyState,
    row: AlertRow,
    route: str,
    outcome: tuple[Disposition, str],
    us: int,
    out: list[NotifierOutput],
    notification_id: str = "",
) -> None:
    """Record and output the disposition of the last raise of an alert, if it changed."""
    disposition, why = outcome
    progress = row.progress(route)
    if (progress.of, progress.what, progress.why) == (
        row.last_id,
        disposition.value,
        why,
    ) and not notification_id:
        return
    progress.of, progress.what, progress.why = row.last_id, disposition.value, why
    state.mark("alert", row.key)
    fields = (
        row.last_id,
        route,
        row.key,
        row.scope,
        row.severity,
        disposition,
        why,
        us,
        notification_id,
    )
    out.append(AlertDisposition(*fields))
