"""The two stream workers: the ledger worker and the risk worker, with all their parts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec
import structlog

from riskwatch.config import paths
from riskwatch.config.change import attached_diff
from riskwatch.config.loosened import load_signatures, require_signed
from riskwatch.config.recorder import ConfigurationRecorder, decode_record
from riskwatch.contracts.heartbeat import TOPIC, GuardPolicy, Heartbeat
from riskwatch.contracts.signing import Ed25519Verifier
from riskwatch.contracts.topics import TOPICS
from riskwatch.core.clock import SECOND, moment
from riskwatch.core.enums import State
from riskwatch.core.outputs import ConfigurationChanged, KillSwitchChanged
from riskwatch.engine import audit_head, bootstrap
from riskwatch.engine.clock import LiveClock, TickGrid, wall_us
from riskwatch.engine.ports import SqlStore
from riskwatch.engine.retry import Retry, RetryingStore
from riskwatch.engine.runner import Runner
from riskwatch.errors import ConfigError, StoreError, StoreUnavailableError
from riskwatch.kafka import topics
from riskwatch.kafka.producer import KafkaPublisher, Producer
from riskwatch.store.audit import last_payload
from riskwatch.store.batch import OutboxRecord
from riskwatch.store.current_state import read_current_state
from riskwatch.store.deployment import check_chained
from riskwatch.store.engine import open_engine, translate_errors
from riskwatch.store.headroom import write_headroom
from riskwatch.store.migrate import require_current
from riskwatch.store.reference import sync_reference
from riskwatch.store.row_counts import count_rows
from riskwatch.store.scope_table import count_by_state, record_heartbeat, scope_table
from riskwatch.version import ENGINE
from riskwatch.worker import lease as worker_lease
from riskwatch.worker.crashes import CrashTracker
from riskwatch.worker.deployment import meet_own_broker
from riskwatch.worker.lease import LeaseRenewer, wait_for_lease
from riskwatch.worker.merge import SourceProofs
from riskwatch.worker.metrics import Metrics
from riskwatch.worker.mirror import Mirror
from riskwatch.worker.partitions import PartitionManager
from riskwatch.worker.pretrade import PretradeMaker
from riskwatch.worker.unit import LINGER_US, Unit, UnitTiming

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from riskwatch.contracts.pretrade import PretradeTable
    from riskwatch.core.risk.config import RiskConfig
    from riskwatch.engine.pipeline import Pipeline
    from riskwatch.store.deployment import Deployment
    from riskwatch.store.scope_table import ScopeTable
    from riskwatch.worker.partitions import Partition
    from riskwatch.worker.settings import ProcessSettings


# The heartbeat of the leading risk worker confirms the whole table of scopes for a limited time.
#
# A reader that holds a table with the digest of a valid heartbeat knows the state of every scope;
# a scope that is absent is NORMAL. Without such a heartbeat no state is known.

HEARTBEAT_INTERVAL_US: Final = 15 * SECOND
HEARTBEAT_VALID_US: Final = 60 * SECOND


def guard_policy(config: RiskConfig) -> GuardPolicy:
    """Return the policy that guards follow."""
    closing = config.restriction
    return GuardPolicy(
        outage_reduce_s=config.outage_reduce_s if config.outage_floor is State.HALT else None,
        closing_usd=closing.closing_usd,
        closing_share=closing.closing_share,
        unlisted=config.unlisted,
    )


def make_heartbeat(
    worker: str,
    epoch: int,
    table: ScopeTable,
    now_us: int,
    deployment: str,
    reached_us: int | None = None,
    pretrade: PretradeTable | msgspec.UnsetType = msgspec.UNSET,
    valid_us: int = HEARTBEAT_VALID_US,
    policy: GuardPolicy | None = None,
    names_digest: str = "",
) -> Heartbeat:
    """Return the heartbeat of a deployment for a table that was read under the lease.

    `reached_us` is the time of the worker's last tick, if it is expected to make ticks. `valid_us`
    is how long it is valid: as long as a switch after its decision (`valid_s` of the policy).
    """
    return Heartbeat(
        worker=worker,
        epoch=epoch,
        seq=table.seq,
        digest=table.digest,
        scopes=len(table.states),
        ts=moment(now_us),
        valid_until=moment(now_us + valid_us),
        engine=ENGINE,
        deployment=deployment,
        reached=None if reached_us is None else moment(reached_us),
        pretrade=pretrade,
        restriction_digest=table.restriction_digest,
        policy=policy,
        names_digest=names_digest,
    )


def heartbeat_record(heartbeat: Heartbeat) -> OutboxRecord:
    """Return the record of a heartbeat. It is published without the outbox, as it expires soon."""
    return OutboxRecord(heartbeat.seq, TOPIC, "firm", msgspec.json.encode(heartbeat), heartbeat.ts)


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
    """One worker process without its consumer. A subclass is one kind of worker.

    Parameters
    ----------
    settings : ProcessSettings
        Settings of the process.

    Attributes
    ----------
    kind : str
        Name of the kind.
    topics : tuple of str
        Plain names of the topics that it reads.
    shares_group : bool
        Whether the processes of this kind are one consumer group, which divides the partitions
        among them. Otherwise each process is a group of its own and reads everything, and the
        lease decides which of them works.
    group : str
        Name of the consumer group.
    failure : Exception or None
        Why the process must end.
    clock : LiveClock
        The time that live units may reach.
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
        self.standby_reason: str | None = "starting"
        self.metrics = Metrics()
        self.retry = Retry(self.stop, self.metrics)
        self.clock = LiveClock(round(settings.clock_ahead * SECOND))
        self._config = bootstrap.configuration(settings.config, build_models=self.kind == RISK)
        note = self.clock.note_confirmed
        self._producer = Producer(self.connection, self.retry, self.metrics, note)
        self._mirror: Mirror | None = None
        self._counted_us = 0
        self._engine: Engine
        self._deployment: Deployment
        self._store: RetryingStore
        self._crashes: CrashTracker
        self.partitions: PartitionManager

    def prepare(self) -> None:
        """Wait for the servers, and for the lease if the kind of worker has one.

        Raises
        ------
        StoreError
            If the database has another schema, or belongs to another broker.
        BrokerError
            If a topic is missing.
        ConfigError
            If a topic has another number of partitions.
        StoppedError
            If the process is asked to stop meanwhile.
        """
        self._engine = self.retry.ask_store("open", lambda: open_engine(self.settings.database))
        with self._engine.connect() as conn:
            require_current(conn)
        self._store = RetryingStore(SqlStore(self._engine), self.retry)
        self._crashes = CrashTracker(self._engine, self.retry)
        self.partitions = PartitionManager(
            self.connection,
            self.retry,
            self.unit_of,
            self._unit,
            batch=self.settings.batch,
            clock=self.clock.process_us,
            live=self.clock,
        )
        self._meet_broker()
        self._check_topics()
        self._lead()
        self.standby_reason = None

    def run_once(self) -> bool:
        """Run one iteration, and return whether there is more to do at once."""
        more = self.partitions.work()
        self._update_row_counts()
        return more

    def close(self) -> None:
        """Release leases and connections. Records that are not confirmed stay in the outbox."""
        self.stop.set()
        self.partitions.close()
        if self._mirror is not None:
            self._mirror.close()
        self._producer.close()
        self._engine.dispose()

    def ready(self) -> str | None:
        """Return why this process is not ready; ``None`` if it is."""
        return self.standby_reason or self.partitions.not_ready_reason()

    def live(self) -> str | None:
        """Return why this process should end; ``None`` if it should not."""
        return None if self.failure is None else str(self.failure)

    def _meet_broker(self) -> None:
        """Read the deployment of the database, and raise if the broker is not its own."""
        self._deployment = meet_own_broker(self._engine, self.connection, self.retry)[0]

    def _check_topics(self) -> None:
        """Raise if a topic is missing, or has another number of partitions."""
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

    def _update_row_counts(self) -> None:
        """Set the metrics of row counts at intervals; try later if the database is down."""
        now = self.clock.process_us()
        if now - self._counted_us < HEARTBEAT_INTERVAL_US:
            return
        self._counted_us = now
        try:
            found = count_rows(self._engine, self.partitions.names)
        except StoreUnavailableError as error:
            log.warning("rows were not counted", error=str(error))
            return
        for (worker, stage), (rows, size) in found.state.items():
            self.metrics.state(worker, stage, rows, size)
        for worker, waits in found.outbox.items():
            self.metrics.outbox(worker, waits)

    @abstractmethod
    def unit_of(self, partition: Partition) -> str:
        """Return the name of the unit that a partition belongs to."""

    @abstractmethod
    def pipeline(self) -> Pipeline:
        """Return the pipeline of one unit, with empty states."""

    @abstractmethod
    def _lead(self) -> None:
        """Become the leader, if only one process may open units."""

    def _publisher(self) -> KafkaPublisher:
        """Return a publisher whose records name the deployment."""
        return KafkaPublisher(self._producer, self._deployment.id)

    def _recorder(self) -> ConfigurationRecorder | None:
        """Return the recorder of the configuration, whose outputs come first; ``None`` for none."""
        return None

    def _unit(self, name: str) -> Unit:
        s = self.settings
        runner = Runner(
            self._store,
            self.pipeline(),
            self._publisher(),
            worker=name,
            holder=self.holder,
            grid=TickGrid(round(s.tick * SECOND)),
            recorder=self._recorder(),
        )
        renew_us = round(s.lease * SECOND / 4)
        timing = UnitTiming(
            clock=s.clock,
            batch=s.batch,
            renew_us=renew_us,
            alone=not self.shares_group,
            linger_us=LINGER_US,
            lag_us=round(s.tick_lag * SECOND),
        )
        write = None if self._mirror is None else self._mirror.write
        live = self.clock if s.clock == "wall" else None
        keys = self._config.policy.risk.source_keys or {} if live is not None else {}
        proofs = SourceProofs(keys, self.connection.topic, self._deployment.id)
        intake = self._config.policy.intake
        return Unit(runner, self._crashes, self.metrics, timing, write, live, proofs, intake)


