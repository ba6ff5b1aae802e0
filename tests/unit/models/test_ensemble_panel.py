"""Scores, learning and storage are equal with and without contributions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.models.ensemble import Ensemble
from riskwatch.models.registry import build
from tests.unit.models.samples import (
    ONSET,
    SCALES,
    USDC,
    anchored,
    at,
    config,
    feed,
    rows_of,
    rules,
    walk,
)

if TYPE_CHECKING:
    from riskwatch.core.risk.scorer import ModelScore

GENERATIONS = (rules(), anchored(authority="advisory"), anchored(name="shadow"))


def above_shadow(scored: list[ModelScore]) -> list[ModelScore]:
    """Return the scores of generations above shadow."""
    return [each for each in scored if each.generation != "shadow"]


def test_what_is_not_due_says_the_same_in_fewer_words() -> None:
    """If scores are not due, only shadows are left out; all other scores are equal."""
    ensemble = Ensemble(config(*GENERATIONS))
    whole, short = ensemble.fresh(), ensemble.fresh()
    left_out = 0
    for us, features, labelled in walk(11, 400):
        all_scores = ensemble.observe(whole, us, USDC, "asset", features, labelled=labelled)
        due_scores = ensemble.observe(
            short, us, USDC, "asset", features, labelled=labelled, due=False
        )
        assert above_shadow(due_scores) == above_shadow(all_scores)
        left_out += len(all_scores) > len(due_scores)
    assert left_out > 100
    assert rows_of(whole) == rows_of(short)
    assert whole.evidence[f"{USDC}|{ONSET}|shadow"].count > 20


def test_grounds_that_are_asked_for_later_are_those_of_the_score() -> None:
    """Labels that mature right after a score do not change its explanation."""
    ensemble = Ensemble(config(*GENERATIONS))
    state = ensemble.fresh()
    moved = 0
    for us, features, _ in walk(12, 300):
        before = ensemble.observe(state, us, USDC, "asset", features, labelled=False)
        explained = [(each.probability, each.grounds()) for each in above_shadow(before)]
        due_scores = ensemble.observe(state, us, USDC, "asset", features, labelled=True, due=False)
        assert [
            (each.probability, each.grounds()) for each in above_shadow(due_scores)
        ] == explained
        after = ensemble.observe(state, us, USDC, "asset", features, labelled=False)
        moved += [each.grounds() for each in above_shadow(after)] != [
            grounds for _, grounds in explained
        ]
    assert moved > 20


def test_every_sample_holds_what_everybody_said() -> None:
    """A sample holds the prediction of every generation, whether or not scores were due."""
    ensemble = Ensemble(config(*GENERATIONS))
    state = ensemble.fresh()
    for us, features, _ in walk(13, 40):
        ensemble.observe(state, us, USDC, "asset", features, labelled=True, due=False)
    samples = state.pending[f"{USDC}|{ONSET}"].samples
    assert samples
    for sample in samples:
        assert list(sample.said) == ["rules", "anchored", "shadow", "served"]
        assert "velocity_bp" in sample.features


def test_probabilities_alone_are_those_of_scores() -> None:
    """``probability`` equals ``score`` bit for bit, for trained and untrained models."""
    ensemble = Ensemble(config(*GENERATIONS))
    state = ensemble.fresh()
    feed(ensemble, state, walk(14, 300))
    trained = state.models[f"{USDC}|{ONSET}|anchored"]
    for model in (build("rules"), build("adaptive", {"scales": SCALES}), trained):
        for _, features, _ in [*walk(15, 50), at(0, 30.0), at(0, 30.0, breadth=float("nan"))]:
            x = {**features, "severity": features["discount_bp"] / 50.0}
            assert model.probability(x) == model.score(x).probability  # type: ignore[attr-defined]
