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
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from riskwatch.acks import drills
from riskwatch.acks.acknowledgements import LATE_S, Acknowledgements
from riskwatch.acks.boundary import STREAM, AckBoundary, AckRecord, Forget, RefusedRecords
from riskwatch.acks.drills import DrillEvaluator, drill_row
from riskwatch.config import paths
from riskwatch.config.config import load_policy
from riskwatch.contracts.acks import ACKS, DRILLS, Ack, DrillAck
from riskwatch.contracts.kafka_clients import open_consumer
from riskwatch.contracts.outputs import decode_output
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.topics import DEPLOYMENT, SEQ
from riskwatch.contracts.validation import EARLIEST, LATEST
from riskwatch.core.clock import SECOND, micros, moment
from riskwatch.core.deployment import UNBOUND
from riskwatch.core.enums import Cause, State
from riskwatch.core.outputs import (
    AlertRaised,
    AlertResolved,
    AnyOutput,
    DrillSignalled,
    KillSwitchChanged,
    Origin,
)
from riskwatch.core.scopes import FIRM
from riskwatch.engine.clock import wall
from riskwatch.errors import BrokerError
from riskwatch.kafka.producer import KafkaPublisher, Producer
from riskwatch.store import clients as table
from riskwatch.store import drills as stored_drills
from riskwatch.store.batch import Batch, SequencedOutput
from riskwatch.store.dead_letters import dead_letter_positions
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
    "riskwatch_client_records_refused": (),
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
        name = "riskwatch_client_records_refused"
        self._refused = Counter(
            name, "Records of clients that were refused.",
            CLIENT_METRIC_LABELS[name], registry=registry,
        )  # fmt: skip
        name = "riskwatch_client_ack_seconds"
        self._times = Histogram(
            name, "From a kill message to the word of a client.", CLIENT_METRIC_LABELS[name],
            registry=registry, buckets=ACK_BUCKETS,
        )  # fmt: skip

    def observe_ack(self, client: str, seconds: float) -> None:
        """Record the time from the publication of a switch to its acknowledgement, seconds."""
        self._times.labels(client).observe(seconds)

    def count_refused(self) -> None:
        """Count a record of a client that was refused."""
        self._refused.inc()

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


MAX_LATE_ALERTS: Final = 100
"""Most open alerts about late clients; one alert counts all further ones."""
MORE_LATE: Final = f"{LATE_ALERT_PREFIX}*|late"
REFUSED: Final = f"{LATE_ALERT_PREFIX}*|refused"
"""Keys of the alerts about all clients; no client is called ``*``."""


def late_alerts(found: Iterable[LateClient], us: int) -> dict[str, AlertRaised]:
    """Return the alerts about late clients by key: one each, and one about all beyond the bound.

    Clients that are listed first get an alert of their own. So whoever invents clients that never
    apply a HALT causes one page and not thousands.
    """
    late = list(found)
    alerts = {late_alert_key(each): late_alert(each, us) for each in late[:MAX_LATE_ALERTS]}
    more = late[MAX_LATE_ALERTS:]
    if more:
        alerts[MORE_LATE] = _alert(
            MORE_LATE,
            f"{WORKER}/{us}/{MORE_LATE}",
            us,
            scope=FIRM,
            severity=State.HALT,
            title="further clients did not apply a HALT",
            reasons=[f"{len(more)} more, such as {more[0].client} ({more[0].scope})"],
        )
    return alerts


