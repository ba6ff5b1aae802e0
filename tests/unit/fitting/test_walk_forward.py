"""Folds walk forward: a model learns only from samples whose horizon has ended."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.fitting.artefact import fit_artefact
from riskwatch.fitting.trees import FitSettings, NotFittedError, fit
from riskwatch.fitting.walk_forward import blocks, platt
from tests.support.joined_models import HORIZON_S, TARGET, rows_of

samples = st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=80)


@given(samples, st.integers(1, 200), st.integers(2, 6))
def test_no_fold_looks_ahead(steps: list[tuple[int, bool]], horizon: int, count: int) -> None:
    """Horizons of training samples end before the first test sample; none is tested twice."""
    us = np.cumsum([step for step, _ in steps]).tolist()
    labels = [label for _, label in steps]
    tested: list[int] = []
    for train, test in blocks(us, labels, horizon, count):
        assert max(us[i] for i in train) + horizon <= min(us[i] for i in test)
        assert {labels[i] for i in train} == {False, True}
        tested += test.tolist()
    assert tested == sorted(set(tested))


def test_samples_out_of_order_are_refused() -> None:
    """Samples out of order are an error."""
    with pytest.raises(ValueError, match="in order of time"):
        list(blocks([2, 1], [True, False], 1))


def test_calibration_refuses_what_points_the_wrong_way() -> None:
    """A margin that falls with the probability is an error, not inverted."""
    margins = np.array([-2.0, -1.0, 1.0, 2.0] * 200)
    with pytest.raises(ValueError, match="slope was"):
        platt(margins, margins < 0.0)


def test_calibration_undoes_a_stretch() -> None:
    """Margins of twice the log-odds are calibrated to the log-odds."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=20_000)
    labels = rng.random(20_000) < 1.0 / (1.0 + np.exp(-logits))
    slope, intercept = platt(2.0 * logits + 1.0, labels)
    assert slope == pytest.approx(0.5, abs=0.03)
    assert intercept == pytest.approx(-0.5, abs=0.05)


def test_too_little_is_said_and_not_fitted() -> None:
    """A target with too few true labels has no model, and the reason is returned."""
    with pytest.raises(NotFittedError, match="too few to fit"):
        fit(rows_of(40), HORIZON_S, FitSettings())
    made, reasons = fit_artefact(rows_of(40), {TARGET: HORIZON_S}, ["made"], FitSettings())
    assert made.models == {}
    assert "too few" in reasons[TARGET]
