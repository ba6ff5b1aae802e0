"""Keeps a venue's own cancel-on-timeout alive while the kill switch allows, and lets it fire.

Many venues offer it: a call that says "cancel everything of mine in `timeout` seconds", to be
repeated to push the moment away. What is refreshed here stops being refreshed at HALT, when the
guard fails closed to HALT, and when this process dies: the venue then cancels by itself.
"""

from __future__ import annotations

import logging
import time
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from riskwatch.core.enums import State
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from riskwatch.client.guard.view import Answer

PARTS: Final = 4
"""Refreshes in one timeout: three may fail before the venue cancels."""
_CLOSE_S: Final = 5.0

log = logging.getLogger("riskwatch.client")


class DeadMan:
    """Refreshes one venue's timer at a quarter of its timeout. A context manager.

    Parameters
    ----------
    refresh : callable
        Asks the venue to cancel everything in so many seconds, in place of the last such wish.
        It may raise anything; it must not wait longer than a quarter of the timeout.
    timeout_s : float
        Seconds until the venue cancels, unless refreshed.
    asked : callable
        What the guard says of orders at that venue, such as
        ``lambda: guard.allows(counterparty="kraken")``.
    clock : callable
        Seconds that only grow.

    Attributes
    ----------
    fires_by : float or None
        When the venue cancels at the latest, by `clock`; ``None`` before the first refresh.
    failed : int
        Refreshes in a row that failed.

    Raises
    ------
    ConfigError
        If `timeout_s` is not above 0.

    Notes
    -----
    REDUCE does not stop it: orders that reduce must stay. Closing it neither refreshes nor
    disarms, so what rests at the venue is cancelled when the timer runs out. Whether a venue
    also counts a cancelled timer as disarmed, and whether its timer covers all markets, is the
    venue's; read its documentation.
    """

    def __init__(
        self,
        refresh: Callable[[float], object],
        timeout_s: float,
        asked: Callable[[], Answer],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not timeout_s > 0:
            raise ConfigError("dead man", "timeout_s", "seconds above 0", timeout_s)
        self._refresh = refresh
        self._timeout_s = timeout_s
        self._asked = asked
        self._clock = clock
        self._stop = Event()
        self._thread = Thread(target=self._run, name="deadman", daemon=True)
        self._held = False
        self.fires_by: float | None = None
        self.failed = 0

    def turn(self) -> bool:
        """Refresh once, if the guard allows; returns whether the venue took it."""
        answer = self._asked()
        if answer.state is State.HALT:
            if not self._held:
                log.warning("dead man: no more refreshed: %s", answer.reason)
            self._held = True
            return False
        self._held = False
        began = self._clock()
        try:
            self._refresh(self._timeout_s)
        except Exception:  # whatever a venue's library raises: the next turn tries again
            self.failed += 1
            log.exception("dead man: refresh failed (%d in a row)", self.failed)
            return False
        self.failed = 0
        # The venue counts from when it got the call, at the latest from when it answered.
        self.fires_by = self._clock() + self._timeout_s
        if self._clock() - began > self._timeout_s / PARTS:
            log.warning("dead man: the venue took %.1f s to answer", self._clock() - began)
        return True

    def start(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop refreshing: the venue's timer runs out by itself."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while True:
            self.turn()
            if self._stop.wait(self._timeout_s / PARTS):
                return

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
