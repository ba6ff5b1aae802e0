"""Time as a guard sees it: one clock that only grows, tied to the wall when messages come."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def steady() -> Callable[[], float]:
    """Seconds that only grow, and that go on while the machine sleeps.

    The ordinary monotonic clock of Linux stands still in suspend, so a laptop or a virtual
    machine that wakes after an hour would take an old table for a fresh one.
    """
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boot is None else partial(time.clock_gettime, boot)


class Calibration:
    """The wall's time, by the steady clock and what lies between the two.

    Parameters
    ----------
    clock, wall : callable
        Steady seconds, and seconds since 1970.
    jump_s : float
        Largest change of the difference between two looks that is not a jump.
    """

    def __init__(
        self, clock: Callable[[], float], wall: Callable[[], float], jump_s: float
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._jump_s = jump_s
        self._offset = wall() - clock()

    def look(self) -> float | None:
        """Take the difference anew; returns by how much it jumped, if it did."""
        offset = self._wall() - self._clock()
        moved, self._offset = offset - self._offset, offset
        return moved if abs(moved) > self._jump_s else None

    def wall(self) -> float:
        """Seconds since 1970; between two looks no jump of the wall's clock shows here."""
        return self._clock() + self._offset

    def steady(self, wall: float) -> float:
        """Steady seconds at a time of the wall."""
        return wall - self._offset
