"""Notices as they travel: JSON for webhooks, text and blocks for whatever speaks Slack's language.

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
"""Alerts that get a block of their own: a message may have 50 blocks."""
_HEADER: Final = 150
_SECTION: Final = 3_000
_TEXT: Final = 3_000
_REASONS: Final = 3


class _Body(msgspec.Struct):
    """What a webhook is sent."""

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


def notification_body(kind: str, notice: Notification) -> bytes:
    """Bytes that a route of a kind is sent."""
    return slack_body(notice) if kind == SLACK else webhook_body(notice)


def webhook_body(notice: Notification) -> bytes:
    """JSON object of a notice; equal notices are equal bytes."""
    made = _Body(
        version=VERSION,
        id=notice.id,
        kind=notice.kind.value,
        route=notice.route,
        origin=notice.origin,
        group=notice.group,
        ts=rfc3339(notice.us),
        severity=notice.severity.value,
        level=notice.level.value,
        title=notice.title,
        alerts=notice.items,
        more=notice.more,
    )
    return encode_plain(made)


def slack_body(notice: Notification) -> bytes:
    """JSON object with `text` (what a phone shows) and `blocks`."""
    first = f"[{_word(notice)}] {notice.title}"
    header = _cut(visible(first), _HEADER)
    lines = [first, *(_line(item) for item in notice.items)]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "emoji": False, "text": header}}
    ]
    for item in notice.items[:MAX_SHOWN_ITEMS]:
        reasons = "\n".join(f"• {_escaped(reason)}" for reason in item.reasons[:_REASONS])
        said = f"*{_escaped(item.title)}*\n{_escaped(_line(item))}\n{reasons}".strip()
        blocks.append({"type": "section", "text": _verbatim(_cut(said, _SECTION))})
    hidden = (
        len(notice.items) - MAX_SHOWN_ITEMS + notice.more
        if len(notice.items) > MAX_SHOWN_ITEMS
        else notice.more
    )
    foot = f"{rfc3339(notice.us)} · {_escaped(notice.group)} · {notice.id[:12]}"
    foot += f" · and {hidden} more" if hidden else ""
    blocks.append({"type": "context", "elements": [_verbatim(foot)]})
    shown = _cut("\n".join(_escaped(line) for line in lines), _TEXT)
    plain = {"mrkdwn": False, "parse": "none", "link_names": False}
    plain |= {"unfurl_links": False, "unfurl_media": False}
    return msgspec.json.encode({"text": shown, "blocks": blocks, **plain})


def _verbatim(text: str) -> dict[str, Any]:
    """Return a text object in which Slack turns no address or name into a link."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _word(notice: Notification) -> str:
    """Say first what matters first."""
    if notice.kind is NotificationKind.FIRING:
        return notice.severity.value
    return notice.kind.value.upper()


def _line(item: AlertItem) -> str:
    words = [item.scope, item.severity.value, item.level.value, f"${item.exposure_usd:,.2f}"]
    words += [f"state now {item.state.value}"] if item.state is not item.severity else []
    words += [f"seen by {item.acknowledged_by}"] if item.acknowledged_by else []
    words += [f"decision {item.decision_id[:12]}"] if item.decision_id else []
    return ", ".join(words)


def _escaped(said: str) -> str:
    """Text that means nothing but itself.

    Examples
    --------
    >>> _escaped("<!channel> a & b")
    '&lt;!channel&gt; a &amp; b'
    """
    shown = visible(said)
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(said: str, longest: int) -> str:
    return said if len(said) <= longest else said[: longest - 1] + "…"
