"""The metrics of the acknowledgement worker: series, labels and removal."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from riskwatch.acks.worker import CLIENT_METRIC_LABELS, ClientMetrics


def test_every_metric_has_its_labels() -> None:
    """Series and labels are those that alert rules query."""
    registry = CollectorRegistry()
    metrics = ClientMetrics(registry)
    metrics.observe_ack("desk-1", 0.02)
    metrics.count_refused()
    metrics.set_clients(2, {"desk-1": 0, "desk-2": 3}, ["firm"])
    found = {
        family.name: {tuple(sorted(s.labels.keys() - {"le"})) for s in family.samples}
        for family in registry.collect()
    }
    assert found == {name: {labels} for name, labels in CLIENT_METRIC_LABELS.items()}
    value = registry.get_sample_value
    assert value("riskwatch_clients_late", {"client": "desk-2"}) == 3
    assert value("riskwatch_drills_overdue", {"scope": "firm"}) == 1
    assert value("riskwatch_client_ack_seconds_count", {"client": "desk-1"}) == 1


def test_old_series_are_removed() -> None:
    """A forgotten client and a passed drill have no series."""
    registry = CollectorRegistry()
    metrics = ClientMetrics(registry)
    metrics.set_clients(1, {"desk-1": 2}, ["firm"])
    metrics.set_clients(0, {}, [])
    assert registry.get_sample_value("riskwatch_clients") == 0
    assert registry.get_sample_value("riskwatch_clients_late", {"client": "desk-1"}) is None
    assert registry.get_sample_value("riskwatch_drills_overdue", {"scope": "firm"}) is None
