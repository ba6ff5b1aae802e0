"""The example of the docs against a real broker: it sends, stops at a HALT, and says why."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.enums import State
from tests.support.cluster import Cluster
from tests.support.vouching import ROOT, Worker

if TYPE_CHECKING:
    from pathlib import Path

TOPICS = ("riskwatch.killswitch", "riskwatch.heartbeat", "riskwatch.drills", "riskwatch.acks")


def test_the_example_runs(
    mirror_template: bytes, tmp_path: Path, kafka_broker: str, kafka_prefix: str
) -> None:
    """First orders go; after the HALT of a coin, they stop with its decision."""
    path = tmp_path / "example.db"
    path.write_bytes(mirror_template)
    made = Cluster(KafkaConnection(servers=kafka_broker, prefix=kafka_prefix))
    made.make(*TOPICS)
    environment = {
        **os.environ,
        "RISKWATCH_KAFKA": kafka_broker,
        "RISKWATCH_TOPIC_PREFIX": kafka_prefix,
        "PYTHONPATH": str(ROOT),
    }
    environment.pop("RISKWATCH_REDIS", None)
    example = ROOT / "docs" / "examples" / "guard.py"
    with Worker(f"sqlite:///{path}", kafka_broker, prefix=kafka_prefix, life_s=30.0) as worker:
        child = subprocess.Popen(
            [sys.executable, str(example)], env=environment, stdout=subprocess.PIPE, text=True
        )
        with child:
            assert child.stdout is not None
            try:
                assert next(line for line in child.stdout if line == "send\n")
                worker.decide("asset:USDC", State.HALT)
                stop = next(line for line in child.stdout if line.startswith("stop"))
                assert stop.startswith("stop HALT asset:USDC decision-1 HALT of asset:USDC: ")
            finally:
                child.kill()
    made.close()
