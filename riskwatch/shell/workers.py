"""The two workers on Kafka, put together: what each reads, runs, publishes and answers for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import structlog

from riskwatch.contracts.topics import TOPICS
from riskwatch.core.clock import SECOND
from riskwatch.core.reasons import State
from riskwatch.errors import ConfigError, StoreUnavailableError
from riskwatch.shell import audit_head, bootstrap, holder, topology
from riskwatch.shell.clockwork import Grid
from riskwatch.shell.configured import Declaration
from riskwatch.shell.crashes import CrashBook
from riskwatch.shell.desk import Desk
from riskwatch.shell.heartbeat import EVERY_US, VALID_US, as_record, heartbeat
from riskwatch.shell.keeper import Keeper
from riskwatch.shell.metrics import Metrics
from riskwatch.shell.mirror import Mirror
from riskwatch.shell.pace import LINGER_US, Pace
from riskwatch.shell.ports import SqlStore
from riskwatch.shell.relay import KafkaPublisher, Producer
from riskwatch.shell.runner import Runner
from riskwatch.shell.unit import Unit
from riskwatch.shell.waiting import Patience, PatientStore
from riskwatch.shell.wall import wall_us
from riskwatch.store import lease
from riskwatch.store.census import census
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import require_current
from riskwatch.store.reference import sync_reference
from riskwatch.store.table import by_state, scope_table

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.shell.desk import Partition
    from riskwatch.shell.pipeline import Pipeline
    from riskwatch.shell.settings import Settings

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

    def __init__(self, kind: str, settings: Settings) -> None:
        if kind not in ("ledger", RISK):
            raise ConfigError("command line", "worker", "ledger or risk", kind)
        self.kind = kind
        self.settings = settings
        self.connection = settings.connection
        self.holder = holder.own()
        self.topics = RISK_TOPICS if kind == RISK else LEDGER_TOPICS
        name = f"{settings.topic_prefix}riskwatch-{kind}"
        self.group = f"{name}-{self.holder.replace('/', '-')}" if kind == RISK else name
        self.stop = threading.Event()
        self.failure: Exception | None = None
        self.standing: str | None = "starting"
        self.metrics = Metrics()
        self.patience = Patience(self.stop, self.metrics)
        self._config = bootstrap.configuration(settings.config)
        self._producer = Producer(self.connection, self.patience, self.metrics)
        self._mirror: Mirror | None = None
        if kind == RISK and settings.redis is not None:
            url = settings.redis.get_secret_value()
            self._mirror = Mirror(url, self.metrics, prefix=settings.topic_prefix, clock=wall_us)
        self._dead: str | None = None
        self._mirrored = 0
        self._keeper: Keeper | None = None
        self._beat_us = 0
        self._audited_us = 0
        self._counted_us = 0
        self._engine: Engine
        self._store: PatientStore
        self._crashes: CrashBook
        self.desk: Desk

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
        ask = self.patience.ask_store
        self._engine = ask("open", lambda: open_engine(self.settings.database))
        with self._engine.connect() as conn:
            require_current(conn)
        self._store = PatientStore(SqlStore(self._engine), self.patience)
        self._crashes = CrashBook(self._engine, self.patience)
        self.desk = Desk(
            self.connection, self.patience, self._unit_of, self._unit, batch=self.settings.batch
        )
        self._check_topics()
        if self.kind == RISK:
            self._stand_by()
            with self._engine.begin() as conn:
                sync_reference(conn, self._config.reference)
            self._keeper = Keeper(self._engine, RISK, self.settings.lease, self._led)
            self._keeper.start()
        self.standing = None

    def turn(self) -> bool:
        """Do what is to be done now; whether there is more to do at once."""
        more = self.desk.work()
        self._count()
        if self.kind == RISK:
            self._beat()
            self._audit()
        if self._keeper is not None:
            self._keeper.turned()
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
        return self.standing or self.desk.waiting_for()

    def live(self) -> str | None:
        """Why this process should be ended; ``None`` if it should not."""
        return None if self.failure is None else str(self.failure)

    def _check_topics(self) -> None:
        """Refuse to begin where a topic is missing, or has another number of partitions."""
        found = self.patience.ask_broker(
            "topics", lambda: topology.identities(self.connection, TOPICS)
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
        ask = self.patience.ask_store
        while not ask("lease", self._claim):
            found = ask("lease", lambda: lease.standing(self._engine, RISK))
            if found is not None and holder.is_dead(found.holder):
                log.info("takes over from the dead", leader=found.holder, epoch=found.epoch)
                self._dead = found.holder
                continue
            if found is not None and found.holder != told:
                told = found.holder
                log.info("stands by", leader=told, epoch=found.epoch)
            self.standing = f"stands by for {told}"
            self.metrics.leader(RISK, None)
            self.patience.pause(_STANDBY_S, "lease")
        log.info("leads", worker=RISK, holder=self.holder)

    def _count(self) -> None:
        """Tell now and then how much is kept; a database that is away is asked later."""
        now = wall_us()
        if now - self._counted_us < EVERY_US:
            return
        self._counted_us = now
        try:
            found = census(self._engine, self.desk.names)
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
        return lease.claim(
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
            grid=Grid(round(s.tick * SECOND)),
            declares=self._declaration() if self.kind == RISK else None,
        )
        renew_us = round(s.lease * SECOND / 4)
        pace = Pace(
            clock=s.clock,
            batch=s.batch,
            renew_us=renew_us,
            alone=self.kind == RISK,
            linger_us=LINGER_US,
        )
        write = None if self._mirror is None else self._mirror.write
        return Unit(runner, self._crashes, self.metrics, pace, write)

    def _declaration(self) -> Declaration:
        clock = wall_us if self.settings.clock == "wall" else None
        return Declaration(RISK, self._config, clock)

    def _pipeline(self) -> Pipeline:
        make = bootstrap.risk_pipeline if self.kind == RISK else bootstrap.ledger_pipeline
        return make(self._config)

    def _beat(self) -> None:
        """Vouch for the table of scopes, while the unit does its work."""
        now, unit = wall_us(), self.desk.unit(RISK)
        if now - self._beat_us < EVERY_US or unit is None or self.ready() is not None:
            return
        table = self.patience.ask_store(
            "heartbeat", lambda: scope_table(self._engine, RISK, unit.epoch)
        )
        record = as_record(heartbeat(RISK, unit.epoch, table, now))
        publisher = KafkaPublisher(self._producer)
        publisher.lead(RISK, unit.epoch)
        publisher.publish([record])
        if self._mirror is not None:
            if self._mirrored != unit.epoch:
                self._mirrored = unit.epoch
                self._mirror.refresh(self._engine, RISK, unit.epoch)
            self._mirror.heartbeat(record.value, VALID_US / SECOND)
        self.metrics.scopes({State(s): n for s, n in by_state(table.states).items()})
        self._beat_us = now

    def _audit(self) -> None:
        """Tell how far the audit chain reaches, as long as this process leads."""
        now, unit = wall_us(), self.desk.unit(RISK)
        if now - self._audited_us < audit_head.EVERY_US or unit is None or unit.epoch == 0:
            return
        head = self.patience.ask_store(
            "audit", lambda: audit_head.read_head(self._engine, RISK, unit.epoch, now)
        )
        publisher = KafkaPublisher(self._producer)
        publisher.lead(RISK, unit.epoch)
        publisher.publish([audit_head.as_record(head, now)])
        audit_head.tell(head)
        self._audited_us = now
