"""The base of workers beside the stream workers: one leads by a lease, the others stand by."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from riskwatch.engine.clock import wall
from riskwatch.engine.retry import Retry
from riskwatch.errors import StoreUnavailableError
from riskwatch.store import lease
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import require_current
from riskwatch.store.transaction import take_lease
from riskwatch.worker import lease as worker_lease
from riskwatch.worker.deployment import meet_own_broker
from riskwatch.worker.lease import wait_for_lease
from riskwatch.worker.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy.engine import Engine

    from riskwatch.store.batch import ResumePoint
    from riskwatch.worker.settings import ProcessSettings

T = TypeVar("T")


class StandbyWorker(ABC):
    """A worker that works while it holds the lease, and stands by otherwise.

    The caller calls :meth:`prepare`, then :meth:`run` (or :meth:`run_once` repeatedly), then
    :meth:`close`.

    Parameters
    ----------
    name : str
        Name of the worker, under which its lease is stored.
    settings : ProcessSettings
        Settings of the process.
    now : callable
        Returns the time.

    Attributes
    ----------
    deployment : str
        Deployment of the database; empty before :meth:`prepare`.
    """

    def __init__(
        self, name: str, settings: ProcessSettings, now: Callable[[], datetime] = wall
    ) -> None:
        self.name = name
        self.settings = settings
        self.connection = settings.connection
        self.holder = worker_lease.process_holder()
        self.stop = threading.Event()
        self.metrics = Metrics()
        self.retry = Retry(self.stop, self.metrics)
        self.standby_reason: str | None = "starting"
        self._now = now
        self._engine: Engine
        self.deployment = ""
        self._resumed: ResumePoint

    def prepare(self) -> None:
        """Wait for the servers and for the lease, and load the resume point.

        Raises
        ------
        StoreError
            If the database has another schema, or belongs to another broker.
        StoppedError
            If the process is asked to stop meanwhile.
        """
        self._engine = self._wait(lambda: open_engine(self.settings.database))
        with self._engine.connect() as conn:
            require_current(conn)
        self._meet_broker()
        wait_for_lease(
            self._engine,
            self.name,
            self.holder,
            self.settings.lease,
            self.retry,
            self._on_standby,
        )
        self._meet_broker()  # the id may have changed while this process stood by
        self._resumed = self._wait(lambda: take_lease(self._engine, self.name, self.holder))
        self._begin()
        self.standby_reason = None

    @abstractmethod
    def run_once(self) -> None:
        """Run one iteration; return after a moment, even if there is nothing to do."""

    def run(self) -> None:
        """Run iterations until the process is asked to stop."""
        while not self.stop.is_set():
            self.run_once()

    def ready(self) -> str | None:
        """Return why this process is not ready; ``None`` if it is."""
        return self.standby_reason

    def live(self) -> str | None:
        """Return why this process should end; ``None`` if it should not."""
        return None

    def close(self) -> None:
        """Close the connections, and release the lease."""
        self.stop.set()
        self._end()
        if hasattr(self, "_resumed"):
            with suppress(StoreUnavailableError):
                lease.release_lease(self._engine, self.name, self._resumed.epoch)
        if hasattr(self, "_engine"):
            self._engine.dispose()

    @abstractmethod
    def _begin(self) -> None:
        """Begin to work as the leader."""

    @abstractmethod
    def _end(self) -> None:
        """Close everything but the database. :meth:`_begin` may not have been called."""

    def _meet_broker(self) -> None:
        """Read the deployment of the database, and raise if the broker is not its own."""
        self.deployment = meet_own_broker(self._engine, self.connection, self.retry)[0].id

    def _on_standby(self, leader: str) -> None:
        self.standby_reason = f"stands by for {leader}"

    def _wait(self, act: Callable[[], T]) -> T:
        """Call `act` until the database answers."""
        return self.retry.ask_store(self.name, act)
