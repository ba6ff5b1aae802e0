"""Waiting for servers: try again until they answer, or until the process is asked to stop.

A slow or absent server stops consumption and nothing else: no message is dropped, and nothing
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
    """What of the metrics is needed to wait."""

    def retried(self, what: str) -> None:
        """Count a try that failed and is made again."""
        ...

    def up(self, what: str, *, ok: bool) -> None:
        """Say whether a server answered."""
        ...


class Retry:
    """Tries again, with a pause that doubles up to :data:`LONGEST_S`.

    Parameters
    ----------
    stop : threading.Event
        Ends the waiting.
    meter : Meter
        Where tries are counted.
    """

    def __init__(self, stop: threading.Event, meter: RetryMeter) -> None:
        self.stop = stop
        self._meter = meter

    def until_done(
        self, what: str, server: str, act: Callable[[], T], passing: type[Exception]
    ) -> T:
        """Do `act`, again and again while it raises `passing`.

        Parameters
        ----------
        what, server : str
            What is tried (``commit``), and of whom (``store``), for metrics and log.
        act : callable
            May be done twice without harm.
        passing : type
            The exception that will pass.

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
                # Said once when it begins, and now and then while it lasts.
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
        """Do `act`, which asks the database, once the database answers; see :meth:`until_done`."""
        return self.until_done(what, "store", act, StoreUnavailableError)

    def ask_broker(self, what: str, act: Callable[[], T]) -> T:
        """Do `act`, which asks the broker, once the broker answers; see :meth:`until_done`."""
        return self.until_done(what, "broker", act, BrokerError)

    def pause(self, seconds: float, what: str) -> None:
        """Let `seconds` pass.

        Raises
        ------
        StoppedError
            If the process is asked to stop meanwhile.
        """
        if self.stop.wait(seconds):
            raise StoppedError(f"stopped while it waited: {what}")


class RetryingStore:
    """A store that is waited for.

    A batch whose commit was cut off is committed again: what had become true is recognised.

    Parameters
    ----------
    store : Store
        The store itself.
    retry : Patience
        How it is waited for.
    """

    def __init__(self, store: Store, patience: Retry) -> None:
        self._store = store
        self._retry = patience

    def take_lease(self, worker: str, holder: str) -> ResumePoint:
        """Become the one that writes for `worker`, once the store answers."""
        return self._wait("lease", lambda: self._store.take_lease(worker, holder))

    def commit(self, batch: Batch) -> None:
        """Make a batch true, once the store answers."""
        self._wait("commit", lambda: self._store.commit(batch))

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> list[OutboxRecord]:
        """Records not known to be published, once the store answers."""
        return self._wait(
            "outbox", lambda: self._store.pending(worker, limit, latest_only=latest_only)
        )

    def _wait(self, what: str, act: Callable[[], T]) -> T:
        return self._retry.ask_store(what, act)
