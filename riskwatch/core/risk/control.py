"""What the risk stage remembers of people: rows per scope, per idempotency key, and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from riskwatch.core.clock import moment
from riskwatch.core.money import usd
from riskwatch.core.people import Unwind
from riskwatch.core.reasons import State

if TYPE_CHECKING:
    from riskwatch.core.risk.state import RiskState


class KeyRow(msgspec.Struct, array_like=True):
    """One idempotency key: when, for what (a digest), what came of it, and in which event."""

    us: int
    digest: str
    outcome: str
    refused: bool
    event: str = ""


class Request(msgspec.Struct):
    """What waits for a second person, until `until` (microseconds)."""

    id: str
    action: str
    by: str
    us: int
    until: int
    reason: str
    args: dict[str, Any] = {}


class Override(msgspec.Struct):
    """A HALT that is lifted to `state` until `until`, although its condition holds."""

    by: str
    approved_by: str
    until: int
    state: State
    reason: str


class Sign(msgspec.Struct):
    """Who did something, and when; `until` or `alert` where there is an end or a subject."""

    by: str
    us: int
    until: int = 0
    alert: str = ""


class Grant(msgspec.Struct):
    """Unwinds that were opened since the decision: their sum, price band in bp and end of the last.

    It is their sum, because order paths count what they used by decision.
    """

    by: str
    max_usd: float
    max_slip_bp: float
    until: int

    def allowance(self) -> Unwind:
        """As order paths are told."""
        return Unwind(usd(self.max_usd), self.max_slip_bp, moment(self.until))


class ControlRow(msgspec.Struct):
    """What people have in force or in hand on one scope.

    `granted` is the sum of all unwinds that were opened since the HALT began, USD; `before` is
    what it was when an override of it ended, and so a new decision began.
    """

    request: Request | None = None
    override: Override | None = None
    silence: Sign | None = None
    retired: Sign | None = None
    acknowledged: Sign | None = None
    unwind: Grant | None = None
    granted: float = 0.0
    before: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether there is nothing to remember."""
        return self == _EMPTY


_EMPTY = ControlRow()


class RefusalsRow(msgspec.Struct):
    """Refused commands in one name since the alert about them was opened."""

    alert_id: str
    count: int
    us: int


class BudgetRow(msgspec.Struct):
    """Alerts of WATCH in one month of event time, and how many of them were folded."""

    month: int
    raised: int = 0
    folded: int = 0
    alert_id: str = ""


class HardRow(msgspec.Struct):
    """A limit as people have changed it: dollars, warning share, by whom, when."""

    hard_usd: float
    warning_share: float
    by: str
    us: int


def kept(state: RiskState, scope: str, row: ControlRow) -> None:
    """Keep what is left of a row, or forget it."""
    if row.idle:
        state.controls.pop(scope, None)
    else:
        state.controls[scope] = row
    state.mark(f"control/{scope}")
