"""Measures of probabilities, compared with sums by hand and with scikit-learn."""

from __future__ import annotations

from math import log
from random import Random

import pytest
from sklearn.metrics import average_precision_score, brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from riskwatch.bench.probability import average_precision, brier, log_loss, measure_probabilities


def test_average_precision_by_hand() -> None:
    """Hits at ranks 1, 3 and 5 of five: (1/1 + 2/3 + 3/5) / 3."""
    scores, labels = [0.9, 0.8, 0.7, 0.6, 0.5], [True, False, True, False, True]
    assert average_precision(scores, labels) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_average_precision_of_one_score_is_the_rate() -> None:
    """Equal scores give the rate of positives, in whatever order they come."""
    assert average_precision([0.3] * 4, [True, False, False, False]) == 0.25
    assert average_precision([0.3] * 4, [False, False, False, True]) == 0.25


def test_average_precision_needs_a_positive() -> None:
    """Without a positive the result is ``None``."""
    assert average_precision([0.1, 0.2], [False, False]) is None


def test_brier_and_log_loss_by_hand() -> None:
    """Squares .04, .16, .25 and logarithms of .8, .6, .5."""
    predicted, labels = [0.8, 0.4, 0.5], [True, False, True]
    assert brier(predicted, labels) == pytest.approx((0.04 + 0.16 + 0.25) / 3)
    assert log_loss(predicted, labels) == pytest.approx(-(log(0.8) + log(0.6) + log(0.5)) / 3)


def test_certainty_that_is_wrong_costs_much_and_not_everything() -> None:
    """Zero and one are clipped, so that the loss of one sample is finite."""
    assert log_loss([0.0], [True]) == pytest.approx(-log(1e-6))


def test_skill_and_calibration_by_hand() -> None:
    """A rate of a quarter gives a climatology of 3/16; two predictions are high, one came true."""
    found = measure_probabilities([0.6, 0.2, 0.1, 0.1], [True, False, False, False])
    assert found.climatology == pytest.approx(3 / 16)
    assert found.brier == pytest.approx((0.16 + 0.04 + 0.01 + 0.01) / 4)
    assert found.skill == pytest.approx(1 - 0.055 / 0.1875)
    assert found.high_said == pytest.approx(0.4)
    assert (found.high, found.high_rate) == (2, 0.5)


def test_without_both_labels_there_is_no_skill() -> None:
    """Without both labels the climatology is perfect and the skill undefined."""
    assert measure_probabilities([0.1], [False]).skill is None
    assert measure_probabilities([0.1], [False]).high_rate is None


@pytest.mark.parametrize("seed", range(5))
def test_the_same_as_scikit_learn(seed: int) -> None:
    """The results equal scikit-learn's on random samples with ties."""
    rng = Random(seed)
    predicted = [round(rng.uniform(0.01, 0.99), 1) or 0.05 for _ in range(200)]
    labels = [rng.random() < p for p in predicted]
    assert average_precision(predicted, labels) == pytest.approx(
        average_precision_score(labels, predicted)
    )
    assert brier(predicted, labels) == pytest.approx(brier_score_loss(labels, predicted))
    assert log_loss(predicted, labels) == pytest.approx(
        sklearn_log_loss(labels, predicted), rel=1e-4
    )
