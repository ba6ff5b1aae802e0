"""What workers that decide nothing share: one process leads by a lease in SQL, others stand by."""

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
    """One process beside those that decide: prepare, turns, close.

    Parameters
    ----------
    name : str
        Of the worker, whose lease says which process works.
    settings : Settings
        From the environment.
    now : callable
        The time.
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
        self.standing: str | None = "starting"
        self._now = now
        self._engine: Engine
        self._kept: ResumePoint

    def prepare(self) -> None:
        """Wait for the servers and for the lease, and go on from where SQL stands.

        Raises
        ------
        StoreError
            If the database has another schema.
        StoppedError
            If the process is asked to stop meanwhile.
        """
        self._engine = self._wait(lambda: open_engine(self.settings.database))
        with self._engine.connect() as conn:
            require_current(conn)
        wait_for_lease(
            self._engine,
            self.name,
            self.holder,
            self.settings.lease,
            self.retry,
            self._stands_by,
        )
        self._kept = self._wait(lambda: take_lease(self._engine, self.name, self.holder))
        self._begin()
        self.standing = None

    @abstractmethod
    def run_once(self) -> None:
        """Do what is to be done now; returns after a moment, even if that is nothing."""

    def run(self) -> None:
        """Go on until it is asked to stop."""
        while not self.stop.is_set():
            self.run_once()

    def ready(self) -> str | None:
        """Why this process does not do its work now; ``None`` if it does."""
        return self.standing

    def live(self) -> str | None:
        """Why this process should be ended; ``None`` if it should not."""
        return None

    def close(self) -> None:
        """Let go of the servers, and give the lease back."""
        self.stop.set()
        self._end()
        if hasattr(self, "_kept"):
            with suppress(StoreUnavailableError):
                lease.release_lease(self._engine, self.name, self._kept.epoch)
        if hasattr(self, "_engine"):
            self._engine.dispose()

    @abstractmethod
    def _begin(self) -> None:
        """Take up the work, as the one who leads."""

    @abstractmethod
    def _end(self) -> None:
        """Let go of everything but the database; it may never have begun."""

    def _stands_by(self, leader: str) -> None:
        self.standing = f"stands by for {leader}"

    def _wait(self, act: Callable[[], T]) -> T:
        """Do what asks the database, once it answers."""
        return self.retry.ask_store(self.name, act)
