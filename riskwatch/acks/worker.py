"""The worker ``clients``: it stores acknowledgements, and raises alerts about late clients.

It is separate from the workers that decide: its data is telemetry by the wall clock, and no
decision may depend on it. It reads compacted topics from their beginning, so it stores no
offsets. Its outputs take the path of all outputs: lease, transaction and outbox, under its own
name.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from kafka import TopicPartition
from kafka.errors import KafkaError, RetriableError
from prometheus_client import CollectorRegistry, Gauge, Histogram

from riskwatch.acks import drills
from riskwatch.acks.acknowledgements import LATE_S, Acknowledgements
from riskwatch.acks.drills import DrillEvaluator, drill_row
from riskwatch.config import paths
from riskwatch.config.config import load_policy
from riskwatch.contracts.acks import ACKS, DRILL_KEY, DRILLS, Ack, decode_ack
from riskwatch.contracts.kafka_clients import open_consumer
from riskwatch.contracts.outputs import decode_output
from riskwatch.contracts.topics import SEQ
from riskwatch.core.clock import SECOND, micros, moment
from riskwatch.core.enums import Cause, State
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    DrillSignalled,
    KillSwitchChanged,
    Origin,
)
from riskwatch.engine.clock import wall
from riskwatch.errors import BrokerError
from riskwatch.kafka.producer import KafkaPublisher, Producer
from riskwatch.store import clients as table
from riskwatch.store import drills as stored_drills
from riskwatch.store.batch import Batch, SequencedOutput
from riskwatch.store.transaction import commit, pending_records
from riskwatch.worker.standby import StandbyWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from riskwatch.acks.acknowledgements import LateClient
    from riskwatch.acks.drills import DrillAlert
    from riskwatch.core.outputs import Output
    from riskwatch.worker.settings import ProcessSettings


CLIENT_METRIC_LABELS: Final[dict[str, tuple[str, ...]]] = {
    "riskwatch_clients": (),
    "riskwatch_clients_late": ("client",),
    "riskwatch_client_ack_seconds": ("client",),
    "riskwatch_drills_overdue": ("scope",),
}
"""Labels of the metrics, by the names that queries use."""
ACK_BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60)


class ClientMetrics:
    """The metrics of order paths and drills.

    Parameters
    ----------
    registry : CollectorRegistry
        Registry of the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, about: str) -> Gauge:
            return Gauge(name, about, CLIENT_METRIC_LABELS[name], registry=registry)

        self._known = gauge("riskwatch_clients", "Order paths that are expected to obey.")
        self._late = gauge(
            "riskwatch_clients_late", "Scopes at HALT that a client did not apply in time."
        )
        self._overdue = gauge(
            "riskwatch_drills_overdue", "1 where a drill failed, or was not run when it was due."
        )
        name = "riskwatch_client_ack_seconds"
        self._times = Histogram(
            name, "From a kill message to the word of a client.", CLIENT_METRIC_LABELS[name],
            registry=registry, buckets=ACK_BUCKETS,
        )  # fmt: skip

    def observe_ack(self, client: str, seconds: float) -> None:
        """Record the time from the publication of a switch to its acknowledgement, seconds."""
        self._times.labels(client).observe(seconds)

    def set_clients(self, known: int, late: dict[str, int], overdue: Iterable[str]) -> None:
        """Set the expected clients, the late scopes of each, and the scopes with overdue drills."""
        self._known.set(known)
        self._late.clear()
        for client, scopes in late.items():
            self._late.labels(client).set(scopes)
        self._overdue.clear()
        for scope in overdue:
            self._overdue.labels(scope).set(1)


WORKER: Final = "clients"
"""Name of the worker."""
LATE_ALERT_PREFIX: Final = "client:"
"""Prefix of the keys of alerts about late clients."""


def late_alert_key(late: LateClient) -> str:
    """Return the key of the alert that a client is late with a scope."""
    return f"{LATE_ALERT_PREFIX}{late.client}|{late.scope}"


def late_alert(late: LateClient, us: int) -> AlertRaised:
    """Return the alert that a client did not apply a HALT in time."""
    waited = us / SECOND - late.published.timestamp()
    return _alert(
        late_alert_key(late),
        f"{WORKER}/{us}/{late.decision_id}",
        us,
        scope=late.scope,
        severity=State.HALT,
        title=f"{late.client} did not apply the HALT of {late.scope}",
        reasons=[late.why, f"it was told {waited:.1f} s ago"],
        decision_id=late.decision_id,
    )


def drill_alert(key: str, alert: DrillAlert, us: int) -> AlertRaised:
    """Return the alert that a drill failed, or was not run."""
    return _alert(
        key,
        f"{WORKER}/{us}/{key}",
        us,
        scope=alert.scope,
        severity=State.WATCH,
        title=alert.title,
        reasons=list(alert.reasons),
    )


