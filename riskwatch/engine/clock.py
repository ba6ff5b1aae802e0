"""The event-time tick grid, the clocks of the process, and the time that a live worker may reach.

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

from riskwatch.core.clock import DAY, HOUR, MINUTE, SECOND, rfc3339
from riskwatch.core.stage import encode_row
from riskwatch.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from riskwatch.core.stage import Row, RowChanges


# The wall clock. Workers read the time of day through these two functions only.


def wall_us() -> int:
    """Return the wall-clock time, microseconds since 1970."""
    return time.time_ns() // 1_000


def wall() -> datetime:
    """Return the wall-clock time in UTC."""
    return datetime.now(UTC)


def steady_us() -> int:
    """Return microseconds of a clock that only grows, and that counts while the machine sleeps."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000


class LiveClock:
    """The time that a live worker may reach by its clock: never far ahead of the broker's time.

    A wall clock that is hours ahead for a moment must not move the event time, because the event
    time never moves back, and all facts would then be in its past. The *broker's time* is the
    largest timestamp of the broker that this process has seen, plus the time since then by the
    steady clock. The time of this clock is that of the wall clock, with two exceptions:

    * It is at most the broker's time plus `ahead_us`.
    * After the wall clock was set back, it continues by the steady clock, up to the broker's time.

    A quiet broker changes nothing: the steady clock continues its time. The timestamps of a backlog
    are old. So the broker's time is not known until the broker confirmed a record of ours, or
    everything was fetched. Until then :meth:`now` is 0, and the worker makes no tick by its clock.

    Parameters
    ----------
    ahead_us : int
        Most microseconds by which the time may be ahead of the broker's time.
    wall, steady : callable
        Microseconds since 1970, and of a clock that only grows.

    Examples
    --------
    >>> wall, passed = [1_000], [0]
    >>> clock = LiveClock(5, lambda: wall[0], lambda: passed[0])
    >>> clock.now()
    0
    >>> clock.note_confirmed(1_000)
    >>> wall[0], passed[0] = 9_000, 20
    >>> clock.now()
    1025
    >>> wall[0] = 500
    >>> clock.now()
    1020
    """

    def __init__(
        self,
        ahead_us: int = SECOND,
        wall: Callable[[], int] = wall_us,
        steady: Callable[[], int] = steady_us,
    ) -> None:
        self._ahead_us = ahead_us
        self._wall = wall
        self._steady = steady
        self._start = wall() - steady()
        # Differences between a time and the steady clock; the largest one counts.
        self._reached: int | None = None
        self._broker: int | None = None
        self._is_known = False

    def note_broker(self, us: int) -> None:
        """Note a timestamp of the broker, microseconds; 0 means that there is none."""
        if us > 0:
            found = us - self._steady()
            self._broker = found if self._broker is None else max(found, self._broker)

    def note_confirmed(self, us: int) -> None:
        """Note the broker's time of a record that it just confirmed; 0 means that there is none."""
        self.note_broker(us)
        self._is_known = self._is_known or us > 0

    def note_caught_up(self) -> None:
        """Note that everything was fetched: the largest timestamp is as new as there is one."""
        self._is_known = self._broker is not None

    def process_us(self) -> int:
        """Return the wall time of the start of the process plus the steady time since then.

        It serves to measure intervals: the wall clock may be set, and this clock does not move.
        """
        return self._start + self._steady()

    def now(self) -> int:
        """Return the time, microseconds; 0 while no time of the broker is known."""
        if self._broker is None or not self._is_known:
            return 0
        steady = self._steady()
        by_wall = self._wall() - steady
        if self._reached is not None:
            by_wall = max(by_wall, min(self._reached, self._broker))
        found = min(by_wall, self._broker + self._ahead_us)
        self._reached = found if self._reached is None else max(self._reached, found)
        return steady + found

    def wall(self) -> int:
        """Return the wall time of this machine, right or wrong, microseconds."""
        return self._wall()

    def ahead_us(self) -> int:
        """Return by how much the wall clock is ahead of the broker's time; 0 if not known."""
        if self._broker is None or not self._is_known:
            return 0
        return self._wall() - self._steady() - self._broker


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

    @property
    def began(self) -> bool:
        """Whether an event ever came. Before that there are no ticks."""
        return self.due != _NEVER

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
