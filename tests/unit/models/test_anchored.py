"""The anchored model: it starts as the rule and learns from labels."""

from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from river import checks

from riskwatch.models.anchored import MAX_FEATURES, AnchoredLogisticRegression
from riskwatch.models.base import RuleLogit, sigmoid
from riskwatch.models.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable

SCALES = {"velocity": 10.0, "breadth": 2.0}
RULE = RuleLogit()


def trained(seed: int, labels: int, **options: Any) -> AnchoredLogisticRegression:
    """Return a model that has learned random labels, in which velocity matters."""
    rng = random.Random(seed)
    model = AnchoredLogisticRegression(**{"scales": SCALES, "radius_half": 10.0, **options})
    for _ in range(labels):
        x = {
            "severity": rng.uniform(0.0, 3.0),
            "velocity": rng.uniform(-40.0, 40.0),
            "breadth": float(rng.randrange(4)),
        }
        model.learn_one(x, rng.random() < sigmoid(2.0 * x["velocity"] / (10 + abs(x["velocity"]))))
    return model


def through_json(model: AnchoredLogisticRegression) -> Any:
    """Return the state after a round trip through JSON."""
    return json.loads(json.dumps(model.state()))


@pytest.mark.parametrize("check", list(checks.yield_checks(AnchoredLogisticRegression())))
@pytest.mark.parametrize("scales", [None, {"age_of_domain": 1.0, "long_url": 0.5}])
def test_it_is_a_river_estimator(
    check: Callable[[Any], None], scales: dict[str, float] | None
) -> None:
    """River's own conformance checks pass, with and without declared features."""
    check(AnchoredLogisticRegression(scales=scales))


@pytest.mark.parametrize("label", [True, False])
def test_it_is_the_rule_until_both_labels_were_seen(label: bool) -> None:
    """Labels of one class alone change nothing."""
    model = AnchoredLogisticRegression(scales=SCALES)
    for n in range(50):
        for severity in (0.0, 0.3, 1.0, 7.0, 1e6):
            x = {"severity": severity, "velocity": 100.0}
            assert model.logit_one(x) == RULE.logit(severity)
        model.learn_one({"severity": n / 10, "velocity": 100.0}, label)
    model.learn_one({"severity": 1.0, "velocity": -100.0}, not label)
    assert model.logit_one({"severity": 1.0, "velocity": 100.0}) != RULE.logit(1.0)


def test_the_trust_region_is_released_by_the_rarer_label() -> None:
    """The radius is half of `radius_max` at `radius_half` labels of the rarer class."""
    model = AnchoredLogisticRegression(radius_max=2.0, radius_half=10.0)
    x = {"severity": 1.0}
    for n in range(40):
        model.learn_one(x, y=True)
        if n < 10:
            model.learn_one(x, y=False)
    assert (model.positives, model.negatives, model.radius) == (40, 10, 1.0)


def test_no_radius_is_the_rule_for_ever() -> None:
    """With a radius of 0 the model repeats the rule."""
    model = trained(1, 200, radius_max=0.0)
    assert model.logit_one({"severity": 0.4, "velocity": 90.0}) == RULE.logit(0.4)


def test_an_update_is_the_exact_posterior_mode() -> None:
    """Mean and covariance agree with the textbook formulas in matrices."""
    model = trained(3, 20, label_weight=0.5)
    rng = random.Random(4)
    for label in (True, False, True):
        before = model.state()
        full = np.array([[*row, *[0.0] * (4 - len(row))] for row in before["covariance"]])
        full += np.tril(full, -1).T
        x = {"severity": rng.uniform(0.2, 2.0), "velocity": 30.0, "breadth": 1.0}
        model.learn_one(x, label)
        after = model.state()
        inputs = np.array([1.0, RULE.steps(x["severity"]), 1.0 / 3.0, 30.0 / 40.0])
        mean = np.array(after["mean"])
        p = sigmoid(float(mean @ inputs))
        pull = np.linalg.solve(full, mean - np.array(before["mean"]))
        assert pull == pytest.approx(0.5 * (label - p) * inputs, abs=1e-8)
        precision = np.linalg.inv(full) + 0.5 * p * (1 - p) * np.outer(inputs, inputs)
        lower = [row[i] for i, row in enumerate(after["covariance"])]
        assert lower == pytest.approx(np.diag(np.linalg.inv(precision)), rel=1e-6)


