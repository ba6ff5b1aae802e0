"""A world of four clocks: the real risk worker, a broker, a database, and a guard.

Each has a clock of its own, ahead of or behind the true time by what the test sets. Feeds and
people have the true time. Only the broker and the network are the test's: stages, rules, SQL,
leases, heartbeats and the guard's trust are the real ones.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime as real_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.client.guard.source import row_of
from riskwatch.client.guard.trust import Terms, TrustState
from riskwatch.contracts.codec import encode
from riskwatch.contracts.heartbeat import decode_heartbeat
from riskwatch.contracts.outputs import decode_output
from riskwatch.contracts.signing import sign
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import State
from riskwatch.core.events import Command
from riskwatch.core.outputs import KillSwitchChanged
from riskwatch.engine import bootstrap
from riskwatch.engine.clock import LiveClock
from riskwatch.engine.ports import SqlStore
from riskwatch.engine.retry import Retry, RetryingStore
from riskwatch.store import lease
from riskwatch.store.deployment import Deployment
from riskwatch.worker.crashes import CrashTracker
from riskwatch.worker.merge import InboundMessage, PartitionMetadata
from riskwatch.worker.metrics import Metrics
from riskwatch.worker.partitions import PartitionManager
from riskwatch.worker.settings import ProcessSettings
from riskwatch.worker.worker import RISK, RISK_TOPICS, RiskWorker
from tests.support.people import KEYS, OPERATORS
from tests.support.producer import FakeKafka, Local

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest
    from sqlalchemy.engine import Engine

    from riskwatch.config.config import Config
    from riskwatch.worker.partitions import Partition

START_US: Final = 1_678_500_000 * SECOND
WHO: Final = ("leader", "broker", "database", "client")
DEPLOYMENT: Final = "prod"
BOOT_US: Final = 77 * SECOND
QUOTES, CREDIT, COMMANDS = "riskwatch.quotes", "riskwatch.credit", "riskwatch.commands"


@lru_cache(maxsize=1)
def configuration() -> Config:
    """Return the shipped rules, with operators whose keys the tests have."""
    return msgspec.structs.replace(bootstrap.configuration(), operators=OPERATORS)


class LocalBroker:
    """The topics of a cluster in memory: one partition each, with the broker's time of arrival."""

    def __init__(self) -> None:
        self.logs: dict[str, list[InboundMessage]] = {name: [] for name in RISK_TOPICS}

    def take(self, topic: str, value: bytes, now_us: int) -> None:
        """Append a record. Kafka's times are milliseconds."""
        log = self.logs[topic]
        log.append(InboundMessage(len(log), now_us // 1_000 * 1_000, None, value, ()))


class BrokerPartitions(PartitionManager):
    """A partition manager on a broker in memory."""

    broker: LocalBroker

    def read(self) -> None:
        """Fetch what the broker has."""
        for topic, log in self.broker.logs.items():
            place = (topic, 0)
            unit = self.unit(RISK)
            assert unit is not None
            at = unit._merge.cursor(f"{topic}/0").fetched
            if at < len(log):
                self.enqueue(place, log[at:], len(log), len(log), at)

    def _read_metadata(self, partitions: Sequence[Partition]) -> dict[Partition, PartitionMetadata]:
        logs = self.broker.logs
        return {p: PartitionMetadata("cluster", 1, 0, len(logs[p[0]])) for p in partitions}

    def _check_identities(self) -> None:
        self._checked_us = self._clock()


class ClockedLeader(RiskWorker):
    """The real risk worker on a broker in memory, and on a clock of the test."""

    def __init__(self, world: ClockWorld) -> None:
        super().__init__(ProcessSettings(http="off"))
        self.world = world
        self.clock = LiveClock(
            round(self.settings.clock_ahead * SECOND),
            lambda: world.time("leader"),
            lambda: BOOT_US + world.true_us - START_US,
        )
        self._config = configuration()
        self._engine = world.engine
        self._deployment = Deployment(1, DEPLOYMENT, "c1", "")
        self._producer = Local(world.kafka, note_broker=self.clock.note_confirmed)
        retry = Retry(threading.Event(), Metrics())
        self._store = RetryingStore(SqlStore(world.engine), retry)
        self._crashes = CrashTracker(world.engine, retry)
        self.partitions = self.local = BrokerPartitions(
            self.connection, retry, self.unit_of, self._unit, batch=1_000,
            clock=self.clock.process_us, live=self.clock,
        )  # fmt: skip
        self.local.broker = world.broker
        self.standby_reason = None

    def start(self) -> None:
        """Take the lease, load the state, and read on from the stored offsets."""
        self.partitions.assign([(topic, 0) for topic in RISK_TOPICS])


@dataclass
class ClockWorld:
    """The world, turn by turn.

    Attributes
    ----------
    engine : Engine
        A fresh database.
    off_us : dict
        By how much a clock is ahead of the true time, microseconds.
    """

    engine: Engine
    monkeypatch: pytest.MonkeyPatch
    true_us: int = START_US
    off_us: dict[str, int] = field(default_factory=dict)
    terms: Terms = field(default_factory=lambda: Terms(reduce_s=30.0))

    def __post_init__(self) -> None:
        world = self

        class DatabaseTime(real_datetime):
            """What the database says that the time is."""

            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return moment(world.time("database")).astimezone(tz)

        self.monkeypatch.setattr(lease, "datetime", DatabaseTime)
        self.monkeypatch.setattr("riskwatch.worker.worker.wall_us", lambda: self.time("leader"))
        self.kafka = FakeKafka(clock=lambda: self.time("broker"))
        self.broker = LocalBroker()
        self.trust = TrustState(
            self.terms, lambda: self.true_us / SECOND, lambda: self.time("client") / SECOND,
            names=configuration().name_table,
        )  # fmt: skip
        self.leader: ClockedLeader
        self.delivered = 0
        self.beats = 0
        self.count = 0

    def time(self, who: str) -> int:
        """Return the time of somebody's clock, microseconds."""
        return self.true_us + self.off_us.get(who, 0)

    def lead(self) -> None:
        """Start a process that leads; another one, if there is one, loses its lease."""
        self.leader = ClockedLeader(self)
        self.leader.start()

    def quote(self) -> None:
        """Let two venues quote a coin, at the true time."""
        for venue in ("kraken", "coinbase"):
            self.send(
                QUOTES,
                {"type": "quote", "source": venue, "venue": venue, "base": "BTC", "quote": "USD",
                 "bid": "60000", "ask": "60001", "volume": "5"},
            )  # fmt: skip

    def news(self, subject: str) -> None:
        """Let a court say that somebody is insolvent."""
        self.send(CREDIT, {"type": "credit", "source": "court", "subject": subject,
                           "kind": "insolvency"})  # fmt: skip

    def send(self, topic: str, fields: dict[str, Any], off_us: int = 0) -> None:
        """Send an event of the true time plus `off_us`."""
        self.count += 1
        ts = moment(self.true_us + off_us).isoformat()
        event = {"v": 1, "event_id": f"e{self.count}", "ts": ts, **fields}
        self.broker.take(topic, msgspec.json.encode(event), self.time("broker"))

    def command(self, action: str, scope: str, operator: str = "ann", off_us: int = 0) -> str:
        """Sign and send a command; return its idempotency key."""
        self.count += 1
        key = f"key-{self.count}"
        made = Command(
            v=1, event_id=key, ts=moment(self.true_us + off_us), source="cli", operator=operator,
            action=action, scope=scope, reason="the clocks differ",  # type: ignore[arg-type]
            idempotency_key=key, deployment=DEPLOYMENT,
        )  # fmt: skip
        line = encode(sign(made, KEYS[operator]))
        self.broker.take(COMMANDS, line, self.time("broker"))
        return key

    def turn(self, seconds: float = 1.0, *, quotes: bool = True) -> State:
        """Let time pass, feeds speak and the leader work; return the state that the guard holds."""
        self.true_us += round(seconds * SECOND)
        if quotes:
            self.quote()
        self.leader.local.read()
        self.leader.run_once()
        return self.deliver()

    def deliver(self) -> State:
        """Deliver what the leader published to the guard, which has an answer of its server."""
        for topic, _, value, headers in self.kafka.sent[self.delivered :]:
            if topic.endswith("riskwatch.heartbeat"):
                self.beats += 1
                self.trust.beat(decode_heartbeat(value))
            elif topic.endswith("riskwatch.killswitch"):
                output, own = decode_output(value), dict(headers)
                assert isinstance(output, KillSwitchChanged)
                place = (own["rw-worker"].decode(), int(own["rw-epoch"]), int(own["rw-seq"]))
                self.trust.row(row_of(output, place, self.time("client") / SECOND))
        self.delivered = len(self.kafka.sent)
        self.trust.mark_answered("test")
        self.trust.settle()
        return self.trust.floor()

    def held(self, scope: str) -> State:
        """Return the state of a scope in the guard's table."""
        row = self.trust.table.get(scope)
        return State.NORMAL if row is None else row.state

    @property
    def reached_us(self) -> int:
        """The event time that the leader has reached, by ticks and events."""
        unit = self.leader.partitions.unit(RISK)
        assert unit is not None
        return unit._grid.reached
