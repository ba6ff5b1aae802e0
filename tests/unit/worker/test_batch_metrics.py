"""Metrics of models from their stored rows: authority and log loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from riskwatch.models.ensemble import Ensemble
from riskwatch.worker.unit import BatchMetrics
from tests.support.units import Bench
from tests.unit.models.samples import ESCALATION, ONSET, config, feed, rows_of, walk

if TYPE_CHECKING:
    from riskwatch.core.stage import Row


def standing_rows() -> dict[str, Row | None]:
    """Rows of a ladder that has seen labels, as the risk stage stores them."""
    ladder = Ensemble(config())
    state = ladder.fresh()
    feed(ladder, state, walk(3, 300))
    ladder.report(state, 3_000_000_000)
    return {f"scorer/{key}": row for key, row in rows_of(state).items()}


def test_authority_and_loss_are_told_from_rows() -> None:
    """On taking over as after a batch: rules may do everything, a shadow nothing."""
    bench = Bench()
    teller = BatchMetrics(bench.metrics, bench.runner)
    rows = standing_rows()
    teller.model_authorities({**rows, "scorer/standing/gone|rules": None, "asset/USDC": b"{}"})
    for generation, rank in (("rules", 3), ("anchored", 0), ("served", None)):
        labels = {"target": ONSET, "generation": generation}
        assert bench.sample("riskwatch_model_authority", **labels) == rank
        loss = bench.sample("riskwatch_model_log_loss", **labels)
        assert loss == pytest.approx(0.3, abs=0.3)
        assert loss
    assert bench.sample("riskwatch_model_log_loss", target="gone", generation="rules") is None


def test_what_moved_away_is_told_no_longer() -> None:
    """Another process judges now; an authority that was taken there must not stand here."""
    bench = Bench()
    teller = BatchMetrics(bench.metrics, bench.runner)
    teller.model_authorities(standing_rows())
    bench.metrics.model_age(ESCALATION, "anchored", 5.0)
    teller.forget()
    assert not [
        sample.name
        for family in bench.metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("riskwatch_model_")
    ]
