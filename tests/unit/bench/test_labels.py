"""Labels computed from readings, compared with labels by hand."""

from __future__ import annotations

import pytest

from riskwatch.bench.labels import label
from riskwatch.bench.outcome import probabilities
from riskwatch.bench.target import DepegTarget, parse
from riskwatch.bench.trial import Prediction
from riskwatch.core.clock import HOUR, MINUTE
from tests.unit.bench.samples import case, seen, trial

TARGET = "depeg(discount 50bp, 1h)"
ASKED = DepegTarget(50.0, HOUR)


def test_a_hit_within_the_horizon_is_true_and_at_its_end_too() -> None:
    """Minute 60 is within the horizon, minute 61 is not."""
    series = seen(*[0.0] * 60, -50.0, *[0.0] * 60)
    assert label(ASKED, 0, series) is True
    assert label(ASKED, 60 * MINUTE, series) is False


def test_what_is_seen_at_the_sample_itself_is_no_answer() -> None:
    """The horizon begins after the sample."""
    assert label(ASKED, 0, seen(-60.0, *[0.0] * 61)) is False


def test_a_premium_is_no_discount() -> None:
    """A deviation to the other side does not count."""
    series = seen(0.0, 80.0, *[0.0] * 60)
    assert label(ASKED, 0, series) is False
    assert label(DepegTarget(50.0, HOUR, "either"), 0, series) is True


def test_a_hole_leaves_no_false_label_but_a_true_one() -> None:
    """With a gap of sixteen minutes in an hour, a label can be true but not false."""
    before, after = seen(*[0.0] * 20), seen(*[0.0] * 60, start=36 * MINUTE)
    assert label(ASKED, 0, before + after) is None
    assert label(ASKED, 0, before + seen(-70.0, *[0.0] * 60, start=36 * MINUTE)) is True
    short = seen(*[0.0] * 60, start=34 * MINUTE)
    assert label(ASKED, 0, before + short) is False


def test_a_horizon_beyond_the_series_has_no_answer() -> None:
    """A horizon beyond the series, or a series without readings, gives no label."""
    assert label(ASKED, 0, seen(*[0.0] * 60)) is None
    assert label(ASKED, 0, []) is None


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (TARGET, DepegTarget(50.0, HOUR)),
        ("depeg(premium 100bp, 30min)", DepegTarget(100.0, 30 * MINUTE, "premium")),
        ("depeg(discount 20 bp, 1d)", DepegTarget(20.0, 24 * HOUR)),
        ("withdrawal_stress(6h)", None),
        ("depeg(discount 50USD, 1h)", None),
    ],
)
def test_targets_are_read_off_their_names(name: str, asked: DepegTarget | None) -> None:
    """A target with an unknown name is not scored."""
    assert parse(name) == asked


def test_only_open_questions_are_judged_and_deviation_ranks_the_same_samples() -> None:
    """Of three samples, one is true, one is false, and one was already beyond the level."""
    series = seen(-40.0, *[0.0] * 19, -60.0, *[-1.0] * 100)
    predictions = [
        Prediction(us * MINUTE, "asset:A", TARGET, "g", p)
        for us, p in ((0, 0.8), (20, 0.9), (30, 0.3))
    ]
    [found] = probabilities(trial(case(), [], series={"A": series}, scores=predictions))
    assert found.labels == (True, False)
    assert found.said == (0.8, 0.3)
    assert (found.judged.ap, found.ap_deviation, found.events) == (1.0, 1.0, 1)
