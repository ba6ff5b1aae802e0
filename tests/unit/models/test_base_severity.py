"""From a severity to log-odds."""

from __future__ import annotations

import math

import pytest

from riskwatch.models.base import RuleLogit, doublings, sigmoid


@pytest.mark.parametrize("power", [-1000, -3, 0, 1, 40, 1000])
def test_doublings_are_exact_at_powers_of_two(power: int) -> None:
    """The count of doublings equals the base-2 logarithm there."""
    assert doublings(2.0**power) == power


@pytest.mark.parametrize("logit", [0.0, 1e-9, 0.3, 5.0, 40.0, 800.0, 1e308])
def test_sigmoid_is_symmetric_and_never_overflows(logit: float) -> None:
    """Probabilities of opposite logits sum to 1."""
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1.0, abs=1e-15)
    assert 0.0 <= sigmoid(-logit) <= 0.5 <= sigmoid(logit) <= 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("probability", 0.0),
        ("probability", 1.0),
        ("probability", math.nan),
        ("slope", 0.0),
        ("slope", -1.0),
        ("slope", math.inf),
        ("floor", 0.0),
        ("floor", math.nan),
    ],
)
def test_an_impossible_anchor_is_refused(name: str, value: float) -> None:
    """The message names the parameter."""
    with pytest.raises(ValueError, match=name):
        RuleLogit(**{name: value})


def test_the_anchor_is_met_at_severity_one() -> None:
    """The configured probability holds exactly at severity 1."""
    rule = RuleLogit(probability=0.2, slope=1.5)
    assert sigmoid(rule.logit(1.0)) == pytest.approx(0.2, abs=1e-15)


def test_what_is_not_known_does_not_read_as_calm() -> None:
    """An absent or NaN severity is the anchor; negative and infinite ones are bounded."""
    rule = RuleLogit()
    assert rule.logit(None) == rule.logit(math.nan) == rule.logit(1.0) == 0.0
    assert rule.logit(-5.0) == rule.logit(0.0) == rule.logit(-math.inf) < rule.logit(0.01)
    assert math.isfinite(rule.logit(math.inf))
    assert rule.logit(math.inf) > rule.logit(1e300)
