"""Message bodies of notifications: JSON for webhooks, text and blocks for Slack.

Texts come from feeds, operators and models. Nothing in them may call a channel or pose as a link:
characters with a meaning in Slack's markup are escaped, texts are marked as verbatim so that no
address becomes a link, and characters that cannot be seen are written out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.contracts.outputs import encode_plain
from riskwatch.core.alerting.notification import NotificationKind
from riskwatch.core.alerting.state import AlertItem
from riskwatch.core.clock import rfc3339
from riskwatch.core.text import visible

if TYPE_CHECKING:
    from riskwatch.core.alerting.notification import Notification

VERSION: Final = 1
WEBHOOK: Final = "webhook"
SLACK: Final = "slack"
KINDS: Final = (WEBHOOK, SLACK)
"""Kinds of routes."""
MAX_SHOWN_ITEMS: Final = 10
"""Maximum number of alerts with a block of their own; a Slack message may have 50 blocks."""
_HEADER: Final = 150
_SECTION: Final = 3_000
_TEXT: Final = 3_000
_REASONS: Final = 3


class _Body(msgspec.Struct):
    """The body of a webhook message."""

    version: int
    id: str
    kind: str
    route: str
    origin: str
    group: str
    ts: str
    severity: str
    level: str
    title: str
    alerts: tuple[AlertItem, ...]
    more: int
    deployment: str | msgspec.UnsetType


def notification_body(kind: str, notification: Notification, deployment: str = "") -> bytes:
    """Return the body of a notification of a deployment for a kind of route."""
    make = slack_body if kind == SLACK else webhook_body
    return make(notification, deployment)


def webhook_body(notification: Notification, deployment: str = "") -> bytes:
    """Return a notification as a JSON object; equal notifications have equal bytes.

    The deployment is part of the signed body; an empty one is left out.
    """
    body = _Body(
        version=VERSION,
        id=notification.id,
        kind=notification.kind.value,
        route=notification.route,
        origin=notification.origin,
        group=notification.group,
        ts=rfc3339(notification.us),
        severity=notification.severity.value,
        level=notification.level.value,
        title=notification.title,
        alerts=notification.items,
        more=notification.more,
        deployment=deployment or msgspec.UNSET,
    )
    return encode_plain(body)


def slack_body(notification: Notification, deployment: str = "") -> bytes:
    """Return a notification as a JSON object with `text` (for previews) and `blocks`."""
    first = f"[{_label(notification)}] {notification.title}"
    header = _truncate(visible(first), _HEADER)
    lines = [first, *(_line(item) for item in notification.items)]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "emoji": False, "text": header}}
    ]
    for item in notification.items[:MAX_SHOWN_ITEMS]:
        reasons = "\n".join(f"• {_escape(reason)}" for reason in item.reasons[:_REASONS])
        text = f"*{_escape(item.title)}*\n{_escape(_line(item))}\n{reasons}".strip()
        blocks.append({"type": "section", "text": _verbatim(_truncate(text, _SECTION))})
    unlisted = (
        len(notification.items) - MAX_SHOWN_ITEMS + notification.more
        if len(notification.items) > MAX_SHOWN_ITEMS
        else notification.more
    )
    foot = f"{rfc3339(notification.us)} · {_escape(notification.group)} · {notification.id[:12]}"
    foot += f" · {_escape(deployment)}" if deployment else ""
    foot += f" · and {unlisted} more" if unlisted else ""
    blocks.append({"type": "context", "elements": [_verbatim(foot)]})
    text = _truncate("\n".join(_escape(line) for line in lines), _TEXT)
    plain = {"mrkdwn": False, "parse": "none", "link_names": False}
    plain |= {"unfurl_links": False, "unfurl_media": False}
    return msgspec.json.encode({"text": text, "blocks": blocks, **plain})


def _verbatim(text: str) -> dict[str, Any]:
    """Return a text object in which Slack turns no address or name into a link."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _label(notification: Notification) -> str:
    """Return the first word of a message: the severity, or the kind if it is not firing."""
    if notification.kind is NotificationKind.FIRING:
        return notification.severity.value
    return notification.kind.value.upper()


def _line(item: AlertItem) -> str:
    words = [item.scope, item.severity.value, item.level.value, f"${item.exposure_usd:,.2f}"]
    words += [f"state now {item.state.value}"] if item.state is not item.severity else []
    words += [f"seen by {item.acknowledged_by}"] if item.acknowledged_by else []
    words += [f"decision {item.decision_id[:12]}"] if item.decision_id else []
    return ", ".join(words)


def _escape(text: str) -> str:
    """Return text with Slack's markup characters escaped.

    Examples
    --------
    >>> _escape("<!channel> a & b")
    '&lt;!channel&gt; a &amp; b'
    """
    shown = visible(text)
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _truncate(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
