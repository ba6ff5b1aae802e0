"""The Prometheus metrics of a worker, on a registry of its own, for dashboards and paging.

Each method takes the totals of a whole batch, so its cost does not grow with the batch. All
methods may be called from any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from riskwatch.core.clock import SECOND
from riskwatch.core.enums import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OUTCOMES: Final = ("applied", "duplicate", "rejected")
"""Outcomes of a record. Their sum is the number of records that were read."""
DURATION_BUCKETS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper limits of the buckets of durations."""
RECORDS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Upper limits of the buckets of batch sizes; the last is the largest batch there can be."""

_Kind = type[Counter] | type[Gauge] | type[Histogram]
_TABLE: Final[dict[str, tuple[_Kind, str, tuple[str, ...], dict[str, Any]]]] = {
    "riskwatch_records_total": (Counter, "Records read, by what became of them.",
        ("worker", "outcome"), {}),
    "riskwatch_rejected_total": (Counter, "Records refused, by reason.",
        ("topic", "reason"), {}),
    "riskwatch_batch_records": (Histogram, "Records of one batch.",
        ("worker",), {"buckets": RECORDS}),
    "riskwatch_batch_seconds": (Histogram, "Time of one batch, by step.",
        ("worker", "step"), {"buckets": DURATION_BUCKETS}),
    "riskwatch_latency_seconds": (Histogram,
        "From the arrival of an event at the broker to the publication of its batch.",
        ("worker", "type"), {"buckets": DURATION_BUCKETS}),
    "riskwatch_lag_records": (Gauge, "Records at the broker that are not applied yet.",
        ("topic", "partition"), {}),
    "riskwatch_outbox_records": (Gauge, "Records that are true and not published yet.",
        ("worker",), {}),
    "riskwatch_state_bytes": (Gauge, "Size of the stored state.", ("worker", "stage"), {}),
    "riskwatch_state_rows": (Gauge, "Rows of the stored state.", ("worker", "stage"), {}),
    "riskwatch_model_age_seconds": (Gauge, "Event time since a model last learned.",
        ("target", "generation"), {}),
    "riskwatch_leader": (Gauge, "1 where this process holds the lease.", ("worker",), {}),
    "riskwatch_epoch": (Gauge, "Epoch of the lease that this process holds, 0 without one.",
        ("worker",), {}),
    "riskwatch_event_time_seconds": (Gauge, "Event time reached, seconds since 1970.",
        ("worker",), {}),
    "riskwatch_up": (Gauge, "1 where a server answered last time: store, broker, mirror.",
        ("what",), {}),
    "riskwatch_retries_total": (Counter, "Tries that failed and are made again.",
        ("what",), {}),
    "riskwatch_scopes": (Gauge, "Scopes of the kill switch, by effective state.",
        ("state",), {}),
    "riskwatch_model_authority": (Gauge,
        "How far a model may go: 0 shadow, 1 advisory, 2 bounded, 3 full.",
        ("target", "generation"), {}),
    "riskwatch_model_log_loss": (Gauge, "Mean log loss over all matured labels, nats.",
        ("target", "generation"), {}),
    "riskwatch_stage_fault": (Gauge, "1 where a stage failed and its worker stays down.",
        ("worker",), {}),
    "riskwatch_notices_total": (Counter, "Tries to deliver a notice: sent, retried, dead.",
        ("route", "outcome"), {}),
    "riskwatch_notices_waiting": (Gauge, "Notices that wait for delivery.", ("route",), {}),
    "riskwatch_notice_seconds": (Histogram, "Time of one try to deliver a notice.",
        ("route",), {"buckets": DURATION_BUCKETS}),
}  # fmt: skip
NAMES: Final = tuple(_TABLE)
"""Names of all metrics, as queries use them."""


class Metrics:
    """The metrics of one process.

    Parameters
    ----------
    registry : CollectorRegistry, optional
        Registry of the metrics; a new one by default, so that two instances in one process do
        not collide.

    Examples
    --------
    >>> metrics = Metrics()
    >>> metrics.up("store", ok=True)
    >>> metrics.registry.get_sample_value("riskwatch_up", {"what": "store"})
    1.0
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._parents: dict[str, Any] = {
            name: kind(name, about, labels, registry=self.registry, **options)
            for name, (kind, about, labels, options) in _TABLE.items()
        }
        self._children: dict[tuple[str, ...], Any] = {}

    def batch(
        self,
        worker: str,
        counts_delta: Mapping[str, int],
        records: int,
        apply_s: float,
        commit_s: float,
        publish_s: float,
    ) -> None:
        """Record one batch.

        Parameters
        ----------
        worker : str
            Name of the worker.
        counts_delta : mapping of str to int
            Records by :data:`OUTCOMES`; other names (such as ``read``, their sum) are ignored.
        records : int
            Number of records of the batch.
        apply_s, commit_s, publish_s : float
            Duration of each step, seconds.
        """
        for outcome in OUTCOMES:
            count = counts_delta.get(outcome, 0)
            if count:
                self._at("riskwatch_records_total", worker, outcome).inc(count)
        self._at("riskwatch_batch_records", worker).observe(records)
        steps = (("apply", apply_s), ("commit", commit_s), ("publish", publish_s))
        for step, took in steps:
            self._at("riskwatch_batch_seconds", worker, step).observe(took)

    def rejected(self, topic: str, reason: str, n: int = 1) -> None:
        """Count `n` records of a topic that were refused for one reason."""
        self._at("riskwatch_rejected_total", topic, reason).inc(n)

    def latency(self, worker: str, event_type: str, seconds: float) -> None:
        """Record the longest wait of an event of a type in a published batch, seconds."""
        self._at("riskwatch_latency_seconds", worker, event_type).observe(seconds)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """Set how many records of a partition are not applied yet."""
        self._at("riskwatch_lag_records", topic, str(partition)).set(records)

    def outbox(self, worker: str, n: int) -> None:
        """Set how many records wait for publication."""
        self._at("riskwatch_outbox_records", worker).set(n)

    def state(self, worker: str, stage: str, rows: int, size: int) -> None:
        """Set the size of the state of a stage, in rows and bytes."""
        self._at("riskwatch_state_rows", worker, stage).set(rows)
        self._at("riskwatch_state_bytes", worker, stage).set(size)

    def model_age(self, target: str, generation: str, seconds: float) -> None:
        """Set the event time since a model last learned, seconds."""
        self._at("riskwatch_model_age_seconds", target, generation).set(seconds)

    def model_authority(
        self, target: str, generation: str, authority: int | None, log_loss: float
    ) -> None:
        """Set the authority rank of a model (``None`` if it has none) and its log loss, nats."""
        if authority is not None:
            self._at("riskwatch_model_authority", target, generation).set(authority)
        self._at("riskwatch_model_log_loss", target, generation).set(log_loss)

    def forget_models(self) -> None:
        """Drop the series of models, because another process scores them now."""
        for key in list(self._children):
            if key[0].startswith("riskwatch_model_"):
                self._parents[key[0]].remove(*key[1:])
                self._children.pop(key, None)

    def leader(self, worker: str, epoch: int | None) -> None:
        """Set the epoch under which this process leads a worker; ``None`` on standby."""
        self._at("riskwatch_leader", worker).set(epoch is not None)
        self._at("riskwatch_epoch", worker).set(epoch or 0)

    def event_time(self, worker: str, us: int) -> None:
        """Set the event time reached, microseconds since 1970."""
        self._at("riskwatch_event_time_seconds", worker).set(us / SECOND)

    def up(self, what: str, *, ok: bool) -> None:
        """Set whether the ``store``, the ``broker`` or the ``mirror`` answers."""
        self._at("riskwatch_up", what).set(ok)

    def retried(self, what: str) -> None:
        """Count a ``commit``, a ``publish`` or a ``mirror`` write that is retried."""
        self._at("riskwatch_retries_total", what).inc()

    def scopes(self, counts: Mapping[State, int]) -> None:
        """Set how many scopes are in each state; a state without a count has none."""
        for state in State:
            self._at("riskwatch_scopes", state.value).set(counts.get(state, 0))

    def fault(self, worker: str, *, down: bool) -> None:
        """Set whether a worker stays down because a stage failed."""
        self._at("riskwatch_stage_fault", worker).set(down)

    def notification(self, route: str, outcome: str, seconds: float | None = None) -> None:
        """Count a notification as ``sent``, ``retried`` or ``dead``, and record the seconds."""
        self._at("riskwatch_notices_total", route, outcome).inc()
        if seconds is not None:
            self._at("riskwatch_notice_seconds", route).observe(seconds)

    def notifications_waiting(self, route: str, n: int) -> None:
        """Set how many notifications wait on a route."""
        self._at("riskwatch_notices_waiting", route).set(n)

    def forget(self, worker: str, partitions: Iterable[tuple[str, int]] = ()) -> None:
        """Drop every series of a worker that moved away.

        Parameters
        ----------
        worker : str
            Name of the worker, as given to the other methods.
        partitions : iterable of (str, int)
            Topics and partitions that moved with it. Another process reports their lag now.
        """
        moved = {("riskwatch_lag_records", topic, str(n)) for topic, n in partitions}
        for key in list(self._children):
            name, first = key[:2]
            if key in moved or (first == worker and _TABLE[name][2][0] == "worker"):
                self._parents[name].remove(*key[1:])
                self._children.pop(key, None)

    def _at(self, name: str, *labels: str) -> Any:
        """Return the series of these labels. It is cached: a look-up costs more than a count."""
        key = (name, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._parents[name].labels(*labels)
        return child
