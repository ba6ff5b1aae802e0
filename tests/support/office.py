"""A firm for tests: rules, operators with keys, a database, topics, and the real risk worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.config import paths
from riskwatch.kafka import topics
from riskwatch.store.engine import open_engine
from tests.support.cluster import Cluster
from tests.support.gateway import wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typer.testing import Result

    from riskwatch.contracts.connection import KafkaConnection

ROOT: Final = Path(__file__).parents[2]
YOUNG_S: Final = 60.0
"""Longest start of a worker on a busy machine, seconds."""
WAIT_S: Final = "30"
ROLES: Final = {"ann": "supervisor", "bob": "supervisor", "rita": "risk", "vic": "viewer"}


class Office:
    """The rules, keys, topics and database of a firm. Nothing runs until :meth:`worker`.

    Parameters
    ----------
    folder : Path
        Rules, keys and logs go there.
    database : str
        URL of a migrated database.
    connection : KafkaConnection
        A broker, with a prefix of the test's own.
    policy : str
        Lines to add to ``policy.toml``.
    """

    def __init__(
        self, folder: Path, database: str, connection: KafkaConnection, policy: str = ""
    ) -> None:
        self.folder = folder
        self.database = database
        self.connection = connection
        self.cluster = Cluster(connection)
        self.rules = folder / "rules"
        shutil.copytree(paths.rules_folder(), self.rules)
        with (self.rules / "policy.toml").open("a") as file:
            file.write(policy)
        self.environment = {
            "RISKWATCH_CONFIG": str(self.rules),
            "RISKWATCH_DATABASE": database,
            "RISKWATCH_KAFKA": connection.servers,
            "RISKWATCH_TOPIC_PREFIX": connection.prefix,
            "RISKWATCH_HTTP": "off",
            "RISKWATCH_LEASE": "5s",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "250",
        }
        for name, role in ROLES.items():
            public = self.run("operator", "keygen", "--key", self.key(name)).stdout.strip()
            done = self.run("operator", "add", name, "--role", role, "--public-key", public)
            assert done.exit_code == 0, done.output
        topics.create_topics(connection)

    def key(self, name: str) -> str:
        """Return the path of an operator's key file."""
        return str(self.folder / f"{name}.pem")

    def run(self, *args: str, name: str = "ann") -> Result:
        """Run a command as an operator, in this process."""
        env = {
            **self.environment,
            "RISKWATCH_OPERATOR": name,
            "RISKWATCH_OPERATOR_KEY": self.key(name),
        }
        return CliRunner().invoke(app, list(args), env=env)

    def turn(self, *args: str, name: str = "ann") -> Result:
        """Give a command as an operator, and wait for its outcome."""
        return self.run("killswitch", *args, "--wait", WAIT_S, name=name)

    def history(self) -> list[dict[str, Any]]:
        """Return the outcomes of commands, oldest first."""
        lines = self.run("killswitch", "history", "--json").stdout.splitlines()
        return [json.loads(line) for line in reversed(lines)]

    def rows(self, query: Any) -> list[Any]:
        """Run a query in the database."""
        engine = open_engine(self.database)
        try:
            with engine.connect() as conn:
                return list(conn.execute(query).all())
        finally:
            engine.dispose()

    @contextmanager
    def worker(self, kind: str = "risk") -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker until the end of the block. Unless killed, it must exit with code 0."""
        path = self.folder / f"{kind}.log"
        mark = path.stat().st_size if path.exists() else 0
        with path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "riskwatch", "run", kind],
                env={**os.environ, **self.environment, "RISKWATCH_LOG_FORMAT": "json"},
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            if kind == "risk":
                wait(
                    lambda: process.poll() is not None or b'"opened"' in path.read_bytes()[mark:],
                    "the worker does not open",
                    time.monotonic() + YOUNG_S,
                )
            assert process.poll() is None, path.read_text()[-2000:]
            yield process
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=60)
            assert code == 0, path.read_text()[-2000:]

    def close(self) -> None:
        """Close the connection to the broker."""
        self.cluster.close()
