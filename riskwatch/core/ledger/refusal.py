"""How a handler says no: raised before anything was changed, and turned into an output."""

from __future__ import annotations

from riskwatch.core.reasons import RejectReason


class Refusal(Exception):  # noqa: N818 - it never leaves the stage, and it is no error of ours
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


def too_late(detail: str) -> Refusal:
    """Build the refusal of a fact that is older than what is still known exactly."""
    return Refusal(RejectReason.FACT_TOO_LATE, detail)


def conflict(detail: str) -> Refusal:
    """Build the refusal of a fact that contradicts an earlier one of the same identity."""
    return Refusal(RejectReason.FACT_CONFLICT, detail)


def full(limit: str, value: int) -> Refusal:
    """Build the refusal of a new entity in a full collection."""
    return Refusal(RejectReason.LIMIT_REACHED, f"limit={limit} value={value}")
