"""A real Postgres for tests: the server that the environment names, or a throwaway of our own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

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


@contextmanager
def _throwaway(binaries: Path) -> Iterator[str]:
    """Start a cluster in a folder that goes away with it; gives its URL."""
    become = _own_user()
    folder = Path(tempfile.mkdtemp(prefix="riskwatch-pg-"))
    if become is not None:
        who = pwd.getpwnam(USER)
        os.chown(folder, who.pw_uid, who.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(tool: str, *args: str) -> None:
        done = subprocess.run(
            [str(binaries / tool), *args],
            check=False,
            cwd=folder,
            preexec_fn=become,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{tool} failed: {done.stderr.strip()}")

    data = str(folder / "data")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c max_connections=20"
    try:
        run("initdb", "-D", data, "-U", USER, "-A", "trust", "--no-sync", *ENGLISH)
        log = str(folder / "log")
        run("pg_ctl", "-D", data, "-w", "-t", "60", "-l", log, "-o", options, "start")
        try:
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a server that may create databases; skips where there is none."""
    given = os.environ.get(ENV)
    if given:
        yield given
        return
    binaries = _binaries()
    if binaries is None:
        pytest.skip(f"no Postgres: {ENV} is not set and no server is installed")
    with _throwaway(binaries) as url:
        yield url


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
