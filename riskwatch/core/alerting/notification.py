"""Notifications, and dispositions of each raise of an alert."""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.alerting.config import AlertLevel
from riskwatch.core.alerting.state import AlertItem
from riskwatch.core.clock import rfc3339
from riskwatch.core.enums import State, strictest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.core.alerting.state import AlertRow

MAX_ITEMS: Final = 20
"""Maximum number of alerts in one notification."""


class NotificationKind(StrEnum):
    """Why a notification is sent."""

    FIRING = "firing"
    """An alert is new or was raised again."""
    REPEAT = "repeat"
    """The alert has not been acknowledged for a while."""
    ESCALATED = "escalated"
    """The alert has not been acknowledged for too long; this goes to the second route."""
    RESOLVED = "resolved"
    """The alert is over."""
    TEST = "test"
    """A person tests the route."""


class Disposition(StrEnum):
    """What became of a raise of an alert on a route."""

    NOTIFIED = "notified"
    """It is in a notification."""
    GROUPED = "grouped"
    """It waits with its group, or a later raise or a common alert includes it."""
    SILENCED = "silenced"
    """An operator silenced its scope for a while."""
    INHIBITED = "inhibited"
    """A scope above it is at HALT, of which the route is notified."""
    UNROUTED = "unrouted"
    """No route takes it."""


class Notification(msgspec.Struct, frozen=True):
    """One message to one route.

    Attributes
    ----------
    id : str
        Its dedupe key, the same in every delivery.
    group : str
        Key of its group, the same in all notifications of the group.
    origin : str
        Route of the group; it differs from `route` if the notification is an escalation.
    us : int
        When it was created, microseconds.
    items : tuple of AlertItem
        Its alerts, the most severe first.
    more : int
        Number of further alerts that are not listed.
    """

    id: str
    route: str
    kind: NotificationKind
    group: str
    origin: str
    us: int
    severity: State
    level: AlertLevel
    title: str
    items: tuple[AlertItem, ...]
    more: int = 0


class AlertDisposition(msgspec.Struct, frozen=True):
    """The disposition of one raise of an alert on one route; a later one replaces it."""

    raise_id: str
    route: str
    alert: str
    scope: str
    severity: State
    fate: Disposition
    why: str
    us: int
    notice_id: str = ""


NotifierOutput = Notification | AlertDisposition


def alert_item(row: AlertRow, level: AlertLevel, status: str = "firing") -> AlertItem:
    """Return an alert as an item of a notification."""
    return AlertItem(
        alert=row.key,
        episode=row.opened_id,
        raise_id=row.last_id,
        status=status,
        scope=row.scope,
        about=row.about,
        severity=row.severity,
        state=row.state,
        level=level,
        cause=row.cause,
        title=row.title,
        reasons=list(row.reasons),
        exposure_usd=row.usd,
        decision_id=row.decision_id,
        opened=rfc3339(row.opened_us),
        raised=row.raised,
        acknowledged_by=row.acked_by,
    )


def sort_items(items: Sequence[AlertItem]) -> list[AlertItem]:
    """Return items sorted by level, severity and exposure, the highest first."""
    return sorted(items, key=lambda i: (-i.level.rank, -i.severity.rank, -i.exposure_usd, i.alert))


def make_notification(
    kind: NotificationKind,
    route: str,
    group_key: tuple[str, str],
    us: int,
    items: Sequence[AlertItem],
    more: int = 0,
) -> Notification:
    """Return a notification of at least one item.

    Parameters
    ----------
    kind : NotificationKind
        Why it is sent.
    route : str
        Route to which it is sent.
    group_key : tuple of str, str
        Route of the group, and the group's key.
    us : int
        Time of creation, microseconds.
    items : sequence of AlertItem
        Listed alerts.
    more : int
        Number of further alerts that are not listed.
    """
    listed = sort_items(items)
    first, others = listed[0], len(listed) + more - 1
    fields = (*group_key, route, kind.value, str(us), *(f"{i.episode}{i.raise_id}" for i in listed))
    return Notification(
        id=_digest(fields),
        route=route,
        kind=kind,
        group=group_key[1],
        origin=group_key[0],
        us=us,
        severity=strictest(i.severity for i in listed),
        level=max((i.level for i in listed), key=lambda found: found.rank),
        title=first.title + (f" and {others} more" if others else ""),
        items=tuple(listed),
        more=more,
    )


def _digest(parts: Sequence[str]) -> str:
    h = blake2b(digest_size=16, person=b"riskwatch-notif")
    for part in parts:
        data = part.encode()
        h.update(len(data).to_bytes(4, "big"))
        h.update(data)
    return h.hexdigest()
