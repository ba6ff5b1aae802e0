"""From the signal to the last client that stopped: real SQLite, Kafka, Redis and processes.

``python -m tests.bench.order_path RUNS CLIENTS`` prints p50 and p99 of the time from the moment
at which a decision is asked for, before its commit, to the first refused order of the slowest
gateway, by Kafka alone, by Redis alone, and by both. Times are of one machine's steady clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from riskwatch.client import KillSwitch
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.enums import State
from riskwatch.store import migrate
from riskwatch.store.clients import quantile
from tests.support.cluster import Cluster
from tests.support.kafka import own_node
from tests.support.redis import own_server
from tests.support.vouching import ROOT, Worker

COIN: Final = "asset:USDC"
TOPICS: Final = (
    "riskwatch.killswitch", "riskwatch.heartbeat", "riskwatch.drills", "riskwatch.acks",
)  # fmt: skip


def gateway(name: str, kafka: str, redis: str, prefix: str) -> None:
    """Ask every 100 us whether an order may go; print each time that the answer turns."""
    connection = KafkaConnection(servers=kafka, prefix=prefix) if kafka else None
    with KillSwitch(name, kafka=connection, redis=redis or None, prefix=prefix) as guard:
        went: bool | None = None
        while True:
            goes = bool(guard.allows(counterparty="kraken", asset=("USDC", "USD"), book="arb"))
            if goes is not went:
                went = goes
                sys.stdout.write(f"{json.dumps([goes, time.monotonic()])}\n")
                sys.stdout.flush()
            time.sleep(0.0001)


def turned(clients: list[subprocess.Popen[str]], goes: bool) -> float:
    """Wait until every client turned; returns when the last one did."""
    last = 0.0
    for client in clients:
        assert client.stdout is not None
        for line in client.stdout:
            found, at = json.loads(line)
            if found is goes:
                last = max(last, at)
                break
    return last


def measure(runs: int, count: int, kafka: str, redis: str, prefix: str) -> list[float]:
    """Seconds from each signal to the last client."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url = f"sqlite:///{Path(folder) / 'x.db'}"
        migrate.upgrade(url)
        worker = stack.enter_context(Worker(url, kafka, redis, prefix, every_s=5.0, life_s=60.0))
        clients = []
        for n in range(count):
            client = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.order_path", "gateway", f"g{n}", kafka, redis,
                 prefix],
                stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )  # fmt: skip
            stack.callback(client.communicate)
            stack.callback(client.kill)
            clients.append(client)
        turned(clients, goes=True)
        times = []
        for _ in range(runs):
            began = worker.decide(COIN, State.HALT)
            times.append(turned(clients, goes=False) - began)
            worker.decide(COIN, State.NORMAL)
            turned(clients, goes=True)
        return sorted(times)


def main(runs: int, count: int) -> None:
    """Measure all three ways."""
    with own_node() as node, own_server() as server:
        for way, kafka, redis in (
            ("kafka", node.address, ""), ("redis", "", server.url),
            ("both", node.address, server.url),
        ):  # fmt: skip
            prefix = f"{way}."
            if kafka:
                made = Cluster(KafkaConnection(servers=kafka, prefix=prefix))
                made.make(*TOPICS)
            times = measure(runs, count, kafka, redis, prefix)
            p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
            sys.stdout.write(
                f"{way}: {runs} signals, {count} clients: p50 {1000 * (p50 or 0):.0f} ms, "
                f"p99 {1000 * (p99 or 0):.0f} ms, slowest {1000 * times[-1]:.0f} ms\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1] == "gateway":
        gateway(*sys.argv[2:6])
    else:
        main(int(sys.argv[1]), int(sys.argv[2]))
