"""The metadata of all SQL tables, complete once this module is imported."""

from __future__ import annotations

from riskwatch.store import (
    audit,
    checkpoints,
    clients,
    drills,
    headroom,
    history,
    notifications,
    projections,
    reference,
    scoreboard,
    truth,
)
from riskwatch.store.types import METADATA

__all__ = [
    "METADATA", "audit", "checkpoints", "clients", "drills", "headroom", "history", "notifications",
    "projections", "reference", "scoreboard", "truth",
]  # fmt: skip
