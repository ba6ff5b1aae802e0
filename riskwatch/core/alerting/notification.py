"""What goes to people: notices, and a word on each raise of an alert."""

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
"""Alerts in one notice."""


class NotificationKind(StrEnum):
    """Why a notice is sent."""

    FIRING = "firing"
    """Something new, or more of it."""
    REPEAT = "repeat"
    """Nobody has acknowledged it for a while."""
    ESCALATED = "escalated"
    """Nobody has acknowledged it for too long: this is the second route."""
    RESOLVED = "resolved"
    """It is over."""
    TEST = "test"
    """A person tries the route."""


class Disposition(StrEnum):
    """What became of a raise of an alert on a route."""

    NOTIFIED = "notified"
    """It is in a notice."""
    GROUPED = "grouped"
    """It waits with its group, or a later raise or a common alert tells it."""
    SILENCED = "silenced"
    """People do not want to hear of it for a while."""
    INHIBITED = "inhibited"
    """A HALT over it says more."""
    UNROUTED = "unrouted"
    """No route takes it."""


class Notification(msgspec.Struct, frozen=True):
    """One message to one route.

    Attributes
    ----------
    id : str
        Its dedupe key: however often it is delivered, it is this one.
    group : str
        Key of its group, the same in all notices of it.
    origin : str
        Route whose group it is: another than `route` where it was escalated.
    us : int
        When it was made, microseconds.
    items : tuple of Item
        The gravest first.
    more : int
        Alerts that found no place in it.
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
    """A word on one raise of an alert on one route; a later word replaces it."""

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
    """Alert as it stands."""
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
    """Items, the gravest and dearest first."""
    return sorted(items, key=lambda i: (-i.level.rank, -i.severity.rank, -i.exposure_usd, i.alert))


def make_notification(
    kind: NotificationKind,
    route: str,
    place: tuple[str, str],
    us: int,
    items: Sequence[AlertItem],
    more: int = 0,
) -> Notification:
    """Make a notice of at least one item.

    Parameters
    ----------
    kind : Kind
        Why.
    route : str
        To whom.
    place : tuple of str, str
        Route whose group it is, and the group's key.
    us : int
        When.
    items : sequence of Item
        What it tells.
    more : int
        Alerts that it does not.
    """
    listed = sort_items(items)
    first, others = listed[0], len(listed) + more - 1
    said = (*place, route, kind.value, str(us), *(f"{i.episode}{i.raise_id}" for i in listed))
    return Notification(
        id=_digest(said),
        route=route,
        kind=kind,
        group=place[1],
        origin=place[0],
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
