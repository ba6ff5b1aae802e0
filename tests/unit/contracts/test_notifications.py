"""Notification bodies: the bytes of version 1, and the limits of Slack's format."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from riskwatch.contracts.notifications import notification_body, slack_body, webhook_body
from riskwatch.contracts.webhook import SIGNATURE, TIMESTAMP, sign, verify
from riskwatch.core.alerting.config import AlertKind, AlertLevel
from riskwatch.core.alerting.notification import NotificationKind, make_notification
from riskwatch.core.alerting.state import AlertItem
from riskwatch.core.enums import Cause, State

US = 1_678_504_380_000_000
KEY = b"0123456789abcdef"


def item(name: str = "asset:USDC", **given: Any) -> AlertItem:
    """Return an alert as an item of a notification."""
    known: dict[str, Any] = {
        "alert": name, "episode": "e1", "raise_id": "r1", "status": "firing", "scope": name,
        "about": AlertKind.STATE, "severity": State.HALT, "state": State.HALT,
        "level": AlertLevel.CRITICAL, "cause": Cause.ISSUER, "title": f"{name} is HALT",
        "reasons": ["-180 bp"], "exposure_usd": Decimal("1E+6"), "decision_id": "d1",
        "opened": "2023-03-11T03:13:00Z", "raised": 1, "acknowledged_by": "",
    }  # fmt: skip
    return AlertItem(**known | given)


def test_the_bytes_of_a_webhook_are_these() -> None:
    """Version 1 must not change: receivers rely on it."""
    made = make_notification(
        NotificationKind.FIRING, "pager", ("pager", "scope=asset:USDC"), US, [item()]
    )
    assert webhook_body(made) == (
        b'{"version":1,"id":"' + made.id.encode() + b'","kind":"firing","route":"pager",'
        b'"origin":"pager","group":"scope=asset:USDC","ts":"2023-03-11T03:13:00Z",'
        b'"severity":"HALT","level":"critical","title":"asset:USDC is HALT","alerts":[{'
        b'"alert":"asset:USDC","episode":"e1","raise_id":"r1","status":"firing",'
        b'"scope":"asset:USDC","about":"state","severity":"HALT","state":"HALT",'
        b'"level":"critical","cause":"issuer","title":"asset:USDC is HALT",'
        b'"reasons":["-180 bp"],"exposure_usd":"1000000","decision_id":"d1",'
        b'"opened":"2023-03-11T03:13:00Z","raised":1,"acknowledged_by":""}],"more":0}'
    )
    assert json.loads(notification_body("webhook", made))["id"] == made.id
    named = webhook_body(made, "prod")
    assert named == webhook_body(made)[:-1] + b',"deployment":"prod"}'


def test_a_webhook_of_another_deployment_is_refused() -> None:
    """Its name is in the signed body; a receiver that names its deployment takes no other."""
    made = make_notification(NotificationKind.FIRING, "pager", ("pager", "all"), US, [item()])
    for name, why in (
        ("prod", None),
        ("staging", "it is of deployment staging, not of prod"),
        ("", "it is of no deployment, not of prod"),
    ):
        body = notification_body("webhook", made, name)
        headers = {TIMESTAMP: "1700000000", SIGNATURE: sign(b"k", "1700000000", body)}
        assert verify(b"k", headers, body, 1_700_000_000.0, deployment="prod") == why
        assert verify(b"k", headers, body, 1_700_000_000.0) is None
        forged = body.replace(b'"staging"', b'"prod"')
        if forged != body:
            said = verify(b"k", headers, forged, 1_700_000_000.0, deployment="prod")
            assert said == f"{SIGNATURE} is not of this key, time and body"
    assert " · prod" in slack_body(made, "prod").decode()


def test_the_id_tells_notices_apart() -> None:
    """The id depends on everything that makes another notification, and on nothing else."""
    place = ("pager", "all")
    first = make_notification(NotificationKind.FIRING, "pager", place, US, [item()])
    assert first.id == make_notification(NotificationKind.FIRING, "pager", place, US, [item()]).id
    others = [
        make_notification(NotificationKind.REPEAT, "pager", place, US, [item()]),
        make_notification(NotificationKind.FIRING, "desk", place, US, [item()]),
        make_notification(NotificationKind.FIRING, "pager", ("pager", "x"), US, [item()]),
        make_notification(NotificationKind.FIRING, "pager", place, US + 1, [item()]),
        make_notification(NotificationKind.FIRING, "pager", place, US, [item(raise_id="r2")]),
    ]
    assert len({first.id, *(n.id for n in others)}) == 6


def test_slack_messages_stay_within_what_may_be_sent() -> None:
    """Blocks and texts keep Slack's limits for any number and length of alerts."""
    many = [item(f"asset:A{n}", reasons=["x" * 300] * 8, title="t" * 300) for n in range(20)]
    made = make_notification(NotificationKind.REPEAT, "desk", ("desk", "all"), US, many, more=7)
    said = json.loads(slack_body(made))
    assert len(said["blocks"]) <= 50
    assert len(said["text"]) <= 3_000
    assert said["text"].startswith("[REPEAT] ")
    header, *sections, foot = said["blocks"]
    assert len(header["text"]["text"]) <= 150
    assert all(len(block["text"]["text"]) <= 3_000 for block in sections)
    assert foot["elements"][0]["text"].endswith("and 17 more")


def test_slack_texts_are_verbatim_and_form_no_links() -> None:
    """An address stays text, markup is escaped, and characters that cannot be seen are shown."""
    bad = item(title="see https://evil.example <!channel>", reasons=["a\u202eb\nforged line"])
    made = make_notification(NotificationKind.FIRING, "desk", ("desk", "#all"), US, [bad])
    body = json.loads(slack_body(made))
    assert body["parse"] == "none"
    assert not any(body[key] for key in ("mrkdwn", "link_names", "unfurl_links", "unfurl_media"))
    header, section, foot = body["blocks"]
    assert header["text"]["type"] == "plain_text"
    assert not header["text"]["emoji"]
    texts = [section["text"], *foot["elements"]]
    assert all(text["verbatim"] is True for text in texts)
    assert "&lt;!channel&gt;" in section["text"]["text"]
    assert "• a&lt;U+202E&gt;b&lt;U+000A&gt;forged line" in section["text"]["text"]


def test_slack_messages_say_what_counts() -> None:
    """They state severity, exposure, present state, acknowledgement and decision."""
    seen = item(state=State.REDUCE, acknowledged_by="ann", exposure_usd=Decimal("1234567.5"))
    made = make_notification(NotificationKind.FIRING, "desk", ("desk", "all"), US, [seen])
    text = json.loads(slack_body(made))["text"]
    assert "$1,234,567.50, state now REDUCE, seen by ann, decision d1" in text


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "not a time"),
        ({"Riskwatch-Timestamp": "1e9"}, "not a time"),
        ({"Riskwatch-Timestamp": "100"}, "not of this key"),
        ({"Riskwatch-Timestamp": "100", "Riskwatch-Signature": "v1=é"}, "not of this key"),
        ({"Riskwatch-Timestamp": "100", "Riskwatch-Signature": sign(KEY, "101", b"x")}, "key"),
        ({"riskwatch-timestamp": "100", "RISKWATCH-SIGNATURE": sign(KEY, "100", b"x")}, None),
    ],
)
def test_what_a_receiver_believes(headers: dict[str, str], why: str | None) -> None:
    """Only a signature of key, time and body is valid; header names may be in any case."""
    said = verify(KEY, headers, b"x", 100.0)
    assert (said is None) if why is None else (said is not None and why in said)
