"""Forked children of a process with connections: they are refused, and disturb nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support import batches
from tests.support.cluster import Cluster, cluster

ROOT: Final = Path(__file__).parents[2]
KILLSWITCH: Final = "riskwatch.killswitch"
__all__ = ["cluster"]
PARENT: Final = """
import os, sys
from riskwatch.client import CaughtUp, ClientError, Publisher, killswitch
from riskwatch.contracts.connection import KafkaConnection

connection = KafkaConnection(servers=sys.argv[1], prefix=sys.argv[2])
publisher = Publisher(connection)
publisher.raw("riskwatch.acks", b"k", b"before")
stream = killswitch(connection)
first = next(stream)
pid = os.fork()
if pid == 0:
    def send():
        publisher.raw("riskwatch.acks", b"k", b"from the child")
    for way in (send, publisher.flush, lambda: next(stream)):
        try:
            way()
            print("not refused", flush=True)
        except ClientError as error:
            print(type(error).__name__, error, flush=True)
    stream.close()
    publisher.close()
    sys.exit(0)  # and not os._exit: the clean-up of the libraries must do nothing
assert os.waitpid(pid, 0)[1] == 0
publisher.raw("riskwatch.acks", b"k", b"after")
publisher.flush()
publisher.close()
print("parent", publisher.result.total, isinstance(next(stream), CaughtUp), flush=True)
stream.close()
"""


def test_a_child_uses_no_connection_of_its_parent(cluster: Cluster) -> None:
    """Publisher and stream refuse in the child; the parent goes on after the child has ended."""
    cluster.make(KILLSWITCH)
    cluster.make("riskwatch.acks")
    cluster.tell(batches.killswitch(1), 1)
    connection = cluster.connection
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARENT, connection.servers, connection.prefix],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    send, flush, read, parent = done.stdout.splitlines()
    why = "it was inherited by fork: create a new one in each process"
    assert send == flush == f"InheritedError publisher: {why}"
    assert read.startswith("InheritedError stream of ")
    assert read.endswith(why)
    assert parent == "parent 2 True"
