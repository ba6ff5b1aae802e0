"""The two workers on Kafka, put together: what each reads, runs, publishes and answers for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from riskwatch.config.recorder import ConfigurationRecorder
from riskwatch.contracts.heartbeat import TOPIC, Heartbeat
from riskwatch.contracts.topics import TOPICS
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import State
from riskwatch.engine import audit_head, bootstrap
from riskwatch.engine.clock import TickGrid, wall_us
from riskwatch.engine.ports import SqlStore
from riskwatch.engine.retry import Retry, RetryingStore
from riskwatch.engine.runner import Runner
from riskwatch.errors import BrokerError, ConfigError, StoreUnavailableError
from riskwatch.kafka import topics
from riskwatch.kafka.producer import KafkaPublisher, Producer
from riskwatch.store import lease
from riskwatch.store.batch import OutboxRecord
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import require_current
from riskwatch.store.reference import sync_reference
from riskwatch.store.row_counts import count_rows
from riskwatch.store.scope_table import count_by_state, scope_table
from riskwatch.version import ENGINE
from riskwatch.worker import lease as worker_lease
from riskwatch.worker.crashes import CrashTracker
from riskwatch.worker.lease import LeaseRenewer
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
_STANDBY_S: Final = 0.5

log = structlog.get_logger("riskwatch.worker")


class Worker:
    """One worker process: everything in it but the consumer.

    Parameters
    ----------
    kind : {"ledger", "risk"}
        Which worker.
    settings : Settings
        From the environment.

    Attributes
    ----------
    topics : tuple of str
        Plain names of the topics that it reads.
    group : str
        Consumer group: all ledger workers are one, a risk worker is by itself, for the lease
        and not the group says which of them works.
    failure : Exception or None
        Why the process has to end.
    """

    def __init__(self, kind: str, settings: ProcessSettings) -> None:
        if kind not in ("ledger", RISK):
            raise ConfigError("command line", "worker", "ledger or risk", kind)
        self.kind = kind
        self.settings = settings
        self.connection = settings.connection
        self.holder = worker_lease.process_holder()
        self.topics = RISK_TOPICS if kind == RISK else LEDGER_TOPICS
        name = f"{settings.topic_prefix}riskwatch-{kind}"
        self.group = f"{name}-{self.holder.replace('/', '-')}" if kind == RISK else name
        self.stop = threading.Event()
        self.failure: Exception | None = None
        self.standing: str | None = "starting"
        self.metrics = Metrics()
        self.retry = Retry(self.stop, self.metrics)
        self._config = bootstrap.configuration(settings.config)
        self._producer = Producer(self.connection, self.retry, self.metrics)
        self._mirror: Mirror | None = None
        if kind == RISK and settings.redis is not None:
            url = settings.redis.get_secret_value()
            self._mirror = Mirror(url, self.metrics, prefix=settings.topic_prefix, clock=wall_us)
        self._dead: str | None = None
        self._mirrored = 0
        self._keeper: LeaseRenewer | None = None
        self._beat_us = 0
        self._audited_us = 0
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
        wait = self.retry.until_done
        self._engine = wait(
            "open", "store", lambda: open_engine(self.settings.database), StoreUnavailableError
        )
        with self._engine.connect() as conn:
            require_current(conn)
        self._store = RetryingStore(SqlStore(self._engine), self.retry)
        self._crashes = CrashTracker(self._engine, self.retry)
        self.desk = PartitionManager(
            self.connection, self.retry, self._unit_of, self._unit, batch=self.settings.batch
        )
        self._check_topics()
        if self.kind == RISK:
            self._stand_by()
            with self._engine.begin() as conn:
                sync_reference(conn, self._config.reference)
            self._keeper = LeaseRenewer(self._engine, RISK, self.settings.lease, self._led)
            self._keeper.start()
        self.standing = None

    def run_once(self) -> bool:
        """Do what is to be done now; whether there is more to do at once."""
        more = self.desk.work()
        self._count()
        if self.kind == RISK:
            self._beat()
            self._audit()
        if self._keeper is not None:
            self._keeper.mark_progress()
        return more

    def close(self) -> None:
        """Give back what this process holds. What is not confirmed stays in the outbox."""
        self.stop.set()
        if self._keeper is not None:
            self._keeper.close()
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
        found = self.retry.until_done(
            "topics",
            "broker",
            lambda: topics.topic_identities(self.connection, TOPICS),
            BrokerError,
        )
        for name, identity in found.items():
            if identity.partitions != TOPICS[name].partitions:
                raise ConfigError(
                    name,
                    "partitions",
                    f"{TOPICS[name].partitions} (see docs/operations.md, repartitioning)",
                    identity.partitions,
                )

    def _stand_by(self) -> None:
        """Wait until the lease is free."""
        told = ""
        wait = self.retry.until_done
        while not wait("lease", "store", self._claim, StoreUnavailableError):
            found = wait(
                "lease",
                "store",
                lambda: lease.lease_state(self._engine, RISK),
                StoreUnavailableError,
            )
            if found is not None and worker_lease.is_dead(found.holder):
                log.info("takes over from the dead", leader=found.holder, epoch=found.epoch)
                self._dead = found.holder
                continue
            if found is not None and found.holder != told:
                told = found.holder
                log.info("stands by", leader=told, epoch=found.epoch)
            self.standing = f"stands by for {told}"
            self.metrics.leader(RISK, None)
            self.retry.pause(_STANDBY_S, "lease")
        log.info("leads", worker=RISK, holder=self.holder)

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

    def _led(self) -> int:
        """Epoch under which this process leads, 0 before its unit is open."""
        unit = self.desk.unit(RISK)
        return 0 if unit is None else unit.epoch

    def _claim(self) -> bool:
        """Take the lease if it ran out, or is that of a process that is known to be dead."""
        return lease.claim_lease(
            self._engine, RISK, self.holder, self.settings.lease, instead_of=self._dead
        )

    def _unit_of(self, partition: Partition) -> str:
        return RISK if self.kind == RISK else f"ledger/{partition[1]}"

    def _unit(self, name: str) -> Unit:
        s = self.settings
        runner = Runner(
            self._store,
            self._pipeline(),
            KafkaPublisher(self._producer),
            worker=name,
            holder=self.holder,
            grid=TickGrid(round(s.tick * SECOND)),
            declares=self._declaration() if self.kind == RISK else None,
        )
        renew_us = round(s.lease * SECOND / 4)
        pace = UnitTiming(
            clock=s.clock,
            batch=s.batch,
            renew_us=renew_us,
            alone=self.kind == RISK,
            linger_us=LINGER_US,
        )
        write = None if self._mirror is None else self._mirror.write
        return Unit(runner, self._crashes, self.metrics, pace, write)

    def _declaration(self) -> ConfigurationRecorder:
        clock = wall_us if self.settings.clock == "wall" else None
        return ConfigurationRecorder(RISK, self._config, clock)

    def _pipeline(self) -> Pipeline:
        make = bootstrap.risk_pipeline if self.kind == RISK else bootstrap.ledger_pipeline
        return make(self._config)

    def _beat(self) -> None:
        """Vouch for the table of scopes, while the unit does its work."""
        now, unit = wall_us(), self.desk.unit(RISK)
        if now - self._beat_us < HEARTBEAT_INTERVAL_US or unit is None or self.ready() is not None:
            return
        table = self.retry.until_done(
            "heartbeat",
            "store",
            lambda: scope_table(self._engine, RISK, unit.epoch),
            StoreUnavailableError,
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
        head = self.retry.until_done(
            "audit",
            "store",
            lambda: audit_head.read_head(self._engine, RISK, unit.epoch, now),
            StoreUnavailableError,
        )
        publisher = KafkaPublisher(self._producer)
        publisher.set_leader(RISK, unit.epoch)
        publisher.publish([audit_head.head_record(head, now)])
        audit_head.log_head(head)
        self._audited_us = now
