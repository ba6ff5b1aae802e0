"""Ports for servers of tests."""

from __future__ import annotations

import random
import socket
from typing import Final

FIRST: Final = 10_000
LAST: Final = 32_767
"""Below the ports that Linux gives to outgoing connections: none of those takes a port that a test
has chosen before the test's server listens on it."""


def free_port() -> int:
    """Name a port that nobody listens on."""
    while True:
        port = random.SystemRandom().randint(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
