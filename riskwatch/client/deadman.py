"""Refresh a venue's own cancel-on-timeout while the kill switch allows orders.

Many venues offer a call that means "cancel all my orders in `timeout` seconds". Each repetition of
the call restarts the timer. This module stops repeating it at HALT and when the guard fails closed
to HALT. The repetition also stops when this process dies. The venue then cancels the orders by
itself.

Protective orders (reduce-only stops) are not to be cancelled by a HALT, because a position without
its stop is at more risk. Where the venue can tell them apart, pass a call that cancels all other
orders. At HALT this module makes that call and goes on refreshing the timer, so that the protective
orders stay. If the call fails, the timer runs out.
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
    """Refreshes one venue's timer four times in each timeout. A context manager.

    Parameters
    ----------
    refresh : callable
        Asks the venue to cancel everything in the given number of seconds, and replaces the earlier
        request. It may raise any exception. It must not block for longer than a quarter of the
        timeout.
    timeout_s : float
        Seconds until the venue cancels, unless the timer is refreshed.
    asked : callable
        Returns the guard's answer for orders at that venue, such as ``lambda:
        guard.allows(counterparty="kraken")``.
    cancel_unprotective : callable, optional
        Asks the venue to cancel all orders but reduce-only ones, at once. It is called at each turn
        of a HALT. It may raise any exception, and must not block for longer than a quarter of the
        timeout. Leave it out where the venue cannot tell these orders apart.
    clock : callable
        Returns seconds of a monotonic clock.

    Attributes
    ----------
    fires_by : float or None
        Latest time at which the venue cancels, by `clock`; ``None`` before the first refresh.
    failed : int
        Turns in a row that failed.

    Raises
    ------
    ConfigError
        If `timeout_s` is not above 0.

    Notes
    -----
    REDUCE does not stop the refreshes, because orders that reduce must stay at the venue.
    When this process dies, the venue cancels the protective orders, too, unless its timer itself
    leaves out reduce-only orders. If it can, ask for that in `refresh`; then no
    `cancel_unprotective` is needed.
    :meth:`close` neither refreshes the timer nor cancels it, so the venue cancels all open orders
    when the timer runs out. Two properties depend on the venue, and its documentation states them:
    whether a cancelled timer counts as disarmed, and whether the timer covers all markets.
    """

    def __init__(
        self,
        refresh: Callable[[float], object],
        timeout_s: float,
        asked: Callable[[], Answer],
        *,
        cancel_unprotective: Callable[[], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not timeout_s > 0:
            raise ConfigError("dead man", "timeout_s", "seconds above 0", timeout_s)
        self._refresh = refresh
        self._timeout_s = timeout_s
        self._asked = asked
        self._cancel = cancel_unprotective
        self._clock = clock
        self._stop = Event()
        self._thread = Thread(target=self._run, name="deadman", daemon=True)
        self._held = False
        self.fires_by: float | None = None
        self.failed = 0

    def turn(self) -> bool:
        """Refresh once, if the guard allows; return whether the venue accepted the refresh.

        At HALT the timer is refreshed only after all orders but protective ones were cancelled.
        """
        answer = self._asked()
        if answer.state is State.HALT:
            if not self._held:
                kept = "is no more refreshed" if self._cancel is None else "keeps protective orders"
                log.warning("dead man: %s: %s", kept, answer.reason)
            self._held = True
            return self._cancel is not None and self._call(self._cancel, "cancel") and self._arm()
        self._held = False
        return self._arm()

    def _arm(self) -> bool:
        """Restart the timer; return whether the venue accepted."""
        if not self._call(lambda: self._refresh(self._timeout_s), "refresh"):
            return False
        # The venue's timer starts when it receives the call, which is before it answers.
        self.fires_by = self._clock() + self._timeout_s
        self.failed = 0
        return True

    def _call(self, ask: Callable[[], object], what: str) -> bool:
        """Call the venue; return whether it accepted."""
        began = self._clock()
        try:
            ask()
        except Exception:  # a venue's library may raise anything; the next turn tries again
            self.failed += 1
            log.exception("dead man: %s failed (%d in a row)", what, self.failed)
            return False
        if self._clock() - began > self._timeout_s / PARTS:
            log.warning("dead man: the venue took %.1f s to answer", self._clock() - began)
        return True

    def start(self) -> Self:
        """Start the refresh thread."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop the refreshes; the venue's timer runs out by itself."""
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
