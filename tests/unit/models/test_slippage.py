"""Slippage as a quantile: the law before any fill, learning from fills, and its counts."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.core.clock import MINUTE
from riskwatch.core.risk.scorer import ImpactLaw, ModelsConfig, SlippageConfig
from riskwatch.errors import ModelError
from riskwatch.models.ensemble import Ensemble
from riskwatch.models.slippage import REACH, PinballFactor
from tests.unit.models.samples import rows_of

if TYPE_CHECKING:
    from riskwatch.core.stage import Row
    from riskwatch.models.state import EnsembleState

LAW = ImpactLaw(1.0, 0.01)
"""2 bp for 10,000 USD, 11 bp for a million."""

values = st.floats(0.0, 1e8)
fills = st.lists(st.tuples(values, st.floats(-50.0, 500.0)), max_size=60)


def fresh_ensemble() -> tuple[Ensemble, EnsembleState]:
    """Return an ensemble without targets, and its state."""
    ensemble = Ensemble(ModelsConfig())
    return ensemble, ensemble.fresh()


def learn_fills(ensemble: Ensemble, state: EnsembleState, *observed: tuple[float, float]) -> None:
    """Learn from BTC fills, each (USD, bp)."""
    for value, bp in observed:
        ensemble.slippage.learn(state, "BTC", value, LAW, bp)


@given(values)
def test_before_any_fill_it_is_the_law(value: float) -> None:
    """The estimate equals the law bit for bit."""
    ensemble, state = fresh_ensemble()
    assert ensemble.slippage.bp(state, "BTC", value, LAW) == LAW.bp(value)


@pytest.mark.parametrize("true_bp", [0.5, 2.0, 30.0])
def test_it_learns_the_quantile_not_the_mean(true_bp: float) -> None:
    """Nine of ten fills cost no more than the estimate, whatever the law gives."""
    ensemble, state = fresh_ensemble()
    rng = random.Random(7)
    learn_fills(ensemble, state, *((5_000.0, rng.expovariate(1.0 / true_bp)) for _ in range(4_000)))
    # The 0.9 quantile of an exponential is its mean times ln 10.
    assert ensemble.slippage.bp(state, "BTC", 5_000.0, LAW) == pytest.approx(
        2.3026 * true_bp, rel=0.35
    )
    bucket = state.slippage["BTC"].buckets["10000"]
    assert bucket.within / bucket.count == pytest.approx(0.9, abs=0.02)
    assert bucket.loss_sum < bucket.law_loss_sum or true_bp == 0.5


def test_a_size_that_was_never_traded_costs_at_least_what_a_smaller_one_did() -> None:
    """Expensive small fills raise the estimate of large ones; cheap ones do not lower it."""
    ensemble, state = fresh_ensemble()
    learn_fills(ensemble, state, *[(500.0, 60.0)] * 200)
    assert ensemble.slippage.bp(state, "BTC", 5e6, LAW) >= 50.0
    cheap, other = fresh_ensemble()
    learn_fills(cheap, other, *[(500.0, -5.0)] * 200)
    assert cheap.slippage.bp(other, "BTC", 5e6, LAW) == pytest.approx(LAW.bp(5e6))
    assert cheap.slippage.bp(other, "BTC", 400.0, LAW) < LAW.bp(400.0)


@settings(deadline=None)
@given(fills, st.lists(values, min_size=2, max_size=8))
def test_it_never_falls_with_the_size(
    observed: list[tuple[float, float]], sizes: list[float]
) -> None:
    """The estimate never falls with the size, whatever each bucket learned."""
    ensemble, state = fresh_ensemble()
    learn_fills(ensemble, state, *observed)
    quantiles = [ensemble.slippage.bp(state, "BTC", size, LAW) for size in sorted(sizes)]
    assert all(a <= b + 1e-6 for a, b in pairwise(quantiles))
    assert all(bp >= 0.0 for bp in quantiles)


@settings(deadline=None)
@given(fills, st.lists(st.integers(0, 60), max_size=4))
def test_restarts_anywhere_change_nothing(
    observed: list[tuple[float, float]], cuts: list[int]
) -> None:
    """Drained and loaded again, the rows are equal in the end."""
    ensemble, whole = fresh_ensemble()
    broken, stored = ensemble.fresh(), dict[str, "Row"]()
    for n, (value, bp) in enumerate(observed):
        if n in cuts:
            rows_of(broken, stored)
            broken = ensemble.fresh()
            broken.load(dict(stored))
        for state in (whole, broken):
            ensemble.slippage.learn(state, "BTC", value, LAW, bp)
            ensemble.slippage.ask(state, n * 20 * MINUTE, "BTC", held=value > 1e4)
    assert rows_of(broken, stored) == rows_of(whole)


@settings(deadline=None)
@given(
    st.lists(st.floats(0.0, 40.0), min_size=1, max_size=400),
    st.sampled_from((0.5, 0.9, 0.99)),
    st.sampled_from((0.05, 0.1, 0.5)),
)
def test_its_coverage_is_near_the_quantile_on_any_sequence(
    seen: list[float], quantile: float, rate: float
) -> None:
    """The bound of the docstring holds while the factor is within its bounds."""
    model, within = PinballFactor(quantile, rate), 0
    for y in seen:
        within += y <= model.predict_one({"prior": 1.0})
        model.learn_one({"prior": 1.0}, y)
        if abs(model.logarithm) >= REACH:
            return
    bound = (2.0 * REACH + rate) / (rate * len(seen))
    assert abs(within / len(seen) - quantile) <= bound + 1e-9


def test_horizons_without_a_fill_are_told_apart() -> None:
    """A horizon without a fill is unlabelled while we hold, and censored once after we left."""
    ensemble, state = fresh_ensemble()
    ask = ensemble.slippage.ask
    ask(state, 0, "BTC", held=True)
    assert state.slippage == {}  # never traded: nothing to ask
    learn_fills(ensemble, state, (5_000.0, 2.0))
    for minute in range(0, 61, 30):
        ask(state, minute * MINUTE, "BTC", held=True)
    learn_fills(ensemble, state, (5_000.0, 2.0))
    for minute in range(61, 600, 10):
        ask(state, minute * MINUTE, "BTC", held=minute < 180)
    row = state.slippage["BTC"]
    assert (row.labelled, row.unlabelled, row.censored) == (1, 1, 1)
    assert row.asked == -1
    for minute in range(600, 700, 10):
        ask(state, minute * MINUTE, "BTC", held=True)
    assert (row.labelled, row.unlabelled, row.censored) == (1, 2, 1)


def test_what_is_learned_is_bounded() -> None:
    """Assets beyond the bound cost the law's value."""
    ensemble = Ensemble(ModelsConfig(max_scopes=1))
    state = ensemble.fresh()
    for asset in ("BTC", "ETH"):
        for _ in range(50):
            ensemble.slippage.learn(state, asset, 500.0, LAW, 90.0)
    assert list(state.slippage) == ["BTC"]
    assert ensemble.slippage.bp(state, "ETH", 500.0, LAW) == LAW.bp(500.0)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"quantile": 1.0}, r"slippage: quantile must be in \(0, 1\)"),
        ({"rate": 0.0}, r"slippage: rate must be in \(0, 1\]"),
        ({"sizes_usd": (10.0, 1.0)}, "sizes_usd must be positive and ascend"),
        ({"sizes_usd": (0.0, 1.0)}, "sizes_usd must be positive and ascend"),
        ({"horizon_s": 0.0}, "horizon_s must be positive"),
    ],
)
def test_an_impossible_configuration_is_refused(given: dict[str, Any], why: str) -> None:
    """The error names the parameter."""
    with pytest.raises(ModelError, match=why):
        Ensemble(ModelsConfig(slippage=SlippageConfig(**given)))
