"""Shared parts of the ledger's handlers: parameters in exact units, refusals and outputs."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import SECOND, micros, moment
from riskwatch.core.enums import Cause, QualityIssue, RejectReason
from riskwatch.core.events import LedgerEvent, identity
from riskwatch.core.ledger.freshness import FreshnessConfig
from riskwatch.core.money import EXACT, canonical, mul
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, EventRejected, Origin
from riskwatch.core.readings import CounterpartyReading
from riskwatch.core.reference import Reference

if TYPE_CHECKING:
    from riskwatch.core.ledger.config import LedgerConfig


class FactRefusedError(Exception):
    """A fact cannot be applied.

    A handler raises it before it changes anything; the stage publishes it as a rejection.

    Parameters
    ----------
    reason : RejectReason
        The reason code.
    detail : str
        ``key=value`` pairs that describe the problem.
    issue : QualityIssue, optional
        The issue that the stage raises about the account of the fact.
    """

    def __init__(
        self, reason: RejectReason, detail: str, issue: QualityIssue | None = None
    ) -> None:
        self.reason = reason
        self.detail = detail
        self.issue = issue
        super().__init__(f"{reason}: {detail}")


def fact_too_late(detail: str) -> FactRefusedError:
    """Return the refusal of a fact that is older than the state that is still exact."""
    return FactRefusedError(RejectReason.FACT_TOO_LATE, detail)


def fact_conflict(detail: str) -> FactRefusedError:
    """Return the refusal of a fact that contradicts an earlier one of the same identity."""
    return FactRefusedError(RejectReason.FACT_CONFLICT, detail)


def trade_conflict(detail: str) -> FactRefusedError:
    """Return the refusal of a report or correction that contradicts what is known of a trade."""
    issue = QualityIssue.TRADE_CONFLICT
    return FactRefusedError(RejectReason.FACT_CONFLICT, detail, issue)


def trade_old(detail: str) -> FactRefusedError:
    """Return the refusal of a fill that is older than the trade ids that are remembered."""
    return FactRefusedError(RejectReason.FACT_TOO_LATE, detail, QualityIssue.TRADE_OLD)


def limit_reached(limit: str, value: int, share: int | None = None) -> FactRefusedError:
    """Return the refusal of a new entity in a full collection, or beyond the share of a source."""
    of_one = "" if share is None else f" of_one_source={share}"
    return FactRefusedError(RejectReason.LIMIT_REACHED, f"limit={limit} value={value}{of_one}")


NOTHING_LISTED: Final = Reference(assets={}, parties={}, pd_by_rating={})
"""Reference data without a name."""
LedgerOutput = EventRejected | DataQualityRaised | DataQualityResolved | CounterpartyReading


class LedgerParameters:
    """A :class:`LedgerConfig` with its times in microseconds and its tolerances as decimals.

    `reference` says which counterparties and assets are listed.
    """

    __slots__ = (
        "config", "freshness", "grace_us", "late_us", "live", "memory_us", "most", "old_us",
        "reconcile_abs", "reconcile_rel", "reference", "retention_us",
    )  # fmt: skip

    def __init__(
        self, config: LedgerConfig, reference: Reference = NOTHING_LISTED, *, live: bool = False
    ) -> None:
        self.config = config
        self.reference = reference
        self.live = live
        self.freshness = FreshnessConfig(
            account_stale_s=config.account_stale_s,
            account_stale_gaps=config.account_stale_gaps,
            calendars=config.calendars,
        )
        self.old_us = config.old_s * SECOND
        self.late_us = config.late_window_s * SECOND
        self.retention_us = config.transfer_retention_s * SECOND
        self.memory_us = config.trade_memory_s * SECOND
        self.most = config.max_deltas
        self.grace_us = config.reconcile_grace_s * SECOND
        self.reconcile_abs = Decimal(repr(config.reconcile_abs))
        self.reconcile_rel = Decimal(repr(config.reconcile_rel))

    def heard_late(self, event: LedgerEvent) -> int:
        """Return when an old fact arrived, live, microseconds; 0 if the fact is not old."""
        if not self.live or event.arrived is None:
            return 0
        heard = micros(event.arrived)
        return heard if heard - micros(event.ts) > self.old_us else 0

    def tolerates(self, expected: Decimal, stated: Decimal) -> bool:
        """Whether the stated amount of a snapshot is within tolerance of the expected one."""
        size = max(expected.copy_abs(), stated.copy_abs())
        allowed = max(self.reconcile_abs, mul(size, self.reconcile_rel))
        return EXACT.subtract(stated, expected).copy_abs() <= allowed


def event_rejected(event: LedgerEvent, refusal: FactRefusedError) -> EventRejected:
    """Return the output of a refusal."""
    cause = identity(event)
    return EventRejected(
        **Origin(cause, event.ts).stamp(EventRejected, cause),
        reason=refusal.reason,
        detail=refusal.detail,
    )


def reconciliation_break(
    us: int, subject: str, expected: Decimal, stated: Decimal
) -> DataQualityRaised:
    """Return the issue that a snapshot differs from the sum of fills and transfers."""
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
    """Return the end of an issue: the snapshot is explained, or the trade is settled."""
    return DataQualityResolved(
        **Origin(cause, moment(us)).stamp(DataQualityResolved, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
    )


def no_room(event: LedgerEvent, subject: str, why: str) -> DataQualityRaised:
    """Return the issue that facts of a source have no room."""
    issue = QualityIssue.TABLE_FULL
    return DataQualityRaised(
        **Origin(identity(event), event.ts).stamp(DataQualityRaised, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
        detail="its facts about new names have no room and are dead letters: "
        f"{why} counterparty={event.counterparty}",
        cause=Cause.NONE,
    )


def execution_issue(
    event: LedgerEvent, issue: QualityIssue, subject: str, detail: str
) -> DataQualityRaised:
    """Return an issue about the executions of an account, or about one trade."""
    return DataQualityRaised(
        **Origin(identity(event), event.ts).stamp(DataQualityRaised, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
        detail=detail,
        cause=Cause.COUNTERPARTY,
    )


def settlement_overdue(us: int, subject: str, settles_us: int, legs: str) -> DataQualityRaised:
    """Return the issue that a trade is past its settlement time."""
    issue = QualityIssue.SETTLEMENT_OVERDUE
    return DataQualityRaised(
        **Origin.tick(us).stamp(DataQualityRaised, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
        detail=f"settles_at={moment(settles_us).isoformat()} legs={legs}",
        cause=Cause.COUNTERPARTY,
    )


def account_stale(us: int, subject: str, detail: str) -> DataQualityRaised:
    """Return the issue that no source confirms what an account has."""
    issue = QualityIssue.ACCOUNT_STALE
    return DataQualityRaised(
        **Origin.tick(us).stamp(DataQualityRaised, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
        detail=detail,
        cause=Cause.FEED,
    )


def loan_overdue(us: int, subject: str, due_us: int, what: str) -> DataQualityRaised:
    """Return the issue that a loan is past its due time."""
    issue = QualityIssue.LOAN_OVERDUE
    return DataQualityRaised(
        **Origin.tick(us).stamp(DataQualityRaised, f"{issue}|{subject}"),
        issue=issue,
        subject=subject,
        detail=f"due={moment(due_us).isoformat()} {what}",
        cause=Cause.COUNTERPARTY,
    )
