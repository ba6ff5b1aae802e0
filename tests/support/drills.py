"""Drill signals and answers, made by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from riskwatch.contracts.acks import Ack, DrillAck
from riskwatch.core.enums import State
from riskwatch.core.outputs import DrillSignalled

START: Final = datetime(2023, 3, 11, 3, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Time after the start."""
    return START + timedelta(seconds=seconds)


def signal(number: int = 1, seconds: float = 0.0, **changes: Any) -> DrillSignalled:
    """Signal of a drill of the firm."""
    given: dict[str, Any] = {
        "id": f"drill-{number}", "cause_id": f"cli/{number}", "ts": at(seconds), "scope": "firm",
        "plan": "", "person": "ann", "reason": "monthly", "expect": [],
    }  # fmt: skip
    return DrillSignalled(**given | changes)


def ack(client: str, **changes: Any) -> Ack:
    """Acknowledgement of a client that lives, of nothing."""
    given: dict[str, Any] = {
        "client": client, "started": at(-60), "epoch": 1, "seq": 1, "beat_seq": 1,
        "beat_ts": at(0), "digest": "x", "floor": State.NORMAL, "why": "", "scopes": {},
        "left_out": 0, "unwound": {}, "sources": {"kafka": "ok"}, "sent_ts": at(0.2),
    }  # fmt: skip
    return Ack(**given | changes)


def drill_ack(client: str, number: int = 1, **changes: Any) -> DrillAck:
    """Make the answer of a client that passes all checks."""
    given: dict[str, Any] = {
        "drill": f"drill-{number}", "client": client, "scope": "firm", "applied_ts": at(0.1),
        "refused": True, "cancelled": True, "digest_before": "x", "digest_after": "x",
        "real_before": State.NORMAL, "real_after": State.NORMAL, "sources": {},
        "sent_ts": at(0.1),
    }  # fmt: skip
    return DrillAck(**given | changes)
