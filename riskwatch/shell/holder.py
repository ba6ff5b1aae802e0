"""Who holds a lease, by a name from which its neighbours can tell that it is dead."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def own() -> str:
    """Host, process, and where its number counts: ``host/pid/namespace``."""
    return f"{socket.gethostname()}/{os.getpid()}/{_namespace()}"


def is_dead(holder: str) -> bool:
    """Whether a holder was a process of this very machine, and is no more.

    Of any other it cannot be told: its lease has to run out. A number that was given to another
    process since passes for alive, which is the safe side.

    Examples
    --------
    >>> is_dead(own()), is_dead("elsewhere/1/x"), is_dead("test")
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