class LedgerWorker(Worker):
    """The worker of fills and balances: one unit per partition, any number of processes."""

    kind = "ledger"
    topics = LEDGER_TOPICS
    shares_group = True

    def unit_of(self, partition: Partition) -> str:
        """Return the name of the unit of a partition."""
        return f"ledger/{partition[1]}"

    def pipeline(self) -> Pipeline:
        """Return the pipeline of one unit."""
        return bootstrap.ledger_pipeline(self._config, live=self.settings.clock == "wall")

    def _lead(self) -> None:
        """Do nothing: the consumer group assigns the partitions."""


class RiskWorker(Worker):
    """The worker of market and risk, in one unit; one process leads, the others stand by.

    The leader publishes heartbeats and heads of the audit chain, and fills the mirror.
    """

    kind = RISK
    topics = RISK_TOPICS
    shares_group = False

    def __init__(self, settings: ProcessSettings) -> None:
        super().__init__(settings)
        if settings.redis is not None:
            url = settings.redis.get_secret_value()
            self._mirror = Mirror(
                url, self.metrics, prefix=settings.topic_prefix, clock=self._present_us
            )
        self._mirrored_epoch = 0
        self._publishes_table = False
        self._renewer: LeaseRenewer | None = None
        self._heartbeat_us = 0
        self._withheld = ""
        self._pretrade: PretradeMaker | None = None
        self._audited_us = 0
        self._signed_by: list[str] = []
        self._policy_diff = ""

    def unit_of(self, partition: Partition) -> str:
        """Return the name of the single unit."""
        del partition
        return RISK

    def pipeline(self) -> Pipeline:
        """Return the pipeline of the unit."""
        return bootstrap.risk_pipeline(self._config, self._deployment.id)

    def run_once(self) -> bool:
        """Run one iteration, and return whether there is more to do at once."""
        more = super().run_once()
        self._publish_heartbeat()
        self._publish_audit_head()
        if self._renewer is not None:
            self._renewer.mark_progress()
        return more

    def close(self) -> None:
        """Stop the renewal of the lease, and release everything."""
        self.stop.set()
        if self._renewer is not None:
            self._renewer.close()
        super().close()

    def _lead(self) -> None:
        """Wait for the lease, and renew it from then on."""
        self._require_signed_limits()
        wait_for_lease(
            self._engine, RISK, self.holder, self.settings.lease, self.retry, self._on_standby
        )
        self._meet_broker()  # the id may have changed while this process stood by
        with self._engine.begin() as conn:
            if fault := check_chained(conn, RISK):
                raise StoreError(fault)
            sync_reference(conn, self._config.reference)
            recorded = last_payload(conn, RISK, ConfigurationChanged)
        self._require_signed_limits()  # another process may have recorded others meanwhile
        self._config = bootstrap.confirmed(self._config, recorded)
        if self.settings.clock == "wall":
            self._config = bootstrap.proven(self._config, recorded)
        self._pretrade = PretradeMaker(self._config)
        self._renewer = LeaseRenewer(self._engine, RISK, self.settings.lease, self._lead_epoch)
        self._renewer.start()

    def _meet_broker(self) -> None:
        """Read the deployment; a broker that is new to it gets the whole table of scopes."""
        self._deployment, first = meet_own_broker(self._engine, self.connection, self.retry)
        self._publishes_table = self._publishes_table or first

    def _require_signed_limits(self) -> None:
        """Refuse to go on if limits are looser than the recorded ones and nobody signed that."""
        if self.settings.clock != "wall":
            return  # a replay through the workers decides nothing that anybody obeys
        recorded = self.retry.ask_store("configuration", self._recorded)
        folder = self.settings.config or paths.rules_folder()
        self._policy_diff = attached_diff(folder, self._config)
        self._signed_by = require_signed(
            self._config,
            decode_record(recorded),
            load_signatures(folder),
            Ed25519Verifier(self._config.operators),
            self._deployment.id,
        )

    def _recorded(self) -> bytes | None:
        """Return the configuration that the last leader recorded."""
        with translate_errors("the configuration cannot be read"), self._engine.connect() as conn:
            return last_payload(conn, RISK, ConfigurationChanged)

    def _on_standby(self, leader: str) -> None:
        self.standby_reason = f"stands by for {leader}"
        self.metrics.leader(RISK, None)

    def _lead_epoch(self) -> int:
        """Return the epoch under which this process leads; 0 before its unit is open."""
        unit = self.partitions.unit(RISK)
        return 0 if unit is None else unit.epoch

    def _recorder(self) -> ConfigurationRecorder:
        clock = self._present_us if self.settings.clock == "wall" else None
        return ConfigurationRecorder(
            RISK,
            self._config,
            clock,
            self._deployment.id,
            tuple(self._signed_by),
            self._policy_diff,
        )

    def _present_us(self) -> int:
        """Return the time of the clock, or the wall time while the broker's time is not known."""
        return self.clock.now() or wall_us()

    def _is_vouchable(self, unit: Unit, live_us: int) -> bool:
        """Whether ticks pass, so that a heartbeat is true; log once why they do not."""
        fault = unit.tick_fault(live_us) or ""
        ahead_s = self.clock.ahead_us() / SECOND
        if not fault and unit.reached_us is not None and ahead_s > self.settings.tick_lag:
            fault = f"the clock of this machine is {ahead_s:.0f} s ahead of the broker's"
        # The text has the time in it: log the first one only.
        if bool(fault) != bool(self._withheld):
            log.warning("heartbeats stop" if fault else "heartbeats go on", why=fault or None)
        self._withheld = fault
        return not fault

    def _publish_heartbeat(self) -> None:
        """Publish a heartbeat at intervals, while this process is ready and its ticks pass."""
        elapsed, unit = self.clock.process_us(), self.partitions.unit(RISK)
        is_due = elapsed - self._heartbeat_us >= HEARTBEAT_INTERVAL_US
        if not is_due or unit is None or self.ready() is not None:
            return
        live_us = self.clock.now()
        if not self._is_vouchable(unit, live_us):
            return
        now = self._present_us()
        table = self.retry.ask_store(
            "heartbeat", lambda: scope_table(self._engine, RISK, unit.epoch)
        )
        policy, reached_us = guard_policy(self._config.policy.risk), unit.reached_us
        own, limits = self._deployment.id, self._pretrade_table(unit, now)
        valid_us = round(self._config.policy.risk.valid_s * SECOND)
        names = self._config.name_table.digest
        beat = make_heartbeat(
            RISK, unit.epoch, table, now, own, reached_us, limits, valid_us, policy, names
        )
        record = heartbeat_record(beat)
        publisher = self._publisher()
        publisher.set_leader(RISK, unit.epoch)
        if self._publishes_table:
            self._publish_table(publisher, unit.epoch)
        publisher.publish([record])
        if self._mirror is not None:
            if self._mirrored_epoch != unit.epoch:
                self._mirrored_epoch = unit.epoch
                self._mirror.refresh(self._engine, RISK, unit.epoch)
            self._mirror.heartbeat(record.value, valid_us / SECOND)
        self.retry.ask_store("heartbeat", lambda: record_heartbeat(self._engine, beat))
        self.metrics.scopes({State(s): n for s, n in count_by_state(table.states).items()})
        self._heartbeat_us = elapsed

    def _publish_table(self, publisher: KafkaPublisher, epoch: int) -> None:
        """Publish the present switch of every scope, under the present deployment."""
        found = self.retry.ask_store("table", lambda: read_current_state(self._engine, RISK, epoch))
        switches = [r for r in found.records if r.topic == KillSwitchChanged.topic]
        publisher.publish(switches)
        self._publishes_table = False
        log.info("published the table of scopes", scopes=len(switches))

    def _pretrade_table(self, unit: Unit, now: int) -> PretradeTable | msgspec.UnsetType:
        """Measure and grant headroom, if the policy names clients; store what is granted."""
        if self._pretrade is None or not self._pretrade.on:
            return msgspec.UNSET
        made = self._pretrade.table(unit.states[RISK], unit.epoch, now)
        rows = self._pretrade.rows(made)
        self.retry.ask_store(
            "headroom", lambda: write_headroom(self._engine, (RISK, unit.epoch), rows)
        )
        return made

    def _publish_audit_head(self) -> None:
        """Publish the head of the audit chain at intervals, while this process leads."""
        elapsed, unit = self.clock.process_us(), self.partitions.unit(RISK)
        is_due = elapsed - self._audited_us >= audit_head.HEAD_INTERVAL_US
        if not is_due or unit is None or unit.epoch == 0:
            return
        now = self._present_us()
        head = self.retry.ask_store(
            "audit",
            lambda: audit_head.read_head(self._engine, RISK, unit.epoch, now, self._deployment.id),
        )
        publisher = self._publisher()
        publisher.set_leader(RISK, unit.epoch)
        publisher.publish([audit_head.head_record(head, now)])
        audit_head.log_head(head)
        self._audited_us = elapsed
