"""What the handlers share: the configuration in exact units, and how outputs are made."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import Cause, QualityIssue, RejectReason
from riskwatch.core.events import LedgerEvent, identity
from riskwatch.core.money import EXACT, canonical, mul
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, EventRejected, Origin
from riskwatch.core.readings import CounterpartyReading

if TYPE_CHECKING:
    from riskwatch.core.ledger.config import LedgerConfig


# How a handler says no: raised before anything was changed, and turned into an output.


class FactRefusedError(Exception):
    """A fact that cannot be applied.

    Parameters
    ----------
    reason : RejectReason
        The closed reason.
    detail : str
        ``key=value`` pairs that say what was wrong.
    """

    def __init__(self, reason: RejectReason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


def fact_too_late(detail: str) -> FactRefusedError:
    """Build the refusal of a fact that is older than what is still known exactly."""
    return FactRefusedError(RejectReason.FACT_TOO_LATE, detail)


def fact_conflict(detail: str) -> FactRefusedError:
    """Build the refusal of a fact that contradicts an earlier one of the same identity."""
    return FactRefusedError(RejectReason.FACT_CONFLICT, detail)


def limit_reached(limit: str, value: int) -> FactRefusedError:
    """Build the refusal of a new entity in a full collection."""
    return FactRefusedError(RejectReason.LIMIT_REACHED, f"limit={limit} value={value}")


LedgerOutput = EventRejected | DataQualityRaised | DataQualityResolved | CounterpartyReading


class LedgerParameters:
    """A :class:`LedgerConfig` with its times in microseconds and its tolerances as decimals."""

    __slots__ = (
        "config", "grace_us", "late_us", "most", "reconcile_abs", "reconcile_rel", "retention_us",
    )  # fmt: skip

    def __init__(self, config: LedgerConfig) -> None:
        self.config = config
        self.late_us = config.late_window_s * SECOND
        self.retention_us = config.transfer_retention_s * SECOND
        self.most = config.max_deltas
        self.grace_us = config.reconcile_grace_s * SECOND
        self.reconcile_abs = Decimal(repr(config.reconcile_abs))
        self.reconcile_rel = Decimal(repr(config.reconcile_rel))

    def tolerates(self, expected: Decimal, stated: Decimal) -> bool:
        """Whether a snapshot is close enough to what was expected."""
        size = max(expected.copy_abs(), stated.copy_abs())
        allowed = max(self.reconcile_abs, mul(size, self.reconcile_rel))
        return EXACT.subtract(stated, expected).copy_abs() <= allowed


def event_rejected(event: LedgerEvent, refusal: FactRefusedError) -> EventRejected:
    """Turn a refusal into its output."""
    cause = identity(event)
    return EventRejected(
        **Origin(cause, event.ts).stamp(EventRejected, cause),
        reason=refusal.reason,
        detail=refusal.detail,
    )


def reconciliation_break(
    us: int, subject: str, expected: Decimal, stated: Decimal
) -> DataQualityRaised:
    """Say that a snapshot differs from what fills and transfers come to."""
    issue = QualityIssue.RECONCILIATION_BREAK
    difference = canonical(EXACT.subtract(stated, expected))
    return DataQualityRaised(
        **Origin.tick(us).stamp(DataQualityRaised, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
        detail=f"expected={canonical(expected)} stated={canonical(stated)} difference={difference}",
        cause=Cause.COUNTERPARTY,
    )


def issue_resolved(cause: str, us: int, issue: QualityIssue, subject: str) -> DataQualityResolved:
    """Say that an issue is over: the snapshot is explained, the trade settled."""
    return DataQualityResolved(
        **Origin(cause, moment(us)).stamp(DataQualityResolved, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
    )


def settlement_overdue(us: int, subject: str, settles_us: int, legs: str) -> DataQualityRaised:
    """Say that a trade is past its settlement time."""
    issue = QualityIssue.SETTLEMENT_OVERDUE
    return DataQualityRaised(
        **Origin.tick(us).stamp(DataQualityRaised, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
        detail=f"settles_at={moment(settles_us).isoformat()} legs={legs}",
        cause=Cause.COUNTERPARTY,
    )
