"""The lease of a leader: how a process waits for it and renews it.

A thread renews the lease, however long a batch takes. A leader that waits for a slow server stays
the leader, because its successor would wait for the same server. A leader that finishes no
iteration for a very long time loses its lease, because otherwise nothing would be decided.
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


# The name of a holder shows other processes of the same machine whether the holder is dead.


def process_holder() -> str:
    """Return the name of this process as a lease holder: ``host/pid/namespace``."""
    return f"{socket.gethostname()}/{os.getpid()}/{_namespace()}"


def is_dead(holder: str) -> bool:
    """Whether a holder was a process of this machine and has ended.

    The state of any other holder is unknown; its lease must expire. A process number that was
    given to another process since counts as alive, which is the safe choice.

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
    """Return the name of the process namespace. Processes in containers have their own."""
    try:
        return Path("/proc/self/ns/pid").readlink().name
    except OSError:
        return "-"


MAX_STEP_LEASES: Final = 12
"""Longest duration of one iteration, in lease times. After it, the lease is left to expire."""

STANDBY_S: Final = 0.5
"""Interval at which a standby process asks for the lease, seconds."""

log = structlog.get_logger("riskwatch.keeper")


def wait_for_lease(
    engine: Engine,
    worker: str,
    holder: str,
    lease_s: float,
    retry: Retry,
    on_standby: Callable[[str], None],
) -> None:
    """Wait until this process holds the lease of a worker.

    It takes the lease at once from a holder that was a process of this machine and has ended. A
    lease that stayed the same for `lease_s` of the steady clock is taken, whatever the clock of
    the database says.

    Parameters
    ----------
    engine : Engine
        The database.
    worker : str
        Name of the worker whose lease it is.
    holder : str
        Name of this process; see :func:`process_holder`.
    lease_s : float
        Time after the last renewal at which a lease is free, seconds.
    retry : Retry
        How calls to the database are retried.
    on_standby : callable
        Called repeatedly with the name of the leader, while another process leads.

    Raises
    ------
    StoppedError
        If the process is asked to stop meanwhile.
    """
    leader, dead, watch = "", None, _Watch(lease_s)
    while not retry.ask_store(
        "lease",
        partial(
            lease.claim_lease, engine, worker, holder, lease_s,
            instead_of=dead, unless_renewed=watch.silent(),
        ),
    ):  # fmt: skip
        found = retry.ask_store("lease", partial(lease.lease_state, engine, worker))
        watch.see(found)
        if found is not None and is_dead(found.holder):
            log.info("takes over from the dead", leader=found.holder, epoch=found.epoch)
            dead = found.holder
            continue
        if found is not None and found.holder != leader:
            leader = found.holder
            log.info("stands by", leader=leader, epoch=found.epoch)
        on_standby(leader)
        retry.pause(STANDBY_S, "lease")
    log.info("leads", worker=worker, holder=holder)


class _Watch:
    """How long a lease has stayed the same, by the steady clock of this process."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._seen: lease.LeaseState | None = None
        self._since_s = time.monotonic()

    def see(self, found: lease.LeaseState | None) -> None:
        """Record the lease as it is now."""
        seen = self._seen
        same = (
            found is not None
            and seen is not None
            and (found.epoch, found.renewed_at) == (seen.epoch, seen.renewed_at)
        )
        if not same:
            self._seen, self._since_s = found, time.monotonic()

    def silent(self) -> lease.LeaseState | None:
        """Return the lease if it was not renewed for the lease time; else ``None``."""
        return self._seen if time.monotonic() - self._since_s >= self._lease_s else None


class LeaseRenewer:
    """Renews a lease from a thread of its own.

    Parameters
    ----------
    engine : Engine
        The database. The renewer uses a connection of its own.
    worker : str
        Name of the worker whose lease it is.
    lease_s : float
        Time after the last renewal at which a lease is free, seconds.
    epoch : callable
        Returns the epoch of the lease that is held now, or 0 without a lease.
    """

    def __init__(
        self, engine: Engine, worker: str, lease_s: float, epoch: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._worker = worker
        self._lease_s = lease_s
        self._epoch = epoch
        self._done = Event()
        self._progress_s = time.monotonic()
        self._thread = Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._progress_s = time.monotonic()
        self._thread.start()

    def mark_progress(self) -> None:
        """Record that an iteration ended."""
        self._progress_s = time.monotonic()

    def close(self) -> None:
        """Stop the thread. This does not release the lease."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(self._lease_s)

    def _run(self) -> None:
        while not self._done.wait(self._lease_s / 4):
            epoch = self._epoch()
            if not epoch:
                continue
            if time.monotonic() - self._progress_s > MAX_STEP_LEASES * self._lease_s:
                log.error("lease left to run out: one turn takes too long", worker=self._worker)
                return
            try:
                lease.renew_lease(self._engine, self._worker, epoch)
            except FencedError as error:
                # The commit of the working thread fails for the same reason and ends the process.
                log.warning("lease lost", worker=self._worker, error=str(error))
                return
            except StoreUnavailableError as error:
                log.debug("lease not renewed", worker=self._worker, error=str(error))
            except StoreError as error:
                log.warning("lease not renewed", worker=self._worker, error=str(error))
                return
