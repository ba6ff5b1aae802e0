"""Metrics: values are collected, and series of moved workers are removed."""

from __future__ import annotations

from typing import Final

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from riskwatch.core.enums import State
from riskwatch.worker.metrics import DURATION_BUCKETS, NAMES, OUTCOMES, RECORDS, Metrics
from riskwatch.worker.settings import ProcessSettings

MINUTE_S: Final = 60.0


def tell(metrics: Metrics, worker: str = "risk") -> None:
    """Use every method once."""
    metrics.batch(worker, {"applied": 7, "duplicate": 2, "rejected": 1, "read": 10}, 10, 0.1, 2, 3)
    metrics.rejected("riskwatch.fills", "TYPE_UNKNOWN", 4)
    metrics.latency(worker, "fill", 0.004)
    metrics.lag("riskwatch.fills", 3, 12)
    metrics.outbox(worker, 5)
    metrics.state(worker, "market", 6, 700)
    metrics.model_age("depeg", "anchored", 8.5)
    metrics.model_authority("depeg", "anchored", 1, 0.25)
    metrics.model_authority("depeg", "served", None, 0.125)
    metrics.leader(worker, 9)
    metrics.event_time(worker, 1_500_000)
    metrics.up("store", ok=True)
    metrics.retried("commit")
    metrics.scopes({State.HALT: 2})
    metrics.fault(worker, down=True)
    metrics.notification("pager", "dead", 0.5)
    metrics.notifications_waiting("pager", 3)