def test_labels_only_ever_narrow_what_is_believed() -> None:
    """Variances fall from the prior's and stay positive; forgetting never passes the prior's."""
    prior = [1.0, 0.25**2, 0.5**2, 0.5**2]
    narrow = [row[i] for i, row in enumerate(trained(5, 2000).state()["covariance"])]
    assert all(0.0 < got < before / 4 for got, before in zip(narrow, prior, strict=True))
    wide = trained(5, 2000, forgetting=0.9).state()["covariance"]
    assert all(n < w[i] for i, (n, w) in enumerate(zip(narrow, wide, strict=True)))
    forgetful = trained(5, 50, forgetting=0.01).state()["covariance"]
    assert all(row[i] <= prior[i] * (1 + 1e-12) for i, row in enumerate(forgetful))


def test_more_severity_never_means_less_danger_whatever_the_labels_say() -> None:
    """Labels that contradict the rule flatten its slope but never invert it."""
    model = AnchoredLogisticRegression(slope_sd=5.0, radius_half=1.0, radius_max=50.0)
    for n in range(400):
        severity = (n % 8) / 2.0
        model.learn_one({"severity": severity}, severity < 1.0)
    logits = [model.logit_one({"severity": s / 100}) for s in range(1000)]
    assert logits == sorted(logits)
    assert model.state()["mean"][1] == 0.125


def test_it_learns_what_the_rule_cannot_see() -> None:
    """With an informative feature its loss falls below the rule's."""
    rng = random.Random(11)
    model = AnchoredLogisticRegression(scales=SCALES, radius_half=20.0)
    mine, rule = Evidence(), Evidence()
    for n in range(1000):
        danger = rng.random() < 0.3
        x = {
            "severity": rng.uniform(0.2, 0.9),
            "velocity": (30.0 if danger else 0.0) + rng.gauss(0.0, 5.0),
            "breadth": float(rng.randrange(4)),
        }
        y = rng.random() < (0.8 if danger else 0.05)
        if n >= 500:
            mine.add(model.predict_proba_one(x)[True], label=y)
            rule.add(sigmoid(RULE.logit(x["severity"])), label=y)
        model.learn_one(x, y)
    assert mine.log_loss < 0.75 * rule.log_loss
    parts = model.explain_one({"severity": 0.5, "velocity": 30.0, "breadth": 2.0})
    assert parts["velocity"] > 1.0 > abs(parts["breadth"])


def test_explanations_name_what_was_present() -> None:
    """Absent features are not named; the parts sum to the logit."""
    model = trained(7, 300)
    logit, parts = model.decompose({"severity": 0.3, "velocity": 25.0, "other": 9.0})
    assert list(parts) == ["bias", "severity", "velocity", "trust_region"]
    assert sum(parts.values()) == pytest.approx(logit, abs=1e-12)


def test_a_missing_or_nan_feature_says_nothing() -> None:
    """It contributes like zero; an infinite feature contributes the most possible."""
    model = trained(7, 300)
    zero = model.logit_one({"severity": 0.7, "velocity": 0.0})
    for value in (None, math.nan):
        assert model.logit_one({"severity": 0.7, "velocity": value}) == zero
    assert model.logit_one({"severity": 0.7}) == zero
    most = model.explain_one({"severity": 0.7, "velocity": math.inf})["velocity"]
    assert most == pytest.approx(model.explain_one({"velocity": 1e30})["velocity"])
    assert model.explain_one({"velocity": -math.inf})["velocity"] == -most


def test_odd_inputs_teach_finite_things() -> None:
    """NaN, infinite and absent inputs leave a model whose state is plain finite numbers."""
    model = AnchoredLogisticRegression(scales=SCALES)
    odd = (math.nan, math.inf, -math.inf, 1e308, -1e308, 0.0, None)
    for n, value in enumerate(odd * 3):
        model.learn_one({"severity": value, "velocity": value}, bool(n % 2))
        model.learn_one({}, bool(n % 3))
    state = through_json(model)
    numbers = [*state["mean"], *(c for row in state["covariance"] for c in row)]
    assert all(math.isfinite(number) for number in numbers)


