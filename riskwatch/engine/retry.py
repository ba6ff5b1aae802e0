"""Retries of calls to servers, until they succeed or the process is asked to stop.

A slow or absent server stops consumption and nothing else. No message is dropped, and none
becomes a dead letter because of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import structlog

from riskwatch.errors import BrokerError, StoppedError, StoreUnavailableError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from riskwatch.engine.ports import Store
    from riskwatch.store.batch import Batch, OutboxRecord, ResumePoint

FIRST_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 2.0
T = TypeVar("T")

log = structlog.get_logger("riskwatch.waiting")


class RetryMeter(Protocol):
    """The metrics that a retry updates."""

    def retried(self, what: str) -> None:
        """Count a call that failed and is repeated."""
        ...

    def up(self, what: str, *, ok: bool) -> None:
        """Set whether a server answered."""
        ...


class Retry:
    """Repeats a failed call after a pause that doubles up to :data:`MAX_PAUSE_S`.

    Parameters
    ----------
    stop : threading.Event
        Ends the wait when it is set.
    meter : RetryMeter
        Counts the retries.
    """

    def __init__(self, stop: threading.Event, meter: RetryMeter) -> None:
        self.stop = stop
        self._meter = meter

    def until_done(
        self, what: str, server: str, act: Callable[[], T], passing: type[Exception]
    ) -> T:
        """Call `act` until it does not raise `passing`, and return its result.

        Parameters
        ----------
        what, server : str
            Name of the operation (``commit``) and of the server (``store``), for metrics and log.
        act : callable
            The operation. Calling it twice must do no harm.
        passing : type
            The temporary exception.

        Raises
        ------
        StoppedError
            If the process is asked to stop meanwhile.
        """
        pause, failed = FIRST_PAUSE_S, 0
        while True:
            try:
                done = act()
            except passing as error:
                failed += 1
                self._meter.retried(what)
                self._meter.up(server, ok=False)
                # Log the first failure, and then every thirtieth.
                if failed == 1 or failed % 30 == 0:
                    log.warning("waiting", what=what, server=server, tries=failed, error=str(error))
                self.pause(pause, what)
                pause = min(2 * pause, MAX_PAUSE_S)
            else:
                self._meter.up(server, ok=True)
                if failed:
                    log.info("goes on", what=what, server=server, tries=failed)
                return done

    def ask_store(self, what: str, act: Callable[[], T]) -> T:
        """Call `act` until the database answers; see :meth:`until_done`."""
        return self.until_done(what, "store", act, StoreUnavailableError)

    def ask_broker(self, what: str, act: Callable[[], T]) -> T:
        """Call `act` until the broker answers; see :meth:`until_done`."""
        return self.until_done(what, "broker", act, BrokerError)

    def pause(self, seconds: float, what: str) -> None:
        """Wait for `seconds`.

        Raises
        ------
        StoppedError
            If the process is asked to stop meanwhile.
        """
        if self.stop.wait(seconds):
            raise StoppedError(f"stopped while it waited: {what}")


class RetryingStore:
    """A store that retries each call until the database answers.

    A commit whose answer was lost is committed again. The store recognises a batch that it
    holds already.

    Parameters
    ----------
    store : Store
        The store itself.
    retry : Retry
        How calls are retried.
    """

    def __init__(self, store: Store, retry: Retry) -> None:
        self._store = store
        self._retry = retry

    def take_lease(self, worker: str, holder: str) -> ResumePoint:
        """Take the write lease of `worker`, and load its resume point."""
        return self._wait("lease", lambda: self._store.take_lease(worker, holder))

    def commit(self, batch: Batch) -> None:
        """Commit a batch in one transaction: all of it or none."""
        self._wait("commit", lambda: self._store.commit(batch))

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> list[OutboxRecord]:
        """Return records not known to be published, in order, at most `limit`."""
        return self._wait(
            "outbox", lambda: self._store.pending(worker, limit, latest_only=latest_only)
        )

    def _wait(self, what: str, act: Callable[[], T]) -> T:
        return self._retry.ask_store(what, act)
