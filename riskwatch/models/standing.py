"""The record of one generation on one target: its authority, and what that rests on."""

from __future__ import annotations

from typing import Any

import msgspec

from riskwatch.models.calibration import Reliability
from riskwatch.models.capital import Capital


class Clock(msgspec.Struct, gc=False):
    """How long a target has waited for a label.

    Attributes
    ----------
    asked : int
        When it was first asked since its last label, microseconds; -1 if not since.
    """

    asked: int = -1


class Standing(msgspec.Struct, gc=False):
    """Record of one generation on one target, over all scopes.

    Attributes
    ----------
    authority : str
        How far it may go now.
    since : int
        When its authority last changed, microseconds; -1 if it never did.
    reason : str
        Of that change; empty before one.
    tests : int
        Tests of whether it deserves more, this one counted: each gets a smaller share of alpha.
    held : int
        When the evidence of this test sufficed, microseconds; -1 if it does not. The test is
        decided once every label that was awaited then is known.
    quarantined : bool
        Whether it failed a check; only a command lets it rise again.
    up, down : Capital or None
        Evidence that it is better than what it challenges, and worse than the rules, since
        its authority last changed; ``None`` before any label.
    drift : dict
        State of the test for drift.
    table : Reliability
        What it stated and what happened, over its whole life.
    events, entities : int
        Independent events that it was judged on, and scopes that had any event.
    shown : int
        When this was last put out, microseconds; -1 for never.
    fresh : bool
        Whether it changed since.
    """

    authority: str
    since: int = -1
    reason: str = ""
    tests: int = 1
    held: int = -1
    quarantined: bool = False
    up: Capital | None = None
    down: Capital | None = None
    drift: dict[str, Any] = {}
    table: Reliability = msgspec.field(default_factory=Reliability)
    events: int = 0
    entities: int = 0
    shown: int = -1
    fresh: bool = True

    def become(self, authority: str, us: int, reason: str) -> None:
        """Change authority; evidence about the old authority no longer counts."""
        self.authority, self.since, self.reason = authority, us, reason
        self.tests += 1
        self.held = -1
        self.up = self.down = None
        self.drift = {}
        self.fresh = True