@pytest.mark.parametrize("label", [None, 2, 0.5, math.nan, "True"])
def test_what_is_no_label_is_refused(label: object) -> None:
    """An unlabelled state is not an example, and changes nothing."""
    model = trained(1, 10)
    before = model.state()
    with pytest.raises(ValueError, match="label must be True or False"):
        model.learn_one({"severity": 1.0}, label)
    assert model.state() == before


def test_what_was_restored_goes_on_bit_for_bit() -> None:
    """The state survives JSON unchanged, and later learning is equal bit for bit."""
    model, other = trained(9, 137), AnchoredLogisticRegression(scales=SCALES, radius_half=10.0)
    other.restore(through_json(model))
    assert through_json(other) == through_json(model)
    rng = random.Random(3)
    for _ in range(50):
        x = {"severity": rng.expovariate(1.0), "velocity": rng.gauss(0.0, 20.0)}
        assert other.logit_one(x) == model.logit_one(x)
        label = rng.random() < 0.5
        model.learn_one(x, label)
        other.learn_one(x, label)
    assert through_json(other) == through_json(model)


def test_features_may_come_and_go() -> None:
    """A new or rescaled feature starts at its prior; the others keep their weights."""
    model = trained(9, 200)
    old = model.state()
    other = AnchoredLogisticRegression(
        scales={"velocity": 10.0, "breadth": 3.0, "age": 1.0}, radius_half=10.0
    )
    other.restore(through_json(model))
    new = other.state()
    assert [name for name, _ in new["scales"]] == ["age", "breadth", "velocity"]
    assert new["mean"] == [*old["mean"][:2], 0.0, 0.0, old["mean"][3]]
    assert new["covariance"][2:4] == [[0.0, 0.0, 0.25], [0.0, 0.0, 0.0, 0.25]]
    kept = [old["covariance"][3][i] for i in (0, 1, 3)]
    assert [new["covariance"][4][i] for i in (0, 1, 4)] == kept
    assert (other.positives, other.negatives) == (model.positives, model.negatives)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"rule": [0.5, 2.0, 0.05]}, "state must be of the rule"),
        ({"mean": [0.0]}, "state must have 4 weights, had 1"),
        ({"covariance": [[1.0], [0.0], [0.0], [0.0]]}, "state must have 4 weights"),
        ({"scales": []}, "state must have 2 weights, had 4"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: dict[str, Any], why: str) -> None:
    """A state of another rule or a damaged state is an error; the model is unchanged."""
    model = AnchoredLogisticRegression(scales=SCALES)
    before = model.state()
    with pytest.raises(ValueError, match=why):
        model.restore({**trained(1, 5).state(), **change})
    assert model.state() == before


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"scales": {"severity": 1.0}}, "'severity' is reserved"),
        ({"scales": {"a": 0.0}}, "scale of 'a' must be in"),
        ({"scales": {"a": math.nan}}, "scale of 'a' must be in"),
        ({"scales": {f"f{n}": 1.0 for n in range(MAX_FEATURES + 1)}}, "at most 16 features"),
        ({"anchor": 1.0}, "anchor probability must be in"),
        ({"slope": -1.0}, "slope must be in"),
        ({"floor": 0.0}, "floor must be in"),
        ({"bias_sd": 0.0}, "bias_sd must be in"),
        ({"slope_sd": 11.0}, "slope_sd must be in"),
        ({"weight_sd": math.inf}, "weight_sd must be in"),
        ({"label_weight": 1.5}, "label_weight must be in"),
        ({"forgetting": 0.0}, "forgetting must be in"),
        ({"radius_max": -1.0}, "radius_max must be in"),
        ({"radius_half": 0.0}, "radius_half must be in"),
    ],
)
def test_an_impossible_option_is_refused(options: dict[str, Any], why: str) -> None:
    """The message names the option, its range and its value."""
    with pytest.raises(ValueError, match=why):
        AnchoredLogisticRegression(**options)
