"""A real Redis for tests: the server that the environment names, or a throwaway of our own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import redis

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ENV: Final = "RISKWATCH_TEST_REDIS"
READY_S: Final = 30


def _binary() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


class Server:
    """A server of our own, which a test may stop, kill and start again; it keeps nothing."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.binary = binary
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.process = subprocess.Popen(
            [
                self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", str(self.folder),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + READY_S
        client = redis.Redis.from_url(self.url)
        while True:
            try:
                client.ping()
            except redis.RedisError as error:
                if time.monotonic() > until:
                    raise RuntimeError("Redis did not come up") from error
                time.sleep(0.02)
            else:
                client.close()
                return

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it, orderly or by SIGKILL."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)
            self.process = None


@contextmanager
def own_server() -> Iterator[Server]:
    """Run a server for one test alone; skips where there is none."""
    binary = _binary()
    if binary is None:
        pytest.skip(f"no Redis: {ENV} is not set and no server is installed")
    folder = Path(tempfile.mkdtemp(prefix="riskwatch-redis-"))
    server = Server(binary, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGKILL)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """URL of a server whose databases tests may empty; skips where there is none."""
    given = os.environ.get(ENV)
    if given:
        yield given
        return
    with own_server() as server:
        yield server.url


@pytest.fixture
def redis_url(redis_server: str) -> Iterator[str]:
    """URL of a database that is empty before and after the test."""
    client = redis.Redis.from_url(redis_server)
    client.flushdb()
    yield redis_server
    client.flushdb()
    client.close()


@pytest.fixture
def redis_own() -> Iterator[Server]:
    """A server for one test alone, which may stop and kill it."""
    with own_server() as server:
        yield server
