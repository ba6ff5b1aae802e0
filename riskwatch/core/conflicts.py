"""Dead letters that page: reused identities, and records under another name of a counterparty.

The usual causes are a producer whose counter of ids restarts, and one that spells a counterparty in
its own way. Each such event becomes a dead letter. One data-quality alert per stream and source
says so, and ends after an hour without another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import HOUR
from riskwatch.core.enums import QualityIssue
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, Origin
from riskwatch.core.stage import encode_row

if TYPE_CHECKING:
    from riskwatch.core.stage import Row, RowChanges

QUIET_US: Final = HOUR
"""Event time without a conflict after which the alert about a source ends, microseconds."""
MAX_SOURCES: Final = 256
"""Most sources with an alert of their own; one alert is about all others of their stream."""
OTHERS: Final = "*"
"""Stands for the sources beyond :data:`MAX_SOURCES`; no source has this name and a slash."""
ROW: Final = "conflict/"


class ConflictRow(msgspec.Struct, omit_defaults=True):
    """The conflicts of one source: event time of the last one, microseconds, and their kind."""

    last: int
    issue: QualityIssue = QualityIssue.IDENTITY_REUSED


class ConflictTracker:
    """Tells which sources reuse identities.

    Examples
    --------
    >>> ConflictTracker().drain()
    {}
    """

    def __init__(self) -> None:
        self._open: dict[str, ConflictRow] = {}
        self._dirty: dict[str, None] = {}

    def note(
        self, issue: QualityIssue, subject: str, detail: str, origin: Origin, us: int
    ) -> DataQualityRaised | None:
        """Record that an event was refused; return the alert if it is new.

        Parameters
        ----------
        issue : QualityIssue
            What is wrong with it.
        subject : str
            Stream and source, with a ``|`` between.
        detail : str
            What the alert says.
        origin : Origin
            Origin of the alert, which no other refused event has.
        us : int
            Event time reached, microseconds.
        """
        if subject not in self._open and len(self._open) >= MAX_SOURCES:
            subject = f"{subject.partition('|')[0]}|{OTHERS}"
        is_open = subject in self._open
        self._open[subject] = ConflictRow(us, issue)
        self._dirty[subject] = None
        if is_open:
            return None
        return DataQualityRaised(
            **origin.stamp(DataQualityRaised, f"{issue}|{subject}"),
            issue=issue,
            subject=subject,
            detail=detail,
        )

    def expire(self, us: int) -> list[DataQualityResolved]:
        """Return the ends of the alerts about sources without a conflict for :data:`QUIET_US`."""
        quiet = sorted(s for s, row in self._open.items() if us - row.last >= QUIET_US)
        out = []
        for subject in quiet:
            issue = self._open.pop(subject).issue
            self._dirty[subject] = None
            stamp = Origin.tick(us).stamp(DataQualityResolved, f"{issue}|{subject}")
            out.append(DataQualityResolved(**stamp, issue=issue, subject=subject))
        return out

    def drain(self) -> RowChanges:
        """Return the rows that changed since the last call, keys sorted."""
        changes: RowChanges = {}
        for subject in sorted(self._dirty):
            row = self._open.get(subject)
            changes[ROW + subject] = None if row is None else encode_row(row)
        self._dirty.clear()
        return changes

    def load(self, rows: dict[str, Row]) -> None:
        """Load the open conflicts from the rows of the window; called once."""
        for key, row in rows.items():
            if key.startswith(ROW):
                self._open[key.removeprefix(ROW)] = msgspec.json.decode(row, type=ConflictRow)
