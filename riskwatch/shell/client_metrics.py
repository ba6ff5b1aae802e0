"""What the worker ``clients`` tells Prometheus: who obeys, who is late, and drills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

LABELS: Final[dict[str, tuple[str, ...]]] = {
    "riskwatch_clients": (),
    "riskwatch_clients_late": ("client",),
    "riskwatch_client_ack_seconds": ("client",),
    "riskwatch_drills_overdue": ("scope",),
}
"""Metrics and their labels, by the names that queries use."""
SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60)


class ClientMetrics:
    """Series about order paths.

    Parameters
    ----------
    registry : CollectorRegistry
        Where they are collected.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, about: str) -> Gauge:
            return Gauge(name, about, LABELS[name], registry=registry)

        self._known = gauge("riskwatch_clients", "Order paths that are expected to obey.")
        self._late = gauge(
            "riskwatch_clients_late", "Scopes at HALT that a client did not apply in time."
        )
        self._overdue = gauge(
            "riskwatch_drills_overdue", "1 where a drill failed, or was not run when it was due."
        )
        name = "riskwatch_client_ack_seconds"
        self._times = Histogram(
            name, "From a kill message to the word of a client.", LABELS[name],
            registry=registry, buckets=SECONDS,
        )  # fmt: skip

    def applied(self, client: str, seconds: float) -> None:
        """A client said that it applied a message, so long after it was published."""
        self._times.labels(client).observe(seconds)

    def stand(self, known: int, late: dict[str, int], overdue: Iterable[str]) -> None:
        """Clients that are expected, scopes that each is late with, and scopes without a drill."""
        self._known.set(known)
        self._late.clear()
        for client, scopes in late.items():
            self._late.labels(client).set(scopes)
        self._overdue.clear()
        for scope in overdue:
            self._overdue.labels(scope).set(1)