def _alert(key: str, cause: str, us: int, **fields: Any) -> AlertRaised:
    """Return an alert of this worker, which knows neither a cause nor an exposure."""
    return AlertRaised(
        **Origin(cause, moment(us)).stamp(AlertRaised, key),
        alert=key,
        cause=Cause.UNKNOWN,
        exposure_usd=Decimal(0),
        **fields,
    )


def alert_resolution(key: str, scope: str, opened: str, us: int) -> AlertResolved:
    """Return the resolution of an alert whose reason is gone."""
    origin = Origin(opened, moment(us), f"{opened}/{us}")
    return AlertResolved(
        **origin.stamp(AlertResolved, key),
        alert=key,
        scope=scope,
        opened_id=opened,
    )


SWITCH_TOPIC: Final = "riskwatch.killswitch"
RETENTION: Final = timedelta(days=400)
"""Time for which acknowledgement times are stored."""
_POLL_MS: Final = 100
_WRITE: Final = timedelta(seconds=1)
_ASK_MS: Final = 10_000
_BATCH: Final = 1_000
_DAY: Final = timedelta(days=1)

log = structlog.get_logger("riskwatch.clients")


class AckWorker(StandbyWorker):
    """Stores acknowledgements and drills, and raises alerts about them.

    Parameters
    ----------
    settings : ProcessSettings
        Settings of the process.
    late_s : float
        Time that a client has to apply a HALT, seconds.
    now : callable
        Returns the time.
    """

    def __init__(
        self, settings: ProcessSettings, late_s: float = LATE_S, now: Callable[[], datetime] = wall
    ) -> None:
        super().__init__(WORKER, settings, now)
        self.acks = Acknowledgements(late_s)
        plans = load_policy(settings.config or paths.rules_folder()).risk.drills
        self.evaluator = DrillEvaluator(self.acks, plans)
        self._producer = Producer(self.connection, self.retry, self.metrics)
        self._publisher: KafkaPublisher
        self._consumer: Any = None
        self._behind: dict[TopicPartition, int] = {}
        self._open: dict[str, tuple[str, str]] = {}
        self._ended_clients: list[str] = []
        self._written = self._swept = datetime(1970, 1, 1, tzinfo=UTC)
        self._client_metrics = ClientMetrics(self.metrics.registry)

    def run_once(self) -> None:
        """Read records, evaluate drills, update alerts and write the tables."""
        self._poll()
        if self._behind:
            return  # late clients are known only after the topics were read to their end
        now = self._now()
        self._store_drills(now)
        self._update_alerts(now)
        if now - self._written >= _WRITE:
            self._written = now
            self._write(now)
        if now - self._swept >= _DAY:
            self._swept = now
            self._wait(lambda: table.forget_acks(self._engine, now - RETENTION))

    def ready(self) -> str | None:
        """Return why this process is not ready; ``None`` if it is."""
        return self.standby_reason or ("reads what was said before" if self._behind else None)

    def _begin(self) -> None:
        self._publisher = KafkaPublisher(self._producer, self.deployment)
        self._publisher.set_leader(WORKER, self._resumed.epoch)
        self._publish()
        for prefix in (LATE_ALERT_PREFIX, drills.DRILL_ALERT_PREFIX):
            self._open |= self._wait(partial(table.open_alerts, self._engine, prefix))
        with self._engine.connect() as conn:
            self.evaluator.load(conn, self._now())
        self.retry.ask_broker("open", self._follow)

    def _end(self) -> None:
        if self._consumer is not None:
            with suppress(KafkaError):
                self._consumer.close(autocommit=False, timeout_ms=1_000)
        self._producer.close()

    def _follow(self) -> None:
        """Open a consumer at the beginning of all topics."""
        self._consumer = consumer = open_consumer(self.connection, _ASK_MS / 1_000)
        try:
            names = (SWITCH_TOPIC, ACKS, DRILLS)
            parts = [TopicPartition(self.connection.topic(name), 0) for name in names]
            consumer.assign(parts)
            first = consumer.beginning_offsets(parts, timeout_ms=_ASK_MS)
            ends = consumer.end_offsets(parts, timeout_ms=_ASK_MS)
        except KafkaError as error:
            raise BrokerError(f"{self.connection.servers}: {error}") from error
        for part in parts:
            consumer.seek(part, first[part])
        self._behind = {part: end for part, end in ends.items() if end > first[part]}

    def _poll(self) -> None:
        try:
            polled = self._consumer.poll(_POLL_MS)
        except RetriableError:
            self.metrics.up("broker", ok=False)
            self.retry.pause(_POLL_MS / 1_000, "broker")
            return
        except KafkaError as error:
            raise BrokerError(f"{self.connection.servers}: {error}") from error
        takers = {SWITCH_TOPIC: self._take_switch, ACKS: self._take_ack, DRILLS: self._take_signal}
        for part, records in polled.items():
            take = takers[self.connection.plain(part.topic)]
            for record in records:
                take(record, moment(max(0, record.timestamp) * 1_000))
        for part, end in list(self._behind.items()):
            if self._consumer.position(part) >= end:
                del self._behind[part]

    def _take_switch(self, record: Any, at: datetime) -> None:
        seq = next((int(v) for k, v in record.headers if k == SEQ and v.isdigit()), 0)
        with suppress(ValueError):  # clients treat it as a HALT, and acknowledge that
            output = decode_output(record.value or b"")
            if isinstance(output, KillSwitchChanged):
                self.acks.add_switch(output, seq, at)

    def _take_ack(self, record: Any, at: datetime) -> None:
        if record.value is None:
            client = (record.key or b"").decode(errors="replace")
            self.acks.forget(client)
            self._ended_clients.append(client)
            return
        try:
            ack = decode_ack(record.value)
        except ValueError as error:
            log.warning("an acknowledgement cannot be read", offset=record.offset, why=str(error))
            return
        if not isinstance(ack, Ack):
            if record.key == f"{ack.client}{DRILL_KEY}".encode():
                self.evaluator.add_answer(ack, at)
        elif record.key == ack.client.encode():
            self.acks.add_ack(ack, at)

    def _take_signal(self, record: Any, at: datetime) -> None:
        del at
        with suppress(ValueError):  # not a signal
            output = decode_output(record.value or b"")
            if isinstance(output, DrillSignalled):
                self.evaluator.add_signal(output, self._now())

    def _store_drills(self, now: datetime) -> None:
        """Store the reports of drills that ended."""
        for report in self._wait(lambda: self.evaluator.evaluate(self._engine, now)):
            row, place = drill_row(report), (WORKER, self._resumed.epoch)
            self._wait(partial(stored_drills.write_drill, self._engine, place, row))
            self.evaluator.mark_evaluated(report)
            log.info("drill", id=report.id, outcome=report.outcome, problems=report.problems)

    def _update_alerts(self, now: datetime) -> None:
        """Raise alerts about late clients and drills, and resolve those whose reason is gone."""
        late = {late_alert_key(found): found for found in self.acks.late_clients(now)}
        wrong = self.evaluator.due_alerts()
        us = micros(now)
        outputs: list[Output] = [
            late_alert(found, us) for key, found in sorted(late.items()) if key not in self._open
        ]
        outputs += [
            drill_alert(key, found, us)
            for key, found in sorted(wrong.items())
            if key not in self._open
        ]
        outputs += [
            alert_resolution(key, scope, opened, us)
            for key, (scope, opened) in sorted(self._open.items())
            if key not in late and key not in wrong
        ]
        if outputs:
            self._commit(outputs, us)

    def _commit(self, outputs: list[Output], us: int) -> None:
        resumed = self._resumed
        places = [SequencedOutput(resumed.next_seq + n, output) for n, output in enumerate(outputs)]
        resumed.counts.read += len(outputs)
        resumed.counts.applied += len(outputs)
        batch = Batch(
            WORKER,
            resumed.epoch,
            outputs=places,
            counts=resumed.counts,
            us=max(us, resumed.us),
            relay=True,
        )
        self._wait(lambda: commit(self._engine, batch))
        resumed.next_seq += len(outputs)
        resumed.us = batch.us
        self._publish()
        for output in outputs:
            if isinstance(output, AlertRaised):
                self._open[output.alert] = (output.scope, output.id)
                log.warning("alert", alert=output.alert, why=output.reasons)
            elif isinstance(output, AlertResolved):
                del self._open[output.alert]

    def _publish(self) -> None:
        """Publish the records of the outbox, and record that in the store."""
        while waiting := self._wait(lambda: pending_records(self._engine, WORKER, _BATCH)):
            self._publisher.publish(waiting)
            upto = waiting[-1].seq
            resumed = self._resumed
            done = Batch(
                WORKER, resumed.epoch, counts=resumed.counts, us=resumed.us, published_seq=upto
            )
            self._wait(partial(commit, self._engine, done))

    def _write(self, now: datetime) -> None:
        times, rows, gone = self.acks.new_ack_times(), self.acks.rows(now), self._ended_clients
        place = (WORKER, self._resumed.epoch)
        self._wait(lambda: table.write_clients(self._engine, place, rows, times, gone))
        self._ended_clients = []
        for client, *_, seconds in times:
            self._client_metrics.observe_ack(client, seconds)
        known = sum(not received.ack.ended for received in self.acks.received.values())
        late = {client: len(scopes) for client, *_, scopes in rows}
        self._client_metrics.set_clients(
            known, late, {alert.scope for alert in self.evaluator.due_alerts().values()}
        )
