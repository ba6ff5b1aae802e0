"""Keeps the lease of a leader from a thread of its own, however long a batch takes.

A leader that waits for a slow server is still the leader: were its lease to run out, the next
one would wait just the same. One that has not come to the end of a turn for very long is given
up, for then nobody would decide anything.
"""

from __future__ import annotations

import os
import socket
import time
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

import structlog

from riskwatch.errors import FencedError, StoreError, StoreUnavailableError
from riskwatch.store import lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from riskwatch.engine.retry import Retry


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

STANDBY_S: Final = 0.5
"""How often a process that stands by asks for the lease."""

log = structlog.get_logger("riskwatch.keeper")


def wait_for_lease(
    engine: Engine,
    worker: str,
    own: str,
    lease_s: float,
    patience: Retry,
    stands_by: Callable[[str], None],
) -> None:
    """Wait until this process holds the lease of a worker.

    A holder that was a process of this machine and is no more is not waited for.

    Parameters
    ----------
    engine : Engine
        The database.
    worker : str
        Whose lease.
    own : str
        Name of this process, as of :func:`riskwatch.worker.lease.process_holder`.
    lease_s : float
        After how long a silent lease is free.
    patience : Patience
        How the database is waited for.
    stands_by : callable
        Told again and again who leads, for as long as that is another.

    Raises
    ------
    StoppedError
        If the process is asked to stop meanwhile.
    """
    told, dead = "", None
    while not patience.ask_store(
        "lease", partial(lease.claim_lease, engine, worker, own, lease_s, instead_of=dead)
    ):
        found = patience.ask_store("lease", partial(lease.lease_state, engine, worker))
        if found is not None and is_dead(found.holder):
            log.info("takes over from the dead", leader=found.holder, epoch=found.epoch)
            dead = found.holder
            continue
        if found is not None and found.holder != told:
            told = found.holder
            log.info("stands by", leader=told, epoch=found.epoch)
        stands_by(told)
        patience.pause(STANDBY_S, "lease")
    log.info("leads", worker=worker, holder=own)


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
