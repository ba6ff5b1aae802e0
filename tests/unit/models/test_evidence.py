"""Losses over matured labels."""

from __future__ import annotations

import math

import pytest

from riskwatch.models.evidence import CLIP, Evidence


def test_losses_are_means_over_labels() -> None:
    """Log loss is in nats; both losses use the stated probability."""
    evidence = Evidence()
    for p, label in ((0.8, True), (0.4, False), (0.1, True)):
        evidence.add(p, label=label)
    assert (evidence.count, evidence.positives) == (3, 2)
    assert evidence.log_loss == pytest.approx(-math.log(0.8 * 0.6 * 0.1) / 3)
    assert evidence.brier == pytest.approx((0.04 + 0.16 + 0.81) / 3)


@pytest.mark.parametrize(("p", "label"), [(0.0, True), (1.0, False)])
def test_certainty_that_was_wrong_costs_a_bounded_amount(p: float, label: bool) -> None:
    """The clip bounds the cost of one label."""
    evidence = Evidence()
    evidence.add(p, label=label)
    assert evidence.log_loss == pytest.approx(-math.log(CLIP))


def test_nothing_judged_is_no_loss() -> None:
    """Before any label both means are zero."""
    assert (Evidence().log_loss, Evidence().brier) == (0.0, 0.0)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf])
def test_what_is_no_probability_is_refused(p: float) -> None:
    """The evidence is unchanged."""
    evidence = Evidence()
    with pytest.raises(ValueError, match=r"probability must be in \[0, 1\]"):
        evidence.add(p, label=True)
    assert evidence == Evidence()
