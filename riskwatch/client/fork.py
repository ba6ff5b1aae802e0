"""Handles of the client belong to the process that created them; a forked child may not use them.

A child inherits sockets, locks and budgets, and none of the threads. It would share the parent's
connections and spend the parent's caps a second time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakSet

from riskwatch.client.errors import InheritedError

if TYPE_CHECKING:
    from typing import Any

INHERITED: Final = "it was inherited by fork: create a new one in each process"


class ForkAware(Protocol):
    """A handle that is closed in a forked child."""

    def after_fork(self) -> None:
        """Close the handle in the child, without locks and without the network."""
        ...


_handles: WeakSet[Any] = WeakSet()


def close_after_fork(handle: ForkAware) -> None:
    """Have a handle closed in every child process that this process forks."""
    _handles.add(handle)


def check_owner(pid: int, what: str) -> None:
    """Check that a handle was created by this process.

    Parameters
    ----------
    pid : int
        Process that created it.
    what : str
        What it is, for the message.

    Raises
    ------
    InheritedError
        If another process created it.
    """
    if os.getpid() != pid:
        raise InheritedError(f"{what}: {INHERITED}")


def drop_producer(producer: Any) -> None:
    """Make an inherited Kafka producer do nothing when it is collected or the process exits.

    Its threads do not run in the child. Without this, its clean-up would wait for them, and would
    write to connections of the parent.
    """
    producer._closed = True  # noqa: SLF001 - the library has no other way


def _after_fork_in_child() -> None:
    for handle in list(_handles):
        handle.after_fork()


if hasattr(os, "register_at_fork"):  # platforms without fork lack it
    os.register_at_fork(after_in_child=_after_fork_in_child)
