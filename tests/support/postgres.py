"""A real Postgres for tests: the server that the environment names, or a throwaway of our own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENV = "RISKWATCH_TEST_POSTGRES"
USER = "postgres"
# Not the C locale, on purpose: no result may rest on the order that a database happens to have.
ENGLISH = ("-E", "UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
_numbers = count()


def _binaries() -> Path | None:
    """Newest server that Debian's packages put on this machine."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True
    )
    return next((path for path in found if (path / "initdb").is_file()), None)


def _own_user() -> Callable[[], None] | None:
    """Return what makes a child process another user: the server refuses to run as root."""
    if os.geteuid() != 0:
        return None
    who = pwd.getpwnam(USER)

    def become() -> None:
        os.setgid(who.pw_gid)
        os.setgroups([])
        os.setuid(who.pw_uid)

    return become


@dataclass
class Server:
    """A cluster in a folder of its own, which a test may stop, kill and start again."""

    binaries: Path
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Where clients connect, to the database that is always there."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Make the cluster."""
        if _own_user() is not None:
            who = pwd.getpwnam(USER)
            os.chown(self.folder, who.pw_uid, who.pw_gid)
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "trust", "--no-sync", *ENGLISH)

    def start(self) -> None:
        """Start it, and return when it answers."""
        # What a killed server wrote is in the page cache: it takes a lost machine to need fsync.
        settings = {"listen_addresses": "127.0.0.1", "max_connections": 40, "fsync": "off"}
        options = f"-p {self.port} -k {self.folder}"
        options += "".join(f" -c {name}={value}" for name, value in settings.items())
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "60", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: ``immediate`` is a crash, ``fast`` ends the connections in order."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _run(self, tool: str, *args: str) -> None:
        done = subprocess.run(
            [str(self.binaries / tool), *args],
            check=False,
            cwd=self.folder,
            preexec_fn=_own_user(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{tool} failed: {done.stderr.strip()}")


@contextmanager
def own_server() -> Iterator[Server]:
    """Run a server that goes away with its folder; skips where there is none."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip(f"no Postgres: {ENV} is not set and no server is installed")
    folder = Path(tempfile.mkdtemp(prefix="riskwatch-pg-"))
    server = Server(binaries, folder)
    try:
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a server that may create databases; skips where there is none."""
    given = os.environ.get(ENV)
    if given:
        yield given
        return
    with own_server() as server:
        yield server.url


@pytest.fixture
def postgres_own() -> Iterator[Server]:
    """A server for one test alone, which may stop and kill it."""
    with own_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty database that goes away after the test."""
    name = f"riskwatch_test_{os.getpid()}_{next(_numbers)}"
    server = make_url(postgres_server)
    admin = server.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield server.set(database=name).render_as_string(hide_password=False)
        finally:
            conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