def refused_alert(reason: str, us: int) -> AlertRaised:
    """Return the alert that records of clients are refused."""
    return _alert(
        REFUSED,
        f"{WORKER}/{us}/{REFUSED}",
        us,
        scope=FIRM,
        severity=State.WATCH,
        title=f"records on {ACKS} are refused",
        reasons=[reason, "riskwatch dlq list --worker clients"],
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


_SEQ_DIGITS: Final = 18


def arrival(timestamp_ms: int) -> datetime:
    """Return the broker's time of a record; within the range of events, whatever it says."""
    return moment(min(max(timestamp_ms * 1_000, micros(EARLIEST)), micros(LATEST)))


def output_of(value: bytes | None) -> AnyOutput | None:
    """Return the output in a record; ``None`` if there is none."""
    try:
        return decode_output(value or b"")
    except (ValueError, RecursionError):
        return None


def sequence_number(headers: Iterable[tuple[str, bytes | None]]) -> int:
    """Return the sequence number in the headers of a record; 0 if there is none."""
    found = next((v for k, v in headers if k == SEQ and v), b"")
    return int(found) if found.isdigit() and len(found) <= _SEQ_DIGITS else 0


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
        policy = load_policy(settings.config or paths.rules_folder()).risk
        keys = policy.client_keys or {}
        self.acks = Acknowledgements(late_s, keys)
        self._keys = keys
        self.boundary: AckBoundary
        self.refused = RefusedRecords()
        self.evaluator = DrillEvaluator(self.acks, policy.drills)
        self._producer = Producer(self.connection, self.retry, self.metrics)
        self._publisher: KafkaPublisher
        self._consumer: Any = None
        self._behind: dict[TopicPartition, int] = {}
        self._open: dict[str, tuple[str, str]] = {}
        self._forgotten: dict[str, None] = {}
        self._written = self._swept = datetime(1970, 1, 1, tzinfo=UTC)
        self._client_metrics = ClientMetrics(self.metrics.registry)

    def run_once(self) -> None:
        """Read records, evaluate drills, update alerts and write the tables."""
        self._poll()
        if self._behind:
            return  # late clients are known only after the topics were read to their end
        now = self._now()
        self._store_letters(now)
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
        topic = self.connection.topic(ACKS)
        self.boundary = AckBoundary(topic, self._keys, self.deployment)
        self._publisher = KafkaPublisher(self._producer, self.deployment)
        self._publisher.set_leader(WORKER, self._resumed.epoch)
        self._publish()
        for prefix in (LATE_ALERT_PREFIX, drills.DRILL_ALERT_PREFIX):
            self._open |= self._wait(partial(table.open_alerts, self._engine, prefix))
        with self._engine.connect() as conn:
            self.evaluator.load(conn, self._now())
            self.refused = RefusedRecords(dead_letter_positions(conn, WORKER, STREAM))
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
        # An acknowledgement is compared with the published switches, so these are read first.
        if parts[0] in self._behind:
            consumer.pause(*parts[1:])

    def _poll(self) -> None:
        try:
            polled = self._consumer.poll(_POLL_MS)
        except RetriableError:
            self.metrics.up("broker", ok=False)
            self.retry.pause(_POLL_MS / 1_000, "broker")
            return
        except KafkaError as error:
            raise BrokerError(f"{self.connection.servers}: {error}") from error
        takers = {SWITCH_TOPIC: self._take_switch, DRILLS: self._take_signal, ACKS: self._take_ack}
        by_topic = {self.connection.plain(part.topic): rows for part, rows in polled.items()}
        for topic, take in takers.items():
            for record in by_topic.get(topic, ()):
                take(record, arrival(record.timestamp))
        for part, end in list(self._behind.items()):
            if self._consumer.position(part) >= end:
                del self._behind[part]
        if self._consumer.paused() and not any(
            self.connection.plain(part.topic) == SWITCH_TOPIC for part in self._behind
        ):
            self._consumer.resume(*self._consumer.paused())

    def _take_switch(self, record: Any, at: datetime) -> None:
        if self._is_foreign(record, "a switch"):
            return
        output = output_of(record.value)  # what is none, clients treat as a HALT and acknowledge
        if isinstance(output, KillSwitchChanged):
            self.acks.add_switch(output, sequence_number(record.headers), at)

    def _take_ack(self, record: Any, at: datetime) -> None:
        own = AckRecord(record.offset, record.key, record.value, tuple(record.headers), at)
        found = self.boundary.read(own)
        if isinstance(found, Ack):
            found = self.acks.add_ack(found, at) or found
        if isinstance(found, Refusal):
            self.refused.add(own, found)
            self._client_metrics.count_refused()
        elif isinstance(found, Forget):
            self.acks.forget(found.client)
            self._forgotten[found.client] = None
        elif isinstance(found, DrillAck):
            self.evaluator.add_answer(found, at)

    def _take_signal(self, record: Any, at: datetime) -> None:
        del at
        if self._is_foreign(record, "a drill"):
            return
        output = output_of(record.value)
        if isinstance(output, DrillSignalled):
            self.evaluator.add_signal(output, self._now())

    def _is_foreign(self, record: Any, what: str) -> bool:
        """Whether a record of a worker is of another deployment; it is logged if so."""
        named = next((v or b"" for k, v in record.headers if k == DEPLOYMENT), b"")
        name = named.decode(errors="replace")
        if name in (UNBOUND, self.deployment):
            return False
        log.warning(
            "of another deployment", what=what, of=name, own=self.deployment, offset=record.offset
        )
        return True

    def _store_letters(self, now: datetime) -> None:
        """Store the dead letters of refused records."""
        letters = self.refused.take_letters()
        if not letters:
            return
        resumed = self._resumed
        resumed.counts.read += len(letters)
        resumed.counts.rejected += len(letters)
        resumed.us = max(micros(now), resumed.us)
        batch = Batch(
            WORKER, resumed.epoch, dead_letters=letters, counts=resumed.counts, us=resumed.us
        )
        self._wait(lambda: commit(self._engine, batch))
        last = letters[-1]
        log.warning("records refused", count=len(letters), offset=last.position, why=last.detail)

    def _store_drills(self, now: datetime) -> None:
        """Store the reports of drills that ended."""
        for report in self._wait(lambda: self.evaluator.evaluate(self._engine, now)):
            row, place = drill_row(report), (WORKER, self._resumed.epoch)
            self._wait(partial(stored_drills.write_drill, self._engine, place, row))
            self.evaluator.mark_evaluated(report)
            log.info("drill", id=report.id, outcome=report.outcome, problems=report.problems)

    def _update_alerts(self, now: datetime) -> None:
        """Raise alerts about late clients and drills, and resolve those whose reason is gone."""
        us = micros(now)
        due = late_alerts(self.acks.late_clients(now), us)
        wrong = self.evaluator.due_alerts()
        due |= {key: drill_alert(key, found, us) for key, found in wrong.items()}
        reason = self.refused.alert_reason(now)
        if reason:
            due[REFUSED] = refused_alert(reason, us)
        outputs: list[Output] = [due[key] for key in sorted(due) if key not in self._open]
        outputs += [
            alert_resolution(key, scope, opened, us)
            for key, (scope, opened) in sorted(self._open.items())
            if key not in due
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
        times, rows = self.acks.new_ack_times(), self.acks.rows(now)
        gone = [client for client in self._forgotten if client not in self.acks.received]
        place = (WORKER, self._resumed.epoch)
        self._wait(lambda: table.write_clients(self._engine, place, rows, times, gone))
        self._forgotten.clear()
        for client, *_, seconds in times:
            self._client_metrics.observe_ack(client, seconds)
        known = sum(not received.ack.ended for received in self.acks.received.values())
        late = {client: len(scopes) for client, *_, scopes in rows}
        self._client_metrics.set_clients(
            known, late, {alert.scope for alert in self.evaluator.due_alerts().values()}
        )
