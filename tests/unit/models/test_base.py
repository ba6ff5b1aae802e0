"""Targets, authority, scores, and the generation protocol."""

from __future__ import annotations

import math
from typing import Any

import pytest

from riskwatch.core.enums import State
from riskwatch.models.adaptive import AnchoredGeneration
from riskwatch.models.base import (
    Authority,
    Generation,
    PredictionTarget,
    RulesGeneration,
    Score,
    known_severity,
)


@pytest.mark.parametrize(
    ("given", "id_"),
    [
        ({"threshold": 50.0, "horizon_s": 3600.0}, "depeg(50bp, 1h)"),
        ({"threshold": 0.5, "horizon_s": 90.0, "side": "premium"}, "depeg(premium 0.5bp, 90s)"),
        ({"threshold": 50.0, "horizon_s": 172_800.0}, "depeg(50bp, 2d)"),
        ({"threshold": 600.0, "horizon_s": 60.0, "unit": "s"}, "depeg(600s, 1min)"),
        (
            {"threshold": 200.0, "horizon_s": 3600.0, "start": 50.0},
            "depeg(200bp, 1h, from 50bp)",
        ),
    ],
)
def test_a_target_is_named_by_what_it_asks(given: dict[str, Any], id_: str) -> None:
    """The id holds threshold, horizon in its largest whole unit, and start."""
    assert PredictionTarget(kind="depeg", **given).id == id_


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"threshold": 0.0}, "threshold must be finite and positive"),
        ({"threshold": math.nan}, "threshold must be finite and positive"),
        ({"horizon_s": math.inf}, "horizon_s must be finite and positive"),
        ({"start": -1.0}, "start must be finite and positive"),
        ({"start": 50.0}, "start must be below the threshold"),
        ({"side": "down"}, "side must be one of"),
    ],
)
def test_an_impossible_target_is_refused(given: dict[str, Any], why: str) -> None:
    """The message names the field and its value."""
    with pytest.raises(ValueError, match=why):
        PredictionTarget(**{"kind": "depeg", "threshold": 50.0, "horizon_s": 60.0, **given})


@pytest.mark.parametrize(
    ("side", "measures"),
    [
        ("discount", (70.0, -70.0)),
        ("premium", (-70.0, 70.0)),
        ("either", (70.0, 70.0)),
        ("", (-70.0, 70.0)),
    ],
)
def test_a_side_says_which_deviation_is_dangerous(side: str, measures: tuple[float, float]) -> None:
    """A measure is positive on the dangerous side."""
    target = PredictionTarget(kind="depeg", threshold=50.0, horizon_s=60.0, side=side)
    assert (target.measure(-70.0), target.measure(70.0)) == measures


def test_onset_and_escalation_are_asked_apart() -> None:
    """Onset is open below the threshold; escalation from `start` to the threshold."""
    onset = PredictionTarget(kind="depeg", threshold=50.0, horizon_s=60.0)
    escalation = PredictionTarget(kind="depeg", threshold=200.0, horizon_s=60.0, start=50.0)
    is_open = [
        (onset.is_open_at(bp), escalation.is_open_at(bp)) for bp in (0.0, 49.9, 50.0, 199.9, 200.0)
    ]
    assert is_open == [(True, False), (True, False), (False, True), (False, True), (False, False)]


def test_authority_caps_what_may_be_asked_for() -> None:
    """Each authority allows one state more."""
    assert [a.cap for a in Authority] == [State.NORMAL, State.WATCH, State.REDUCE, State.HALT]
    assert not Authority.SHADOW.allows(State.WATCH)
    assert Authority.FULL.allows(State.HALT)
    assert not Authority.ADVISORY.allows(State.REDUCE)


def test_scores_are_ordered_by_danger_even_where_they_saturate() -> None:
    """Two severities with equal logits are ordered by the severity."""
    calm, wild = Score(1.0, 40.0, 1e17, {}), Score(1.0, 40.0, 2e17, {})
    assert max(calm, wild, key=lambda score: score.order) is wild


def test_an_unknown_severity_is_the_anchor() -> None:
    """NaN and absent both give 1."""
    assert known_severity({"severity": math.nan}) == known_severity({}) == 1.0


def test_what_is_a_generation_is_told_by_its_members() -> None:
    """Both models of this package implement the protocol; a target does not."""
    assert isinstance(RulesGeneration(), Generation)
    assert isinstance(AnchoredGeneration(), Generation)
    assert not isinstance(PredictionTarget(kind="depeg", threshold=1.0, horizon_s=1.0), Generation)


def test_the_rules_never_learn() -> None:
    """Their score is equal after any label. They keep no state, and refuse another model's."""
    model = RulesGeneration()
    before = model.score({"severity": 2.0})
    model.learn({"severity": 2.0}, y=False)
    assert model.score({"severity": 2.0}) == before
    assert sum(before.contributions.values()) == before.logit
    assert model.state() == {}
    model.restore({})
    with pytest.raises(ValueError, match="rules keep no state, found mean"):
        model.restore({"mean": [0.0]})
