"""The order path as a whole: a gateway stops within the stated time, whatever breaks."""

from __future__ import annotations

import gc
import logging
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Self

import pytest

from riskwatch.client import KillSwitch, Terms
from riskwatch.contracts.acks import Ack, decode_ack
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.core.enums import State
from tests.support.cluster import Cluster
from tests.support.gateway import Gateway, stays, wait
from tests.support.vouching import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.kafka import Node
    from tests.support.redis import Server

TOPICS: Final = (
    "riskwatch.killswitch", "riskwatch.heartbeat", "riskwatch.drills", "riskwatch.acks",
)  # fmt: skip
COIN: Final = "asset:USDC"
TERMS: Final = Terms(reduce_s=2.0, lost_s=2.0, grace_s=1.0)
LIFE_S: Final = 2.0
SLACK_S: Final = 1.0
"""For a machine with other things to do."""
ORDER: Final[dict[str, Any]] = {"counterparty": "kraken", "asset": ("USDC", "USD"), "book": "arb"}

refused = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def leaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Collect the sockets that kafka-python does not close when a connection is refused."""
    caplog.set_level(logging.CRITICAL, logger="kafka")
    yield
    gc.collect()


class OrderPath:
    """A worker, a guard and a gateway, by Kafka, by Redis, or by both."""

    def __init__(self, database: str, kafka: str = "", redis: str = "", prefix: str = "t.") -> None:
        self.stack = ExitStack()
        self.worker = Worker(database, kafka, redis, prefix, life_s=LIFE_S)
        self.stack.enter_context(self.worker)
        connection = KafkaConnection(servers=kafka, prefix=prefix) if kafka else None
        self.guard = KillSwitch(
            "desk-1", kafka=connection, redis=redis or None, prefix=prefix, terms=TERMS
        )
        self.stack.enter_context(self.guard)
        # A worker needs some seconds of processor time to start, and shares the processors.
        assert self.guard.wait_ready(60), self.guard.allows().reason
        self.gateway = Gateway(self.guard, **ORDER)
        self.stack.enter_context(self.gateway)
        self.gateway.trades()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()


@pytest.fixture
def database(mirror_template: bytes, tmp_path: Path) -> str:
    """A database of its own."""
    path = tmp_path / "vouched.db"
    path.write_bytes(mirror_template)
    return f"sqlite:///{path}"


@pytest.fixture
def broker(kafka_broker: str, kafka_prefix: str) -> Iterator[KafkaConnection]:
    """Topics of the order path on the shared broker."""
    made = Cluster(KafkaConnection(servers=kafka_broker, prefix=kafka_prefix))
    made.make(*TOPICS)
    yield made.connection
    made.close()


def halts(path: OrderPath) -> None:
    """A HALT stops it within the stated time, a release lets it go on."""
    began = path.worker.decide(COIN, State.HALT)
    path.gateway.stops(began, SLACK_S)
    assert path.gateway.refused is not None
    assert path.gateway.refused.scope == COIN
    assert path.gateway.refused.decision_id.startswith("decision-")
    assert all(stays(lambda: path.gateway.refused is not None, 2 * LIFE_S))
    path.worker.decide(COIN, State.NORMAL)
    path.gateway.trades()


def test_a_halt_by_redis_alone(database: str, redis_url: str) -> None:
    """Within a second of the decision, with its scope and decision; and it lasts."""
    with OrderPath(database, redis=redis_url) as path:
        halts(path)


def test_a_halt_by_kafka_alone_is_acknowledged(database: str, broker: KafkaConnection) -> None:
    """The client says back what it applied, and when it ends."""
    with OrderPath(database, kafka=broker.servers, prefix=broker.prefix) as path:
        halts(path)
        began = path.worker.decide(COIN, State.HALT)
        path.gateway.stops(began, SLACK_S)
        time_applied = wait(lambda: path.guard.acknowledgement().scopes.get(COIN), "never")
    acks = [decode_ack(r.value) for r in Cluster(broker).read("riskwatch.acks") if r.value]
    spoken = [ack for ack in acks if isinstance(ack, Ack)]
    held = [ack for ack in spoken if COIN in ack.scopes]
    assert held[-1].scopes[COIN].decision_id == time_applied.decision_id
    assert [ack.ended for ack in spoken].index(True) == len(spoken) - 1


def test_redis_killed_alone_closes_and_comes_back(database: str, redis_own: Server) -> None:
    """Without any answer it stops in the stated time; once Redis is filled again it trades."""
    with OrderPath(database, redis=redis_own.url) as path:
        began = time.monotonic()
        redis_own.stop(signal.SIGKILL)
        path.gateway.stops(began, TERMS.lost_s + SLACK_S)
        wait(lambda: path.guard.state() is State.HALT, "REDUCE must become HALT")
        redis_own.start()
        path.gateway.trades()


def test_redis_killed_with_kafka_behind_it(
    database: str, redis_own: Server, broker: KafkaConnection
) -> None:
    """It trades on by Kafka, and a HALT still stops it."""
    path = OrderPath(database, broker.servers, redis_own.url, broker.prefix)
    with path:
        redis_own.stop(signal.SIGKILL)
        # What it holds from Redis is over after this; only Kafka can vouch for it.
        assert all(stays(lambda: path.gateway.refused is None, 2 * LIFE_S))
        began = path.worker.decide(COIN, State.HALT)
        path.gateway.stops(began, SLACK_S)


@refused
@pytest.mark.usefixtures("leaks")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_kafka_lost(database: str, kafka_node: Node, how: signal.Signals) -> None:
    """Killed or frozen, alone: stops in the stated time, and comes back with the broker."""
    cluster = Cluster(KafkaConnection(servers=kafka_node.address, prefix="t."))
    cluster.make(*TOPICS)
    with OrderPath(database, kafka=kafka_node.address) as path:
        began = time.monotonic()
        assert kafka_node.process is not None
        if how is signal.SIGKILL:
            kafka_node.stop(how)
        else:
            kafka_node.process.send_signal(how)
        path.gateway.stops(began, TERMS.lost_s + SLACK_S)
        if how is signal.SIGKILL:
            kafka_node.start()
        else:
            kafka_node.process.send_signal(signal.SIGCONT)
        path.gateway.trades()
    cluster.close()


@pytest.mark.parametrize("by", ["redis", "kafka", "both"])
def test_riskwatch_stopped(by: str, database: str, redis_url: str, broker: KafkaConnection) -> None:
    """SIGSTOP of the worker that vouches: within the life of its last heartbeat it stops."""
    kafka = "" if by == "redis" else broker.servers
    redis = "" if by == "kafka" else redis_url
    with OrderPath(database, kafka, redis, broker.prefix) as path:
        path.worker.process.send_signal(signal.SIGSTOP)
        took = path.gateway.stops(time.monotonic(), LIFE_S + SLACK_S)
        assert took > 0
        assert path.gateway.refused is not None
        assert path.gateway.refused.scope == "(expiry)"
        path.worker.process.send_signal(signal.SIGCONT)
        path.gateway.trades()


def test_a_stalled_thread(database: str, redis_url: str) -> None:
    """The thread that follows hangs: what it left behind ends by itself."""
    with OrderPath(database, redis=redis_url) as path:
        with path.guard.trust.lock:  # it waits for this
            path.gateway.stops(time.monotonic(), TERMS.lost_s + SLACK_S)
        path.gateway.trades()


def test_a_dead_thread(database: str, redis_url: str) -> None:
    """The same, for good."""
    with OrderPath(database, redis=redis_url) as path:
        source = path.guard._sources[0]
        source.stop.set()
        source.thread.join(5)
        path.gateway.stops(time.monotonic(), TERMS.lost_s + SLACK_S)
        wait(lambda: path.guard.state() is State.HALT, "REDUCE must become HALT")
        assert not path.guard.allows(**ORDER, reduces=True)
        assert path.guard.allows(**ORDER, cancel=True)


def test_what_cannot_be_read_stops_its_scope(database: str, broker: KafkaConnection) -> None:
    """Garbage under the key of a scope: it may have said HALT."""
    cluster = Cluster(broker)
    with OrderPath(database, kafka=broker.servers, prefix=broker.prefix) as path:
        began = time.monotonic()
        cluster.write("riskwatch.killswitch", COIN.encode(), b"{")
        path.gateway.stops(began, SLACK_S)
        assert path.gateway.refused is not None
        assert "cannot be read" in path.gateway.refused.reason
        assert path.guard.allows(asset="BTC")
        path.gateway.trades()  # heartbeats that came since vouched for the table
    cluster.close()


def test_a_zombies_record_is_healed_by_the_mirror(
    database: str, redis_url: str, broker: KafkaConnection
) -> None:
    """By Kafka alone a guard that begins then stays shut; with the mirror it knows the HALT."""
    cluster = Cluster(broker)
    with OrderPath(database, broker.servers, redis_url, broker.prefix) as path:
        path.worker.decide(COIN, State.WATCH)
        stale = cluster.read("riskwatch.killswitch")[-1]
        path.worker.decide(COIN, State.HALT)
        path.gateway.stops(time.monotonic(), SLACK_S)
        names = {name.replace("-", "_"): value.decode() for name, value in stale.headers}
        # A topic as compaction leaves it: of the scope only the last record, which is the stale.
        again = KafkaConnection(servers=broker.servers, prefix=f"z{broker.prefix}")
        left = Cluster(again)
        left.make(*TOPICS)
        left.write("riskwatch.killswitch", stale.key, stale.value, **names)
        beats = cluster.read("riskwatch.heartbeat")
        alone = KillSwitch("late", kafka=again, terms=TERMS, acks=broker)
        with alone:
            left.write("riskwatch.heartbeat", b"firm", beats[-1].value)
            assert not alone.wait_ready(1.0)
            assert alone.state() is State.HALT
        with KillSwitch(
            "healed", kafka=again, redis=redis_url, prefix=broker.prefix, terms=TERMS, acks=broker
        ) as healed:
            assert healed.wait_ready()
            assert healed.allows(**ORDER).scope == COIN
        left.close()
    cluster.close()
