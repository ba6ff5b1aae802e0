"""Conflicts of identity: sources that send another event under an identity that they have used.

The usual cause is a producer whose counter of ids restarts. Each such event becomes a dead letter.
One data-quality alert per stream and source says so, and ends after an hour without another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import HOUR, moment
from riskwatch.core.enums import QualityIssue
from riskwatch.core.events import identity
from riskwatch.core.outputs import DataQualityRaised, DataQualityResolved, Origin
from riskwatch.core.stage import encode_row

if TYPE_CHECKING:
    from riskwatch.core.events import Event
    from riskwatch.core.stage import Row, RowChanges

QUIET_US: Final = HOUR
"""Event time without a conflict after which the alert about a source ends, microseconds."""
MAX_SOURCES: Final = 256
"""Most sources with an alert of their own; one alert is about all others of their stream."""
OTHERS: Final = "*"
"""Stands for the sources beyond :data:`MAX_SOURCES`; no source has this name and a slash."""
ROW: Final = "conflict/"


class ConflictRow(msgspec.Struct):
    """The conflicts of one source: event time of the last one, microseconds."""

    last: int


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
        self, stream: str, topic: str, event: Event, place: str, us: int
    ) -> DataQualityRaised | None:
        """Record that an event conflicts with an earlier one; return the alert if it is new.

        Parameters
        ----------
        stream, topic : str
            Where the event came from, and the topic to which it belongs.
        event : Event
            The event that was refused.
        place : str
            Its place, which no other conflict has.
        us : int
            Event time reached, microseconds.
        """
        subject = f"{stream}|{event.source}"
        if subject not in self._open and len(self._open) >= MAX_SOURCES:
            subject = f"{stream}|{OTHERS}"
        is_open = subject in self._open
        self._open[subject] = ConflictRow(us)
        self._dirty[subject] = None
        if is_open:
            return None
        issue, cause = QualityIssue.IDENTITY_REUSED, identity(event)
        origin = Origin(cause, moment(us), f"{cause}/{place}")
        return DataQualityRaised(
            **origin.stamp(DataQualityRaised, f"{issue}|{subject}"),
            issue=issue,
            subject=subject,
            detail=f"{event.source} sent another event under event_id={event.event_id}, which it "
            f"has used on {topic}. Such events are not applied: they are dead letters with reason "
            "FACT_CONFLICT. If a counter of ids restarted, give the source ids that never return",
        )

    def expire(self, us: int) -> list[DataQualityResolved]:
        """Return the ends of the alerts about sources without a conflict for :data:`QUIET_US`."""
        quiet = sorted(s for s, row in self._open.items() if us - row.last >= QUIET_US)
        issue, out = QualityIssue.IDENTITY_REUSED, []
        for subject in quiet:
            del self._open[subject]
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
