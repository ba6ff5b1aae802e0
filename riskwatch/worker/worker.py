"""The two workers on Kafka, put together: what each reads, runs, publishes and answers for."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec
import structlog

from riskwatch.config.recorder import ConfigurationRecorder
from riskwatch.contracts.heartbeat import TOPIC, Heartbeat
from riskwatch.contracts.topics import TOPICS
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import State
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.engine import audit_head, bootstrap
from riskwatch.engine.clock import TickGrid, wall_us
from riskwatch.engine.ports import SqlStore
from riskwatch.engine.retry import Retry, RetryingStore
from riskwatch.engine.runner import Runner
from riskwatch.errors import ConfigError, StoreUnavailableError
from riskwatch.kafka import topics
from riskwatch.kafka.producer import KafkaPublisher, Producer
from riskwatch.store.audit import last_payload
from riskwatch.store.batch import OutboxRecord
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import require_current
from riskwatch.store.reference import sync_reference
from riskwatch.store.row_counts import count_rows
from riskwatch.store.scope_table import count_by_state, scope_table
from riskwatch.version import ENGINE
from riskwatch.worker import lease as worker_lease
from riskwatch.worker.crashes import CrashTracker
from riskwatch.worker.lease import LeaseRenewer, wait_for_lease
from riskwatch.worker.metrics import Metrics
from riskwatch.worker.mirror import Mirror
from riskwatch.worker.partitions import PartitionManager
from riskwatch.worker.unit import LINGER_US, Unit, UnitTiming

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.engine.pipeline import Pipeline
    from riskwatch.store.scope_table import ScopeTable
    from riskwatch.worker.partitions import Partition
    from riskwatch.worker.settings import ProcessSettings


# The heartbeat of the leading risk worker: it vouches for the whole table of scopes, for a while.
#
# A reader that holds a table with the digest of a heartbeat that is still valid knows where every
# scope stands: one that is absent is NORMAL. Without such a heartbeat nothing is known.

HEARTBEAT_INTERVAL_US: Final = 15 * SECOND
HEARTBEAT_VALID_US: Final = 60 * SECOND


def make_heartbeat(worker: str, epoch: int, table: ScopeTable, now_us: int) -> Heartbeat:
    """Vouch for a table that was read under the lease."""
    return Heartbeat(
        worker=worker,
        epoch=epoch,
        seq=table.seq,
        digest=table.digest,
        scopes=len(table.states),
        ts=moment(now_us),
        valid_until=moment(now_us + HEARTBEAT_VALID_US),
        engine=ENGINE,
    )


def heartbeat_record(beat: Heartbeat) -> OutboxRecord:
    """Make the record of a heartbeat; it passes by the outbox, for it is no truth to keep."""
    return OutboxRecord(beat.seq, TOPIC, "firm", msgspec.json.encode(beat), beat.ts)


LEDGER_TOPICS: Final = ("riskwatch.fills", "riskwatch.balances")
RISK_TOPICS: Final = (
    "riskwatch.pegs",
    "riskwatch.quotes",
    "riskwatch.credit",
    "riskwatch.commands",
    "riskwatch.readings",
)
RISK: Final = "risk"

log = structlog.get_logger("riskwatch.worker")


class Worker(ABC):
    """One worker process: everything in it but the consumer. A subclass is one kind of worker.

    Parameters
    ----------
    settings : Settings
        From the environment.

    Attributes
    ----------
    kind : str
        Name of the kind.
    topics : tuple of str
        Plain names of the topics that it reads.
    shares_group : bool
        Whether the processes of this kind are one consumer group, which divides the partitions
        among them. Where they are not, each is a group by itself and reads everything, and a
        lease says which of them works.
    group : str
        Consumer group.
    failure : Exception or None
        Why the process has to end.
    """

    kind: ClassVar[str]
    topics: ClassVar[tuple[str, ...]]
    shares_group: ClassVar[bool]

    def __init__(self, settings: ProcessSettings) -> None:
        self.settings = settings
        self.connection = settings.connection
        self.holder = worker_lease.process_holder()
        name = f"{settings.topic_prefix}riskwatch-{self.kind}"
        own = f"{name}-{self.holder.replace('/', '-')}"
        self.group = name if self.shares_group else own
        self.stop = threading.Event()
        self.failure: Exception | None = None
        self.standing: str | None = "starting"
        self.metrics = Metrics()
        self.retry = Retry(self.stop, self.metrics)
        self._config = bootstrap.configuration(settings.config)
        self._producer = Producer(self.connection, self.retry, self.metrics)
        self._mirror: Mirror | None = None
        self._counted_us = 0
        self._engine: Engine
        self._store: RetryingStore
        self._crashes: CrashTracker
        self.desk: PartitionManager

    def prepare(self) -> None:
        """Wait for the servers, and for the lease where there is one for all.

        Raises
        ------
        StoreError
            If the database has another schema.
        BrokerError
            If the topics are not what they must be.
        StoppedError
            If the process is asked to stop meanwhile.
        """
        ask = self.retry.ask_store
        self._engine = ask("open", lambda: open_engine(self.settings.database))
        with self._engine.connect() as conn:
            require_current(conn)
        self._store = RetryingStore(SqlStore(self._engine), self.retry)
        self._crashes = CrashTracker(self._engine, self.retry)
        self.desk = PartitionManager(
            self.connection, self.retry, self.unit_of, self._unit, batch=self.settings.batch
        )
        self._check_topics()
        self._lead()
        self.standing = None

    def run_once(self) -> bool:
        """Do what is to be done now; whether there is more to do at once."""
        more = self.desk.work()
        self._count()
        return more

    def close(self) -> None:
        """Give back what this process holds. What is not confirmed stays in the outbox."""
        self.stop.set()
        self.desk.close()
        if self._mirror is not None:
            self._mirror.close()
        self._producer.close()
        self._engine.dispose()

    def ready(self) -> str | None:
        """Why this process does not do its work now; ``None`` if it does."""
        return self.standing or self.desk.not_ready_reason()

    def live(self) -> str | None:
        """Why this process should be ended; ``None`` if it should not."""
        return None if self.failure is None else str(self.failure)

    def _check_topics(self) -> None:
        """Refuse to begin where a topic is missing, or has another number of partitions."""
        found = self.retry.ask_broker(
            "topics", lambda: topics.topic_identities(self.connection, TOPICS)
        )
        for name, identity in found.items():
            if identity.partitions != TOPICS[name].partitions:
                raise ConfigError(
                    name,
                    "partitions",
                    f"{TOPICS[name].partitions} (see docs/operations.md, repartitioning)",
                    identity.partitions,
                )

    def _count(self) -> None:
        """Tell now and then how much is kept; a database that is away is asked later."""
        now = wall_us()
        if now - self._counted_us < HEARTBEAT_INTERVAL_US:
            return
        self._counted_us = now
        try:
            found = count_rows(self._engine, self.desk.names)
        except StoreUnavailableError as error:
            log.warning("rows were not counted", error=str(error))
            return
        for (worker, stage), (rows, size) in found.state.items():
            self.metrics.state(worker, stage, rows, size)
        for worker, waits in found.outbox.items():
            self.metrics.outbox(worker, waits)

    @abstractmethod
    def unit_of(self, partition: Partition) -> str:
        """Name of the unit that a partition belongs to."""

    @abstractmethod
    def pipeline(self) -> Pipeline:
        """Make the stages of one unit, with their states still empty."""

    @abstractmethod
    def _lead(self) -> None:
        """Become the one who may open units, where only one may."""

    def _declaration(self) -> ConfigurationRecorder | None:
        """What a unit puts out first."""
        return None

    def _unit(self, name: str) -> Unit:
        s = self.settings
        runner = Runner(
            self._store,
            self.pipeline(),
            KafkaPublisher(self._producer),
            worker=name,
            holder=self.holder,
            grid=TickGrid(round(s.tick * SECOND)),
            declares=self._declaration(),
        )
        renew_us = round(s.lease * SECOND / 4)
        pace = UnitTiming(
            clock=s.clock,
            batch=s.batch,
            renew_us=renew_us,
            alone=not self.shares_group,
            linger_us=LINGER_US,
        )
        write = None if self._mirror is None else self._mirror.write
        return Unit(runner, self._crashes, self.metrics, pace, write)


class LedgerWorker(Worker):
    """Fills and balances: one unit per partition, as many processes as you like."""

    kind = "ledger"
    topics = LEDGER_TOPICS
    shares_group = True

    def unit_of(self, partition: Partition) -> str:
        """Name the unit of a partition."""
        return f"ledger/{partition[1]}"

    def pipeline(self) -> Pipeline:
        """Make the stage of one unit."""
        return bootstrap.ledger_pipeline(self._config)

    def _lead(self) -> None:
        """Wait for nobody: the group says whose a partition is."""


class RiskWorker(Worker):
    """Market and risk in one unit; one process leads, the others stand by.

    The leader vouches for the table of scopes, fills the mirror, and tells how far the audit
    chain reaches.
    """

    kind = RISK
    topics = RISK_TOPICS
    shares_group = False

    def __init__(self, settings: ProcessSettings) -> None:
        super().__init__(settings)
        if settings.redis is not None:
            url = settings.redis.get_secret_value()
            self._mirror = Mirror(url, self.metrics, prefix=settings.topic_prefix, clock=wall_us)
        self._mirrored = 0
        self._keeper: LeaseRenewer | None = None
        self._beat_us = 0
        self._audited_us = 0

    def unit_of(self, partition: Partition) -> str:
        """Name the one unit."""
        del partition
        return RISK

    def pipeline(self) -> Pipeline:
        """Make the stages of the unit."""
        return bootstrap.risk_pipeline(self._config)

    def run_once(self) -> bool:
        """Do what is to be done now; whether there is more to do at once."""
        more = super().run_once()
        self._beat()
        self._audit()
        if self._keeper is not None:
            self._keeper.mark_progress()
        return more

    def close(self) -> None:
        """Stop keeping the lease, and give it back with all else."""
        self.stop.set()
        if self._keeper is not None:
            self._keeper.close()
        super().close()

    def _lead(self) -> None:
        """Wait for the lease, and keep it from now on."""
        wait_for_lease(
            self._engine, RISK, self.holder, self.settings.lease, self.retry, self._stands_by
        )
        with self._engine.begin() as conn:
            sync_reference(conn, self._config.reference)
            recorded = last_payload(conn, RISK, ConfigurationChanged)
        self._config = bootstrap.confirmed(self._config, recorded)
        self._keeper = LeaseRenewer(self._engine, RISK, self.settings.lease, self._led)
        self._keeper.start()

    def _stands_by(self, leader: str) -> None:
        self.standing = f"stands by for {leader}"
        self.metrics.leader(RISK, None)

    def _led(self) -> int:
        """Epoch under which this process leads, 0 before its unit is open."""
        unit = self.desk.unit(RISK)
        return 0 if unit is None else unit.epoch

    def _declaration(self) -> ConfigurationRecorder:
        clock = wall_us if self.settings.clock == "wall" else None
        return ConfigurationRecorder(RISK, self._config, clock)

    def _beat(self) -> None:
        """Vouch for the table of scopes, while the unit does its work."""
        now, unit = wall_us(), self.desk.unit(RISK)
        if now - self._beat_us < HEARTBEAT_INTERVAL_US or unit is None or self.ready() is not None:
            return
        table = self.retry.ask_store(
            "heartbeat", lambda: scope_table(self._engine, RISK, unit.epoch)
        )
        record = heartbeat_record(make_heartbeat(RISK, unit.epoch, table, now))
        publisher = KafkaPublisher(self._producer)
        publisher.set_leader(RISK, unit.epoch)
        publisher.publish([record])
        if self._mirror is not None:
            if self._mirrored != unit.epoch:
                self._mirrored = unit.epoch
                self._mirror.refresh(self._engine, RISK, unit.epoch)
            self._mirror.heartbeat(record.value, HEARTBEAT_VALID_US / SECOND)
        self.metrics.scopes({State(s): n for s, n in count_by_state(table.states).items()})
        self._beat_us = now

    def _audit(self) -> None:
        """Tell how far the audit chain reaches, as long as this process leads."""
        now, unit = wall_us(), self.desk.unit(RISK)
        if now - self._audited_us < audit_head.HEAD_INTERVAL_US or unit is None or unit.epoch == 0:
            return
        head = self.retry.ask_store(
            "audit", lambda: audit_head.read_head(self._engine, RISK, unit.epoch, now)
        )
        publisher = KafkaPublisher(self._producer)
        publisher.set_leader(RISK, unit.epoch)
        publisher.publish([audit_head.head_record(head, now)])
        audit_head.log_head(head)
        self._audited_us = now
