"""Events at the pace at which they happened, or a multiple of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable


class Pace:
    """Holds events back until it is their turn.

    Parameters
    ----------
    speed : float
        Times real time; 0 for as fast as possible.
    clock : callable
        Seconds that only grow.
    sleep : callable
        Waits for so many seconds.

    Examples
    --------
    >>> waits = []
    >>> pace = Pace(60.0, clock=lambda: 0.0, sleep=waits.append)
    >>> for second in (0, 30, 90):
    ...     pace.wait(second * SECOND)
    >>> waits
    [0.5, 1.5]
    """

    def __init__(
        self,
        speed: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._origin: tuple[int, float] | None = None

    def wait(self, us: int) -> None:
        """Return when an event of time `us` is due; at once if it is late."""
        if not self._speed:
            return
        if self._origin is None:
            self._origin = (us, self._clock())
        first, began = self._origin
        left = began + (us - first) / SECOND / self._speed - self._clock()
        if left > 0:
            self._sleep(left)
