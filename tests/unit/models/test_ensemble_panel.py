"""Asked with or without reasons, the ladder says, learns and stores the same."""

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

WHO = (rules(), anchored(authority="advisory"), anchored(name="shadow"))


def able(scored: list[ModelScore]) -> list[ModelScore]:
    """Those that may ask for something."""
    return [each for each in scored if each.generation != "shadow"]


def test_what_is_not_due_says_the_same_in_fewer_words() -> None:
    """Every score that may ask for something is there, with the same grounds; shadows are not."""
    ladder = Ensemble(config(*WHO))
    told, kept = ladder.fresh(), ladder.fresh()
    left_out = 0
    for us, features, labelled in walk(11, 400):
        whole = ladder.observe(told, us, USDC, "asset", features, labelled=labelled)
        short = ladder.observe(kept, us, USDC, "asset", features, labelled=labelled, due=False)
        assert able(short) == able(whole)
        left_out += len(whole) > len(short)
    assert left_out > 100
    assert rows_of(told) == rows_of(kept)
    assert told.evidence[f"{USDC}|{ONSET}|shadow"].count > 20


def test_grounds_that_are_asked_for_later_are_those_of_the_score() -> None:
    """Labels that mature right after it change the models, and not what was said before."""
    ladder = Ensemble(config(*WHO))
    state = ladder.fresh()
    moved = 0
    for us, features, _ in walk(12, 300):
        before = ladder.observe(state, us, USDC, "asset", features, labelled=False)
        said = [(each.probability, each.grounds()) for each in able(before)]
        short = ladder.observe(state, us, USDC, "asset", features, labelled=True, due=False)
        assert [(each.probability, each.grounds()) for each in able(short)] == said
        after = ladder.observe(state, us, USDC, "asset", features, labelled=False)
        moved += [each.grounds() for each in able(after)] != [grounds for _, grounds in said]
    assert moved > 20


def test_every_sample_holds_what_everybody_said() -> None:
    """Shadows are judged on it, whether or not scores went out then."""
    ladder = Ensemble(config(*WHO))
    state = ladder.fresh()
    for us, features, _ in walk(13, 40):
        ladder.observe(state, us, USDC, "asset", features, labelled=True, due=False)
    samples = state.pending[f"{USDC}|{ONSET}"].samples
    assert samples
    for sample in samples:
        assert list(sample.said) == ["rules", "anchored", "shadow", "served"]
        assert "velocity_bp" in sample.features


def test_probabilities_alone_are_those_of_scores() -> None:
    """To the bit, of every model that can be asked so, taught or not."""
    ladder = Ensemble(config(*WHO))
    state = ladder.fresh()
    feed(ladder, state, walk(14, 300))
    taught = state.models[f"{USDC}|{ONSET}|anchored"]
    for model in (build("rules"), build("adaptive", {"scales": SCALES}), taught):
        for _, features, _ in [*walk(15, 50), at(0, 30.0), at(0, 30.0, breadth=float("nan"))]:
            x = {**features, "severity": features["discount_bp"] / 50.0}
            assert model.probability(x) == model.score(x).probability  # type: ignore[attr-defined]
