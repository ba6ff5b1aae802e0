"""The event-time tick grid, and the wall clock of the process.

The ticks of a replay depend on its events and on nothing else. A tick T comes after every event
with ``ts <= T`` (in the order of the merge) and before the first event with ``ts > T``. Without
events, ticks become rarer: one per grid point for the first :data:`FINE_TICKS`, then one per hour
for :data:`HOURLY_TICKS`, then one per day. A gap of years between two recordings, or one event
from the far future, therefore costs thousands of ticks and not millions.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import DAY, HOUR, MINUTE, rfc3339
from riskwatch.core.stage import encode_row
from riskwatch.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.stage import Row, RowChanges


# The wall clock. Workers read the time of day through these two functions only.


def wall_us() -> int:
    """Return the wall-clock time, microseconds since 1970."""
    return time.time_ns() // 1_000


def wall() -> datetime:
    """Return the wall-clock time in UTC."""
    return datetime.now(UTC)


FINE_TICKS: Final = 120
"""Ticks without an event that come at every grid point."""
HOURLY_TICKS: Final = 31 * 24
"""Ticks without an event that come hourly after those."""
_NEVER: Final = -1
_ROW: Final = "grid"


class TickGridRow(msgspec.Struct, array_like=True):
    """The stored row of a grid; fields are those of :class:`TickGrid`."""

    tick_us: int
    reached: int
    due: int
    silent: int
    fresh: bool = False


class TickGrid:
    """Computes the ticks that are due before an event is applied.

    Parameters
    ----------
    tick_us : int
        Width of the grid, microseconds.

    Attributes
    ----------
    reached : int
        Event time reached, by events and ticks; -1 before the first event.
    due : int
        The next tick; -1 before the first event.
    silent : int
        Ticks since an event last advanced the time.
    fresh : bool
        Whether an event came after the last tick. It is stored with the rest, because a worker
        that is killed in between must still make the tick that includes the event.

    Examples
    --------
    >>> from riskwatch.core.clock import SECOND
    >>> grid = TickGrid(60 * SECOND)
    >>> [t // SECOND for s in (10, 60, 61, 30, 190) for t in grid.before(s * SECOND)]
    [60, 120, 180]
    >>> [t // SECOND for t in grid.closing()]
    [240]
    """

    def __init__(self, tick_us: int = MINUTE) -> None:
        if tick_us <= 0:
            raise ValueError(f"tick must be > 0 us, was {tick_us}")
        self.tick_us = tick_us
        self.reached = _NEVER
        self.due = _NEVER
        self.silent = 0
        self.fresh = False
        self._stored: Row | None = None

    def before(self, us: int) -> Iterator[int]:
        """Yield ticks due before an event at `us`, then advance the time to `us`.

        The caller must exhaust the iterator, because the time advances while it runs. A late
        event causes no tick and does not change the time.
        """
        if us <= self.reached:
            self.fresh = True
            return
        if self.due != _NEVER:
            yield from self.through(us - 1)
        self.reached = us
        self.due = self._ceil(us)
        self.silent = 0
        self.fresh = True

    def through(self, us: int) -> Iterator[int]:
        """Yield ticks due at or before `us`; none before the first event.

        If the next event is later than `us`, it would have caused the same ticks.
        """
        if self.due == _NEVER:
            return
        while self.due <= us:
            tick = self.reached = self.due
            self.silent += 1
            self.due = self._after(tick)
            self.fresh = False
            yield tick

    def now(self, us: int) -> Iterator[int]:
        """Yield ticks due at or before `us`, and one at `us` itself for what cannot wait."""
        yield from self.through(us)
        if self.due != _NEVER and us > self.reached:
            self.reached = us
            self.fresh = False
            yield us

    def live(self, us: int) -> Iterator[int]:
        """Yield ticks due at or before `us`, and always the last grid point at or before `us`.

        Missed ticks may be rare; the present tick always comes, because a live worker must
        detect that no data arrives.
        """
        yield from self.now(us - us % self.tick_us)

    def closing(self) -> Iterator[int]:
        """Yield the tick at the first grid point at or after the last event, if it did not come."""
        if self.silent == 0:
            yield from self.through(self.due)

    def drain(self) -> RowChanges:
        """Return the rows that changed since the last call."""
        row = encode_row(TickGridRow(self.tick_us, self.reached, self.due, self.silent, self.fresh))
        if self.due == _NEVER or row == self._stored:
            return {}
        self._stored = row
        return {_ROW: row}

    def load(self, rows: dict[str, Row]) -> None:
        """Load the stored grid. Called once, before the first event.

        Raises
        ------
        StoreError
            If the stored grid has another width: a history has one width only.
        """
        if not rows:
            return
        self._stored = rows[_ROW]
        stored = msgspec.json.decode(self._stored, type=TickGridRow)
        if stored.tick_us != self.tick_us:
            raise StoreError(
                f"this database was replayed until {rfc3339(stored.reached)} with a tick of "
                f"{stored.tick_us / 1e6:g} s, it cannot go on with one of "
                f"{self.tick_us / 1e6:g} s: use --tick {stored.tick_us // 1_000_000}s, or a new "
                "database"
            )
        self.reached, self.due, self.silent = stored.reached, stored.due, stored.silent
        self.fresh = stored.fresh

    def _ceil(self, us: int) -> int:
        return -(-us // self.tick_us) * self.tick_us

    def _after(self, tick: int) -> int:
        if self.silent < FINE_TICKS:
            return tick + self.tick_us
        wide = HOUR if self.silent < FINE_TICKS + HOURLY_TICKS else DAY
        return max(tick + self.tick_us, self._ceil((tick // wide + 1) * wide))
