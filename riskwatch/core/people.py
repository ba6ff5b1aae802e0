"""What people did, as outputs: commands taken or refused, and what is in force of them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import msgspec

from riskwatch.core.output import Output
from riskwatch.core.reasons import CommandRefusal


class Unwind(msgspec.Struct, frozen=True, gc=False):
    """What a HALT lets pass, because people opened it within what was authorised beforehand.

    Attributes
    ----------
    max_usd : Decimal
        Most that may be traded in all since the decision that the switch names, USD: the sum of
        what was opened since then.
    max_slip_bp : float
        Furthest from the mid that it may be traded, bp.
    until : datetime
        When it ends.
    """

    max_usd: Decimal
    max_slip_bp: float
    until: datetime


class Unwinding:
    """What has an `unwind` says it in columns, too; all are ``None`` where there is none."""

    __slots__ = ()
    unwind: Unwind | None

    @property
    def unwind_max_usd(self) -> Decimal | None:
        """Most that may be traded, USD."""
        return None if self.unwind is None else self.unwind.max_usd

    @property
    def unwind_max_slip_bp(self) -> float | None:
        """Furthest from the mid, bp."""
        return None if self.unwind is None else self.unwind.max_slip_bp

    @property
    def unwind_until(self) -> datetime | None:
        """When it ends."""
        return None if self.unwind is None else self.unwind.until


class CommandApplied(Output, frozen=True, kw_only=True, gc=False):
    """A command that was accepted.

    `outcome` is ``applied``; ``requested``, where a second person has to approve `request_id`;
    ``approved``, where this was the second person; or ``repeated``, where the same command had
    come before and nothing happened. `commanded_at` is the `ts` that was signed.
    """

    topic: ClassVar[str | None] = "riskwatch.alerts"

    operator: str
    role: str
    action: str
    scope: str
    reason: str
    args: dict[str, Any]
    idempotency_key: str
    commanded_at: datetime
    outcome: str
    detail: str
    request_id: str | None = None
    signature: str

    def key(self) -> str:
        """The scope."""
        return self.scope


class CommandRefused(Output, frozen=True, kw_only=True, gc=False):
    """A command that had no effect, and why. Until `authentic`, nobody knows whose it is."""

    topic: ClassVar[str | None] = "riskwatch.alerts"

    operator: str
    role: str
    action: str
    scope: str
    reason: str
    args: dict[str, Any]
    idempotency_key: str
    commanded_at: datetime
    refusal: CommandRefusal
    detail: str
    authentic: bool
    signature: str

    def key(self) -> str:
        """The scope."""
        return self.scope


class ControlChanged(Output, Unwinding, frozen=True, kw_only=True, gc=False):
    """What people have in force or in hand on one scope; with nothing left the row is closed.

    Attributes
    ----------
    request_id, request_action, request_by, request_until
        What waits for a second person.
    override_state, override_by, override_approved_by, override_until
        A HALT that is lifted for a while although its condition holds.
    silence_by, silence_until
        Nobody is paged, but for a HALT.
    retired_by, retired_ts
        Closed for good.
    acknowledged_by, acknowledged_ts
        Who has seen the open alert.
    unwind_by, unwind
        What passes in spite of the HALT.
    """

    topic: ClassVar[str | None] = None

    scope: str
    request_id: str | None = None
    request_action: str | None = None
    request_by: str | None = None
    request_until: datetime | None = None
    override_state: str | None = None
    override_by: str | None = None
    override_approved_by: str | None = None
    override_until: datetime | None = None
    silence_by: str | None = None
    silence_until: datetime | None = None
    retired_by: str | None = None
    retired_ts: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_ts: datetime | None = None
    unwind_by: str | None = None
    unwind: Unwind | None = None

    def key(self) -> str:
        """The scope."""
        return self.scope

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        names = ("request_id", "override_by", "silence_by", "retired_by", "acknowledged_by")
        return self.unwind is None and all(getattr(self, n) is None for n in names)
