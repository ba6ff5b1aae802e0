"""Keeps the lease of a leader from a thread of its own, however long a batch takes.

A leader that waits for a slow server is still the leader: were its lease to run out, the next
one would wait just the same. One that has not come to the end of a turn for very long is given
up, for then nobody would decide anything.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

import structlog

from riskwatch.errors import FencedError, StoreError, StoreUnavailableError
from riskwatch.store import lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine


# Who holds a lease, by a name from which its neighbours can tell that it is dead.


def process_holder() -> str:
    """Host, process, and where its number counts: ``host/pid/namespace``."""
    return f"{socket.gethostname()}/{os.getpid()}/{_namespace()}"


def is_dead(holder: str) -> bool:
    """Whether a holder was a process of this very machine, and is no more.

    Of any other it cannot be told: its lease has to run out. A number that was given to another
    process since passes for alive, which is the safe side.

    Examples
    --------
    >>> is_dead(process_holder()), is_dead("elsewhere/1/x"), is_dead("test")
    (False, False, False)
    """
    parts = holder.split("/")
    if len(parts) != 3 or parts[0] != socket.gethostname() or parts[2] != _namespace():
        return False
    try:
        os.kill(int(parts[1]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError, OverflowError):
        return False
    return False


def _namespace() -> str:
    """Name the space in which process numbers count; processes in containers have their own."""
    try:
        return Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return "-"


MAX_STEP_LEASES: Final = 12
"""Lease times that one turn may take before the lease is left to run out."""

log = structlog.get_logger("riskwatch.keeper")


class LeaseRenewer:
    """Renews a lease.

    Parameters
    ----------
    engine : Engine
        The database; the keeper has a connection of its own.
    worker : str
        Whose lease.
    lease_s : float
        After how long a silent lease is free.
    epoch : callable
        Epoch of the lease that is held now, 0 for none.
    """

    def __init__(
        self, engine: Engine, worker: str, lease_s: float, epoch: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._worker = worker
        self._lease_s = lease_s
        self._epoch = epoch
        self._done = Event()
        self._turned = time.monotonic()
        self._thread = Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to keep it."""
        self._turned = time.monotonic()
        self._thread.start()

    def mark_progress(self) -> None:
        """Say that a turn came to its end."""
        self._turned = time.monotonic()

    def close(self) -> None:
        """Stop; the lease is not given back by this."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(self._lease_s)

    def _run(self) -> None:
        while not self._done.wait(self._lease_s / 4):
            epoch = self._epoch()
            if not epoch:
                continue
            if time.monotonic() - self._turned > MAX_STEP_LEASES * self._lease_s:
                log.error("lease left to run out: one turn takes too long", worker=self._worker)
                return
            try:
                lease.renew_lease(self._engine, self._worker, epoch)
            except FencedError as error:
                # The working thread learns it from its own commit, and ends the process.
                log.warning("lease lost", worker=self._worker, error=str(error))
                return
            except StoreUnavailableError as error:
                log.debug("lease not renewed", worker=self._worker, error=str(error))
            except StoreError as error:
                log.warning("lease not renewed", worker=self._worker, error=str(error))
                return
