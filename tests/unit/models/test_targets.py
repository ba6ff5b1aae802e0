"""Targets of several features, of our own dealings, and with their own sampling interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from riskwatch.core.clock import SECOND
from riskwatch.core.risk.scorer import ModelsConfig, TargetConfig
from riskwatch.core.rules import Condition
from riskwatch.models.ensemble import Ensemble
from tests.unit.models.samples import rows_of, rules

if TYPE_CHECKING:
    from riskwatch.models.state import EnsembleState


STRESS: Final = TargetConfig(
    kind="withdrawal_stress", scope_kind="counterparty", side="", unit="", threshold=1.0,
    horizon_s=60.0, label_every_s=30.0, ours=True,
    any=(Condition(feature="age_ratio", at=3.0), Condition(feature="dislocation_bp", at=75.0)),
)  # fmt: skip
KRAKEN: Final = "counterparty:kraken"


def stressed(**more: float) -> tuple[Ensemble, EnsembleState]:
    """Return an ensemble that has taken one sample of a counterparty at time 0."""
    ensemble = Ensemble(ModelsConfig(targets=(STRESS,), generations=(rules(),)))
    state = ensemble.fresh()
    x = {"age_ratio": 0.5, "dislocation_bp": 15.0, **more}
    score, _ = ensemble.observe(state, 0, KRAKEN, "counterparty", x, labelled=True)
    assert score.target == "withdrawal_stress(1, 1min)"
    assert score.severity == pytest.approx(0.2)
    return ensemble, state


def test_a_measure_of_several_features_is_the_worst_of_them() -> None:
    """The measure is the largest quotient of the known features; unknown ones are ignored."""
    ensemble, state = stressed()
    for x, severity in (({"age_ratio": 6.0}, 2.0), ({"dislocation_bp": 150.0}, 2.0)):
        score, _ = ensemble.observe(state, 1, KRAKEN, "counterparty", x, labelled=False)
        assert score.severity == severity
    assert ensemble.observe(state, 1, KRAKEN, "counterparty", {}, labelled=True) == []


def test_after_our_exit_there_is_no_label_and_it_is_counted() -> None:
    """The sample of a venue that we left is censored and counted, not labelled false."""
    ensemble, state = stressed()
    x = {"age_ratio": 0.0, "dislocation_bp": 15.0}
    for second in range(10, 200, 10):
        scored = ensemble.observe(
            state, second * SECOND, KRAKEN, "counterparty", x, labelled=True, ours=False
        )
        assert len(scored) == 2
    (pending,) = state.pending.values()
    assert (pending.censored, pending.unlabelled, pending.samples) == (1, 0, [])
    assert state.evidence == {}
    gone = ensemble.fresh()
    gone.load(rows_of(state))
    assert gone.pending == state.pending


def test_leaving_is_seen_even_where_nothing_else_is_known() -> None:
    """A sample is censored even if no feature of the venue is known."""
    ensemble, state = stressed()
    ensemble.observe(state, SECOND, KRAKEN, "counterparty", {}, labelled=True, ours=False)
    (pending,) = state.pending.values()
    assert pending.censored == 1


def test_a_target_has_a_pace_of_its_own() -> None:
    """Samples of this target are taken every half minute."""
    ensemble, state = stressed()
    x = {"age_ratio": 0.5, "dislocation_bp": 15.0}
    for second in range(10, 60, 10):
        ensemble.observe(state, second * SECOND, KRAKEN, "counterparty", x, labelled=True)
    (pending,) = state.pending.values()
    assert [sample.us for sample in pending.samples] == [0, 30 * SECOND]
