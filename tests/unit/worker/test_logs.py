"""The stream of log lines."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import msgspec
import pytest
import structlog
from faust.types import TP

from riskwatch.core.enums import CommandRefusal, State
from riskwatch.core.outputs import AlertResolved, CommandApplied, CommandRefused, Output
from riskwatch.worker import logs
from streams.host import BatchConsumer
from tests.support.batches import alert, decision, killswitch

AT = datetime(2023, 3, 11, 3, 2, tzinfo=UTC)
COMMAND: dict[str, Any] = {
    "id": "c1", "cause_id": "e1", "ts": AT, "operator": "ann", "role": "trader", "action": "halt",
    "scope": "firm", "reason": "two\nlines", "args": {}, "idempotency_key": "k",
    "commanded_at": AT, "detail": "d", "signature": "secret-signature",
}  # fmt: skip
APPLIED = CommandApplied(**COMMAND, outcome="applied")
REFUSED = CommandRefused(**COMMAND, refusal=CommandRefusal.AUTHORITY_REFUSED, authentic=False)
RESOLVED = AlertResolved(
    id="r1", cause_id="e1", ts=AT, alert="asset:USDC", scope="asset:USDC", opened_id="a1"
)
RELEASE = msgspec.structs.replace(decision(3), previous=State.HALT, state=State.NORMAL)
FIRST = ["timestamp", "level", "event", "worker", "id", "ts", "scope"]


@pytest.mark.parametrize(
    ("output", "event", "key", "value"),
    [
        (decision(2), "decision", "reason", decision(2).reasons[0]),
        (RELEASE, "release", "previous", "HALT"),
        (alert(2), "alert", "title", alert(2).title),
        (RESOLVED, "alert resolved", "opened_id", "a1"),
        (APPLIED, "command", "reason", "two<U+000A>lines"),
        (REFUSED, "command refused", "authentic", False),
    ],
)
def test_what_happened_has_one_line(
    monkeypatch: pytest.MonkeyPatch, output: Output, event: str, key: str, value: object
) -> None:
    """A decision, release, alert or command is one line with its keys in a stable order."""
    monkeypatch.setattr(sys, "stderr", now := StringIO())
    logs.configure_logging(form="json")
    logs.log_outputs("risk", [output, killswitch(2)])
    (text,) = now.getvalue().splitlines()
    line = json.loads(text)
    assert list(line)[: len(FIRST)] == FIRST
    assert (line["event"], line["worker"], line["id"]) == (event, "risk", output.id)
    assert line[key] == value
    assert "secret-signature" not in text


def test_a_healthy_worker_is_not_reported_as_hanging() -> None:
    """The host does not look for agents of Faust: it touches no part of an idle consumer."""
    idle = object.__new__(BatchConsumer)
    idle.verify_event_path(1e9, TP("riskwatch.fills", 0))


def test_a_line_goes_to_what_stderr_is_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to what it was when logging was set up: that may be closed, and a thread must live on."""
    then, now = StringIO(), StringIO()
    monkeypatch.setattr(sys, "stderr", then)
    logs.configure_logging(form="json")
    then.close()
    monkeypatch.setattr(sys, "stderr", now)
    structlog.get_logger("test").warning("still here")
    assert "still here" in now.getvalue()
