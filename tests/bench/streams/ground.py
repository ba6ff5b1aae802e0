"""Where it is measured: a broker, a Postgres that syncs, workers with their defaults."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import psycopg

from tests.bench.streams.filling import fill
from tests.chaos.lab import Lab
from tests.support.kafka import own_node
from tests.support.postgres import Server, _binaries, _own_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.kafka import Node

ROOT: Final = Path(__file__).resolve().parents[3]
PATIENCE_S: Final = 120.0
POLL_S: Final = 0.02
_LOG: Final = "SELECT coalesce(sum(read), 0) FROM worker_progress WHERE worker LIKE %s"


class GaveUpError(Exception):
    """Something took far longer than it may."""


def give_up(what: str, folder: Path) -> NoReturn:
    """End the run with what was waited for."""
    raise GaveUpError(f"waited too long for {what}: see the logs in {folder}")


class SyncingServer(Server):
    """A Postgres that waits for its disk, as one that is meant seriously does."""

    def start(self) -> None:
        """Start it with its own defaults, but for where it listens."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "60", "-l", log, "-o", options, "start")


@dataclass
class Bench(Lab):
    """Servers and workers of one measurement; the worker's settings are the product's defaults.

    ``extra`` overrides them, as the environment would.
    """

    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def defaults(self, **settings: str) -> None:
        """Set the workers' environment; names without their prefix, in lower case."""
        standard = {"clock": "wall", "tick": "1s", "lease": "10s", "batch": "2000"}
        standard["config"] = str(self.rules())
        told = standard | {"log_level": "info"} | settings
        self.extra = {f"RISKWATCH_{name.upper()}": value for name, value in told.items()}

    def rules(self) -> Path:
        """Return the shipped rules, with the statement that its sources of news are proven."""
        folder = self.folder / f"{self.name}-rules"
        if not folder.exists():
            shutil.copytree(ROOT / "rules", folder)
            policy = folder / "policy.toml"
            shipped = policy.read_text()
            proven = shipped.replace(
                '# topic_sources = ["desk"]', 'topic_sources = ["court", "regulator", "desk"]'
            )
            assert proven != shipped, "the place of the statement is gone from policy.toml"
            policy.write_text(proven)
        return folder

    def run_child(self, module: str, *args: str) -> subprocess.Popen[bytes]:
        """Run a module of this package in a process of its own, told where everything is."""
        environment = {
            **os.environ,
            "RISKWATCH_DATABASE": self.database,
            "RISKWATCH_KAFKA": self.node.address,
            "RISKWATCH_TOPIC_PREFIX": f"{self.name}.",
        }
        name = module.rpartition(".")[2]
        with (self.folder / f"{self.name}-{name}.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", module, *args], cwd=ROOT, env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self.children.append(child)
        return child

    def answer(self, module: str, *args: str) -> float:
        """Run a module that prints one number, and return it."""
        child = self.run_child(module, *args)
        said, _ = child.communicate(timeout=PATIENCE_S)
        if child.returncode:
            give_up(f"{module} (it ended with {child.returncode})", self.folder)
        return float(said)

    def fill(self, messages: Iterable[tuple[str, bytes, bytes]]) -> int:
        """Publish (topic, key, value) as fast as it goes; returns how many."""
        return asyncio.run(fill(self.connection, messages))

    def until(self, done: Callable[[], bool], what: str, pause_s: float = POLL_S) -> float:
        """Wait until something is so; returns when, by the monotonic clock."""
        began = time.monotonic()
        while not done():
            if time.monotonic() - began > PATIENCE_S:
                give_up(what, self.folder)
            time.sleep(pause_s)
        return time.monotonic()

    @contextmanager
    def counter(self, kind: str) -> Iterator[Callable[[], int]]:
        """Count the records that a kind of worker has committed, over one connection."""
        with psycopg.connect(self.database, autocommit=True) as conn:

            def count() -> int:
                row: Any = conn.execute(_LOG, (f"{kind}%",)).fetchone()
                return int(row[0])

            yield count

    def rate(self, kind: str, records: int) -> float:
        """Records per second of a worker that was just started, from first to last commit."""
        with self.counter(kind) as count:
            first = self.until(lambda: count() > 0, f"the first commit of {kind}")
            before = count()
            last = self.until(lambda: count() >= records, f"the last commit of {kind}")
        return (records - before) / (last - first)

    def end(self) -> None:
        """Stop the workers in order, and leave no process behind."""
        try:
            if self.workers:
                self.stop()
        finally:
            self.destroy()
            for child in self.children:
                if child.poll() is None:
                    child.kill()
                child.wait()


@dataclass
class Ground:
    """The servers of one run, and a folder for its logs, which stay if asked to."""

    node: Node
    postgres: Server
    folder: Path
    keep: bool = False

    @contextmanager
    def bench(
        self, name: str, module: tuple[str, ...] = ("riskwatch", "run"), **settings: str
    ) -> Iterator[Bench]:
        """Make database, topics and workers' settings of one measurement."""
        made = Bench(ROOT, self.folder, self.node, self.postgres, name, module)
        made.defaults(**settings)
        made.set_up()
        try:
            yield made
        finally:
            made.end()


@contextmanager
def ground() -> Iterator[Ground]:
    """Run the servers; their data goes away with them, logs stay if something went wrong."""
    binaries = _binaries()
    if binaries is None:
        raise GaveUpError("no Postgres server is installed")
    folder = Path(tempfile.mkdtemp(prefix="riskwatch-bench-"))
    data = folder / "postgres"
    data.mkdir()
    if _own_user() is not None:
        folder.chmod(0o755)
        os.chown(data, pwd.getpwnam("postgres").pw_uid, -1)
    postgres = SyncingServer(binaries, data)
    with own_node() as node:
        postgres.create()
        postgres.start()
        try:
            made = Ground(node, postgres, folder)
            yield made
        finally:
            postgres.stop("fast")
            shutil.rmtree(data)
    if not made.keep:
        shutil.rmtree(folder)
