"""The shipped models and joined River and scikit-learn models pass the conformance kit."""

from __future__ import annotations

import pickle
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from riskwatch.checks import check_model
from riskwatch.checks.model import CHECKS
from riskwatch.errors import ModelError
from riskwatch.fitting.artefact import fit_artefact
from riskwatch.fitting.trees import FitSettings
from riskwatch.models.frozen import FrozenGeneration, FrozenModels
from riskwatch.models.frozen import seal_frozen as sealed_frozen
from riskwatch.models.registry import build
from riskwatch.models.trees import seal_artefact
from tests.support import joined_models
from tests.support.joined_models import HORIZON_S, NAMES, TARGET, rows_of

if TYPE_CHECKING:
    from riskwatch.models.base import Score

SCALES = {"velocity_bp": 10.0, "drift_bp": 30.0, "sd_bp": 10.0}
BATCH = seal_artefact(
    fit_artefact(rows_of(), {TARGET: HORIZON_S}, ["made"], FitSettings(least_rows=20))[0]
)
FROZEN = joined_models.frozen_forest()
SLOW = {"score_ratio": 2_000.0, "learn_ratio": 2_000.0}
"""Bounds for models explained by occlusion, which needs many predictions."""


@pytest.mark.parametrize(
    ("model", "options", "bounds"),
    [
        ("rules", {}, {}),
        ("anchored", {"scales": SCALES, "radius_half": 5.0}, {}),
        ("adaptive", {"scales": SCALES, "half_life": 100.0}, {}),
        ("batch", {"artefact": BATCH}, {"target": TARGET}),
        ("frozen", {"artefact": FROZEN}, SLOW),
        (joined_models.scaled_regression, {}, SLOW),
        (joined_models.hoeffding_tree, {}, SLOW),
    ],
)
def test_shipped_and_joined_models_conform(
    model: Any, options: dict[str, Any], bounds: dict[str, Any]
) -> None:
    """All checks pass, with wider time bounds for models that are slow by nature.

    Starting two processes takes seconds, so only the models with the richest state run that
    check.
    """
    far = model in ("adaptive", joined_models.hoeffding_tree)
    only = tuple(name for name in CHECKS if far or name != "across_processes")
    assert check_model(model, options=options, events=1_000, only=only, **bounds) == only


def test_a_river_model_is_the_rule_until_both_labels_are_seen() -> None:
    """After that its score moves away from the rule's."""
    model, rule = joined_models.scaled_regression(), build("rules")
    x = {"severity": 0.4, "velocity_bp": 3.0}
    for _ in range(30):
        model.learn(x, False)
    assert model.score(x).logit == rule.score(x).logit
    for row in rows_of(400):
        model.learn(row.features, row.label)
    assert model.score(x).logit != rule.score(x).logit
    fast, slow = ({"severity": 0.4, "velocity_bp": v} for v in (30.0, -30.0))
    assert model.score(fast).probability > model.score(slow).probability


def score_after_training(model: Any) -> Score:
    """Return the score of a model after some training."""
    for row in rows_of(300):
        model.learn(row.features, row.label)
    score: Score = model.score({"severity": 0.8, "velocity_bp": 5.0, "sd_bp": 0.5})
    return score


def test_only_what_is_not_exact_is_marked_so() -> None:
    """Linear models and the shipped ones have exact parts; others have the part `agnostic`."""
    assert "agnostic" not in score_after_training(joined_models.scaled_regression()).contributions
    assert "agnostic" in score_after_training(joined_models.hoeffding_tree()).contributions
    assert "agnostic" in score_after_training(FrozenGeneration(FROZEN)).contributions
    assert (
        "agnostic"
        not in score_after_training(build("batch", {"artefact": BATCH}, TARGET)).contributions
    )
    for name in ("anchored", "adaptive"):
        assert "agnostic" not in score_after_training(build(name, {"scales": SCALES})).contributions


def test_a_river_model_that_outgrows_its_limit_stops_growing() -> None:
    """It keeps its last state, sets ``full``, and its row stays within the bound."""
    model = joined_models.hoeffding_tree()
    for row in rows_of(1_500):
        model.learn(row.features, row.label)
    state = model.state()
    assert state["full"] is True
    assert len(msgspec.json.encode(state)) < 32_768
    again = joined_models.hoeffding_tree()
    again.restore(state)
    x = {"severity": 0.8, "velocity_bp": 5.0}
    assert again.score(x) == model.score(x)


def test_a_malicious_row_is_refused() -> None:
    """A stored row cannot run code, nor hold another estimator or River version."""
    model = joined_models.scaled_regression()
    state = model.state()
    for change, why in (
        ({"pickle": b64encode(b"cos\nsystem\n(S'true'\ntR.").decode()}, "may not name os.system"),
        ({"pickle": b64encode(pickle.dumps([1])).decode()}, "must hold a Pipeline, held a list"),
        ({"river": "0.1.0"}, "was of 0.1.0"),
        ({"estimator": "Other"}, "of estimator"),
        ({"pickle": "???"}, "base64|padding"),
    ):
        with pytest.raises(ValueError, match=why):
            model.restore({**state, **change})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "other"}, "digest"),
        ({"format": "x"}, "format"),
        ({"scikit_learn": "0.1"}, "fit and freeze it again"),
        ({"neutral": [1.0]}, "one length"),
        ({"models": {"*": b64encode(pickle.dumps({"a": 1})).decode()}}, "probabilities"),
        ({"models": {"*": b64encode(b"cos\nsystem\n(S'true'\ntR.").decode()}}, "os.system"),
    ],
)
def test_a_changed_frozen_artefact_is_refused(change: dict[str, Any], why: str) -> None:
    """The digest finds the change; with a forged digest, the content is checked."""
    made = {**msgspec.json.decode(FROZEN), **change}
    text = msgspec.json.encode(made).decode()
    if "name" not in change:
        text = sealed_frozen(msgspec.convert({**made, "sha256": ""}, type=FrozenModels))
    with pytest.raises(ModelError, match=why):
        build("frozen", {"artefact": text})


def test_the_frozen_model_says_what_scikit_learn_says() -> None:
    """A missing feature counts as its neutral value, and the parts sum to the logit."""
    x, _ = joined_models.labelled(50)
    model = FrozenGeneration(FROZEN)
    for row in x.tolist():
        state = {n: v for n, v in zip(NAMES, row, strict=True) if v == v}  # noqa: PLR0124
        score = model.score(state)
        assert score.probability == model.score({"velocity_bp": 0.0, **state}).probability
        assert sum(score.contributions.values()) == pytest.approx(score.logit, abs=1e-9)
