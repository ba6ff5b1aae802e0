"""Trees as plain numbers: equal to scikit-learn's, explained, and refused where malformed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from riskwatch.errors import ModelError
from riskwatch.fitting.artefact import fit_artefact
from riskwatch.fitting.trees import FitSettings, export_trees, fit_trees
from riskwatch.models.registry import build
from riskwatch.models.trees import (
    Artefact,
    BatchGeneration,
    Forest,
    Tree,
    open_artefact,
    seal_artefact,
)
from tests.support.joined_models import HORIZON_S, NAMES, TARGET, labelled, rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from riskwatch.models.base import Generation

X, Y = labelled()
MODEL = fit_trees(X, Y, NAMES, FitSettings(least_rows=20))
FOREST = Forest(NAMES, float(MODEL._baseline_prediction[0, 0]), export_trees(MODEL))
ARTEFACT, _ = fit_artefact(rows_of(), {TARGET: HORIZON_S}, ["made"], FitSettings(least_rows=20))
TEXT = seal_artefact(ARTEFACT)
LEAF: dict[str, Any] = {
    "feature": [-1], "threshold": [0.0], "missing_left": [False], "left": [0], "right": [0],
    "value": [1.0], "count": [1],
}  # fmt: skip


def batch(text: str = TEXT) -> Generation:
    """Return the generation of the one fitted target."""
    return build("batch", {"artefact": text}, TARGET)


def probes() -> NDArray[np.float64]:
    """Return rows that mix thresholds, their neighbours, extremes, NaN and ordinary numbers."""
    edges = np.array(sorted({t for tree in export_trees(MODEL) for t in tree.threshold}))
    near = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)])
    pool = np.concatenate([near, X.ravel(), [0.0, -0.0, 1e308, -1e308, 5e-324, *[np.nan] * 40]])
    return np.random.default_rng(1).choice(pool, size=(5_000, len(NAMES)))


def test_trees_say_what_scikit_learn_says() -> None:
    """Margins are equal bit for bit, also at the thresholds and with missing features."""
    rows = probes()
    for row, expected in zip(rows.tolist(), MODEL.decision_function(rows).tolist(), strict=True):
        x = {n: v for n, v in zip(NAMES, row, strict=True) if not math.isnan(v)}
        margin, base, shares = FOREST.decompose(x)
        assert margin == expected
        assert math.fsum([base, *shares.values()]) == pytest.approx(margin, abs=1e-12)


def test_more_severity_is_never_less_danger() -> None:
    """The score is monotone in the severity, other features being equal."""
    for velocity in (-20.0, 0.0, 20.0):
        logits = [
            batch().score({"severity": s / 50.0, "velocity_bp": velocity}).logit for s in range(100)
        ]
        assert logits == sorted(logits)
        assert logits[0] < logits[-1]


def test_a_batch_model_is_explained_and_frozen() -> None:
    """Its parts sum to its logit, and labels change nothing."""
    model = batch()
    x = {"severity": 0.9, "velocity_bp": 12.0}
    before = model.score(x)
    assert math.fsum(before.contributions.values()) == pytest.approx(before.logit, abs=1e-12)
    assert set(before.contributions) == {"bias", *NAMES}
    model.learn(x, False)
    assert model.score(x) == before
    assert model.state() == {}
    with pytest.raises(ValueError, match="keeps no state"):
        model.restore({"x": 1})
    other = build("batch", {"artefact": TEXT}, "slippage(USD)")
    assert other.score(x).probability == build("rules").score(x).probability


def test_the_rule_is_beaten_where_there_is_something_to_learn() -> None:
    """Out of fold it beats rule and base rate on rows whose labels follow the features."""
    figures = open_artefact(TEXT).models[TARGET].metrics
    assert figures["log_loss"] < figures["base_log_loss"]
    assert figures["log_loss"] < figures["rule_log_loss"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"slope":', '"slope":1', "not what its digest says"),
        ('"name":"batch"', '"name":"other"', "not what its digest says"),
        ('"format":"riskwatch-trees-1"', '"format":"trees-2"', "must be of format"),
        ('"name":', '"more":1,"name":', "cannot be read"),
        (TEXT, "batch.json", "cannot be read"),
    ],
)
def test_a_changed_artefact_is_refused(old: str, new: str, why: str) -> None:
    """The digest covers the whole artefact, so every change is found."""
    assert old in TEXT
    with pytest.raises(ModelError, match=why):
        batch(TEXT.replace(old, new, 1))


def test_an_artefact_that_cannot_be_evaluated_is_refused() -> None:
    """It is refused even if its digest is right."""
    model = ARTEFACT.models[TARGET]
    for change, why in (
        ({"slope": -1.0}, "calibration must be in range"),
        ({"features": ("severity", "severity", "a")}, "without repeats"),
        ({"features": ("severity", "bias", "a")}, "reserved"),
        ({"baseline": 1e400}, "cannot be read|baseline must be finite"),
    ):
        wrong = msgspec.structs.replace(model, **change)
        made = msgspec.structs.replace(ARTEFACT, models={TARGET: wrong})
        with pytest.raises(ValueError, match=why):
            BatchGeneration(seal_artefact(made), TARGET)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"feature": [1], "left": [0]}, "not below it"),
        ({"feature": [5]}, "cannot hold"),
        ({"count": [0]}, "cannot hold"),
        ({"value": [math.inf]}, "cannot hold"),
        ({"value": []}, "in every column"),
        ({name: column * 2 for name, column in LEAF.items()}, "one parent"),
    ],
)
def test_a_malformed_tree_is_refused(change: dict[str, Any], why: str) -> None:
    """A walk through a tree always ends, at a finite number."""
    with pytest.raises(ValueError, match=why):
        Forest(NAMES, 0.0, [Tree(**{**LEAF, **change})])


def test_the_same_rows_give_the_same_bytes() -> None:
    """The order of rows does not matter, and other rows give another digest."""
    horizons, fit_settings = {TARGET: HORIZON_S}, FitSettings(least_rows=20)
    again, _ = fit_artefact(list(reversed(rows_of())), horizons, ["made"], fit_settings)
    assert seal_artefact(again) == TEXT
    other, _ = fit_artefact(rows_of(seed=2), horizons, ["made"], fit_settings)
    assert other.data_sha256 != again.data_sha256


def test_an_artefact_says_what_it_is() -> None:
    """It holds data digest, features, metrics, limits and versions."""
    made = msgspec.json.decode(TEXT, type=Artefact)
    model = made.models[TARGET]
    assert len(made.data_sha256) == 64
    assert made.limits
    assert set(made.versions) == {"numpy", "scikit-learn"}
    assert model.features == ("severity", "sd_bp", "velocity_bp")
    assert model.monotone == (1, 0, 1)
    assert (model.rows, model.entities, model.episodes) == (600, 1, 1)