def series(metrics: Metrics) -> dict[str, float]:
    """Every sample by its text, as a scrape gives it."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_each_method_shows_what_it_was_told() -> None:
    """In the names, labels and units that dashboards and alerts are written in."""
    metrics = Metrics()
    tell(metrics)
    found = series(metrics)
    expected = {
        "riskwatch_records_total{outcome=applied,worker=risk}": 7,
        "riskwatch_records_total{outcome=duplicate,worker=risk}": 2,
        "riskwatch_records_total{outcome=rejected,worker=risk}": 1,
        "riskwatch_rejected_total{reason=TYPE_UNKNOWN,topic=riskwatch.fills}": 4,
        "riskwatch_batch_records_sum{worker=risk}": 10,
        "riskwatch_batch_seconds_sum{step=apply,worker=risk}": 0.1,
        "riskwatch_batch_seconds_sum{step=commit,worker=risk}": 2,
        "riskwatch_batch_seconds_sum{step=publish,worker=risk}": 3,
        "riskwatch_latency_seconds_bucket{le=0.005,type=fill,worker=risk}": 1,
        "riskwatch_latency_seconds_bucket{le=0.0025,type=fill,worker=risk}": 0,
        "riskwatch_lag_records{partition=3,topic=riskwatch.fills}": 12,
        "riskwatch_outbox_records{worker=risk}": 5,
        "riskwatch_state_rows{stage=market,worker=risk}": 6,
        "riskwatch_state_bytes{stage=market,worker=risk}": 700,
        "riskwatch_model_age_seconds{generation=anchored,target=depeg}": 8.5,
        "riskwatch_model_authority{generation=anchored,target=depeg}": 1,
        "riskwatch_model_authority{generation=served,target=depeg}": None,
        "riskwatch_model_log_loss{generation=anchored,target=depeg}": 0.25,
        "riskwatch_model_log_loss{generation=served,target=depeg}": 0.125,
        "riskwatch_leader{worker=risk}": 1,
        "riskwatch_epoch{worker=risk}": 9,
        "riskwatch_event_time_seconds{worker=risk}": 1.5,
        "riskwatch_up{what=store}": 1,
        "riskwatch_retries_total{what=commit}": 1,
        "riskwatch_scopes{state=HALT}": 2,
        "riskwatch_scopes{state=NORMAL}": 0,
        "riskwatch_stage_fault{worker=risk}": 1,
        "riskwatch_notices_total{outcome=dead,route=pager}": 1,
        "riskwatch_notices_waiting{route=pager}": 3,
        "riskwatch_notice_seconds_sum{route=pager}": 0.5,
    }
    assert {name: found.get(name) for name in expected} == expected


def test_the_list_of_names_is_what_is_collected() -> None:
    """Neither more nor less: documents and dashboards are checked against it."""
    metrics = Metrics()
    tell(metrics)
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    shown = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if family.name.startswith("riskwatch_") and not family.name.endswith("_created")
    }
    assert shown == set(NAMES)


def test_what_was_read_is_counted_once() -> None:
    """`read` is the sum of the others; counting it too would double every total."""
    metrics = Metrics()
    tell(metrics)
    counted = [n for name, n in series(metrics).items() if name.startswith("riskwatch_records_t")]
    assert sum(counted) == 10
    assert len(counted) == len(OUTCOMES)


def test_states_without_scopes_are_zero() -> None:
    """A HALT that ended must not stay on the screen."""
    metrics = Metrics()
    metrics.scopes({State.HALT: 2})
    metrics.scopes({State.WATCH: 1})
    found = series(metrics)
    assert found["riskwatch_scopes{state=HALT}"] == 0
    assert found["riskwatch_scopes{state=WATCH}"] == 1


def test_a_standby_leads_nothing() -> None:
    """Without an epoch, the gauges say so instead of keeping the last one."""
    metrics = Metrics()
    metrics.leader("risk", 9)
    metrics.leader("risk", None)
    found = series(metrics)
    assert (found["riskwatch_leader{worker=risk}"], found["riskwatch_epoch{worker=risk}"]) == (0, 0)


def test_a_worker_that_moved_away_is_gone() -> None:
    """With its partitions; everything else stays, and it may come back from nothing."""
    metrics = Metrics()
    tell(metrics, "ledger-3")
    tell(metrics, "ledger-4")
    metrics.lag("riskwatch.fills", 4, 1)
    metrics.forget("ledger-3", [("riskwatch.fills", 3), ("riskwatch.fills", 99)])
    metrics.forget("never seen")
    found = series(metrics)
    assert not [name for name in found if "ledger-3" in name]
    assert "riskwatch_lag_records{partition=3,topic=riskwatch.fills}" not in found
    assert found["riskwatch_lag_records{partition=4,topic=riskwatch.fills}"] == 1
    assert found["riskwatch_records_total{outcome=applied,worker=ledger-4}"] == 7
    assert found["riskwatch_up{what=store}"] == 1
    tell(metrics, "ledger-3")
    assert series(metrics)["riskwatch_records_total{outcome=applied,worker=ledger-3}"] == 7


def test_a_worker_named_like_another_label_takes_only_its_own() -> None:
    """The first label of some metrics is no worker."""
    metrics = Metrics()
    metrics.up("risk", ok=True)
    metrics.outbox("risk", 1)
    metrics.forget("risk")
    found = series(metrics)
    assert found["riskwatch_up{what=risk}"] == 1
    assert "riskwatch_outbox_records{worker=risk}" not in found


def test_two_registries_do_not_meet() -> None:
    """Two workers of one process, or two tests, count apart."""
    one, other = Metrics(), Metrics()
    one.retried("mirror")
    assert "riskwatch_retries_total{what=mirror}" not in series(other)


@pytest.mark.parametrize("limits", [DURATION_BUCKETS, RECORDS])
def test_buckets_rise(limits: tuple[float, ...]) -> None:
    """Each limit above the last."""
    assert list(limits) == sorted(set(limits))


def test_buckets_reach_as_far_as_needed() -> None:
    """From a millisecond to a minute, and to the largest batch that settings allow."""
    assert (DURATION_BUCKETS[0], DURATION_BUCKETS[-1]) == (0.001, MINUTE_S)
    allowed = [
        part.le for part in ProcessSettings.model_fields["batch"].metadata if hasattr(part, "le")
    ]
    assert allowed == [RECORDS[-1]]
