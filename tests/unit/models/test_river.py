"""Estimators of River by name: canonical state, the rule as offset, pools and detectors."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from river import checks

from riskwatch.checks import check_model
from riskwatch.checks.model import CHECKS
from riskwatch.core.risk.scorer import DetectorConfig, GenerationConfig
from riskwatch.errors import ModelError
from riskwatch.models.adaptive import AdaptiveLogisticRegression
from riskwatch.models.ensemble import Ensemble
from riskwatch.models.registry import build
from riskwatch.models.river_generation import river_by_name
from riskwatch.models.river_pipeline import (
    MAX_STATE_BYTES,
    build_estimator,
    export_state,
    import_state,
)
from tests.unit.models.samples import config, rules

SCALES: Final = {"velocity_bp": 10.0, "sd_bp": 10.0, "severity": 1.0}
REGRESSION: Final = (
    {"use": "preprocessing.StandardScaler"},
    {"use": "linear_model.LogisticRegression", "l2": 0.001},
)
INTERACTIONS: Final = (
    {"use": "feature_extraction.PolynomialExtender"},
    {"use": "preprocessing.StandardScaler"},
    {"use": "linear_model.LogisticRegression", "optimizer": {"use": "optim.AdaGrad", "lr": 0.1}},
)
TREES: Final = {"use": "anomaly.HalfSpaceTrees", "n_trees": 4, "height": 4, "window_size": 30}
HOEFFDING: Final = ({"use": "tree.HoeffdingAdaptiveTreeClassifier", "seed": 1},)
DETECTOR: Final = DetectorConfig(
    feature="anomaly", pipeline=({**TREES, "seed": 3},), scales={"velocity_bp": 10.0, "sd_bp": 5.0}
)


def examples(count: int, seed: int = 1) -> list[tuple[dict[str, float], bool]]:
    """Features of which some are missing, and labels that follow the velocity."""
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        x = {"severity": rng.random(), "velocity_bp": rng.gauss(0.0, 20.0)}
        if rng.random() < 0.7:
            x["sd_bp"] = rng.random() * 9.0
        out.append((x, rng.random() < (0.7 if x["velocity_bp"] > 10.0 else 0.1)))
    return out


@pytest.mark.parametrize("pipeline", [REGRESSION, INTERACTIONS])
def test_a_restored_estimator_continues_bit_for_bit(pipeline: Any) -> None:
    """What was exported, and what follows it, is equal to an estimator that never stopped."""
    live = build_estimator(pipeline)
    for x, y in examples(150):
        live.learn_one(x, y)
    again = build_estimator(pipeline)
    import_state(again, msgspec.json.decode(msgspec.json.encode(export_state(live))))
    for x, y in examples(150, seed=2):
        assert again.predict_proba_one(x) == live.predict_proba_one(x)
        live.learn_one(x, y)
        again.learn_one(x, y)
    assert export_state(again) == export_state(live)


def test_restored_trees_continue_bit_for_bit() -> None:
    """The nodes are drawn again from the seed and the names, and the masses are restored."""
    live, again = (build_estimator([{**TREES, "seed": 7}]) for _ in range(2))
    for x, _ in examples(100):
        live.learn_one({"sd_bp": 0.0, **x})
    import_state(again, msgspec.json.decode(msgspec.json.encode(export_state(live))))
    for x, _ in examples(100, seed=2):
        assert again.score_one(x) == live.score_one(x)
        live.learn_one(x)
        again.learn_one(x)
    assert export_state(again) == export_state(live)
    assert live.score_one({"velocity_bp": 9e3}) != 0.0


def test_scoring_leaves_no_trace_in_the_state() -> None:
    """River's scaler makes entries when it scores; they are not exported."""
    live = build_estimator(REGRESSION)
    live.learn_one({"a": 1.0}, True)
    before = export_state(live)
    live.predict_proba_one({"a": 2.0, "never learned": 3.0})
    assert export_state(live) == before


PROGRAM: Final = """
import msgspec
from tests.unit.models.test_river import INTERACTIONS, REGRESSION, DETECTOR, examples
from riskwatch.models.detector import Detector
from riskwatch.models.river_generation import river_by_name
scales = {"velocity_bp": 10.0, "sd_bp": 10.0, "severity": 1.0}
made = [river_by_name(each, scales) for each in (REGRESSION, INTERACTIONS)]
found = Detector(DETECTOR)
for x, y in examples(120):
    found.learn(x)
    for each in made:
        each.learn(x, y)
print(msgspec.json.encode([each.state() for each in (*made, found)]).decode())
"""


def test_the_state_is_equal_over_hash_seeds() -> None:
    """Two processes with other string hashes write the same bytes."""
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path.cwd())}
        found.append(
            subprocess.run(
                [sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True
            ).stdout
        )
    assert found[0] == found[1] != b""


@pytest.mark.parametrize("pipeline", [REGRESSION, INTERACTIONS])
def test_generations_by_name_conform(pipeline: Any) -> None:
    """All checks of the kit that need no second process pass."""
    only = tuple(name for name in CHECKS if name != "across_processes")
    options = {"pipeline": pipeline, "scales": SCALES}
    bounds = {"score_ratio": 100.0, "learn_ratio": 200.0}
    assert check_model("river", options=options, events=600, only=only, **bounds) == only


def test_an_offset_model_is_the_rule_before_labels_and_near_it_after_few() -> None:
    """The distance is 0 without both labels, and never more than the radius."""
    made = build("river", {"pipeline": REGRESSION, "scales": SCALES, "anchor": 0.3, "slope": 5.0})
    rule = build("rules", {"anchor": 0.3, "slope": 5.0})
    x = {"severity": 0.6, "velocity_bp": 90.0}
    for _ in range(50):
        made.learn(x, False)
    assert made.score(x).logit == rule.score(x).logit
    for row, label in examples(300):
        made.learn(row, label)
        assert abs(made.score(x).logit - rule.score(x).logit) <= made.radius  # type: ignore[attr-defined]
    assert made.score(x).logit > rule.score(x).logit


def test_parts_of_an_offset_model_sum_to_its_log_odds() -> None:
    """Every used feature is named, and the short way gives the same number."""
    made = build("river", {"pipeline": INTERACTIONS, "scales": SCALES}).member()  # type: ignore[attr-defined]
    for row, label in examples(200):
        score = made.score(row)
        assert sum(score.contributions.values()) == pytest.approx(score.logit, abs=1e-9)
        assert made.probability(row) == score.probability
        assert set(row) <= set(score.contributions)
        made.learn(row, label)


def test_a_pool_teaches_a_scope_that_has_no_label() -> None:
    """What one scope learned moves the others; its own shift moves only itself."""
    pool = river_by_name(REGRESSION, {"velocity_bp": 10.0}, radius_half=1.0)
    one, other = pool.member(), pool.member()  # type: ignore[union-attr]
    fast = {"severity": 0.5, "velocity_bp": 40.0}
    before = other.score(fast).logit
    for x, y in examples(400):
        one.learn({"severity": 0.5, **x}, y)
    assert other.score(fast).logit > before
    assert other.mean == 0.0
    assert one.mean != 0.0
    assert one.score(fast).logit - other.score(fast).logit == pytest.approx(one.mean)


def test_a_shift_is_drawn_to_the_pool() -> None:
    """With few labels it is small, with many it approaches what the labels say."""
    pool = river_by_name(REGRESSION, {"velocity_bp": 10.0}, radius_half=1.0, shift_sd=0.5)
    member = pool.member()  # type: ignore[union-attr]
    x = {"severity": 0.5, "velocity_bp": 0.0}
    moved = []
    for _ in range(20):
        member.learn(x, False)
        moved.append(member.mean)
    assert -0.25 < moved[0] < 0.0
    assert moved[-1] < moved[0]
    assert member.variance < 0.25


def test_a_pool_and_its_members_survive_a_restart() -> None:
    """Rows of the pool and of each scope restore scores and further learning exactly."""
    generation = GenerationConfig(
        model="river",
        pool="kind",
        pipeline=REGRESSION,
        options={"scales": {"velocity_bp": 10.0, "anomaly": 0.5}, "radius_half": 2.0},
    )
    ensemble = Ensemble(config(rules(), generation, detectors=(DETECTOR,)))

    def feed(state: Any, seed: int) -> list[Any]:
        out = []
        rng = random.Random(seed)
        for n in range(150):
            for coin in ("USDC", "USDT"):
                bp = 60.0 if rng.random() < 0.2 else rng.random() * 40.0
                x = {"discount_bp": bp, "velocity_bp": rng.gauss(0.0, 9.0), "sd_bp": rng.random()}
                us = (seed * 10_000 + n * 20) * 1_000_000
                out += ensemble.observe(state, us, f"asset:{coin}", "asset", x, labelled=True)
        return out

    live = ensemble.fresh()
    feed(live, 1)
    rows = {key: row for key, row in live.drain().items() if row is not None}
    assert {key.partition("/")[0] for key in rows} >= {"pool", "model", "detector"}
    assert all(len(row) <= MAX_STATE_BYTES for row in rows.values())
    again = ensemble.fresh()
    again.load(rows)
    assert feed(again, 2) == feed(live, 2)
    assert again.drain() == live.drain()
    for kind in ("pool", "detector"):
        other = ensemble.fresh()
        other.load({key: row for key, row in rows.items() if not key.startswith(f"{kind}/")})
        assert feed(other, 3) != feed(live, 3)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"pipeline": ()}, "must have a pipeline"),
        ({"pipeline": ({"use": "os.system"},)}, "must name a class of River"),
        ({"pipeline": ({"use": "linear_model.LogisticRegresion"},)}, "must name a class of River"),
        ({"pipeline": ({"lr": 1.0},)}, "every step must have 'use'"),
        ({"pipeline": ({**REGRESSION[1], "l3": 1.0},)}, "no argument 'l3'"),
        ({"pipeline": (REGRESSION[0],)}, "a River classifier is needed"),
        ({"pipeline": HOEFFDING}, "no canonical export"),
        ({"pool": "firm"}, "pool of generation 'river' must be 'kind'"),
        ({"pipeline": HOEFFDING, "pool": "kind", "options": {"pickled": True}}, "cannot be pooled"),
        (
            {"pipeline": HOEFFDING, "max_authority": "advisory", "options": {"pickled": True}},
            "may be 'shadow' alone",
        ),
        ({"options": {"radius_max": -1.0}}, "radius_max must be in"),
    ],
)
def test_an_impossible_river_generation_is_refused(more: dict[str, Any], why: str) -> None:
    """The start fails with the reason."""
    options = {"scales": SCALES, **more.pop("options", {})}
    given = GenerationConfig(
        **{"model": "river", "pipeline": REGRESSION, "options": options, **more}
    )
    with pytest.raises(ModelError, match=why):
        Ensemble(config(rules(), given))


def test_a_pickled_shadow_is_allowed() -> None:
    """An estimator without a canonical export may run as a shadow if the configuration says so."""
    given = GenerationConfig(
        model="river", pipeline=HOEFFDING, options={"scales": SCALES, "pickled": True}
    )
    assert Ensemble(config(rules(), given)).fresh() is not None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pipeline": (TREES,)}, "does it have a seed"),
        ({"pipeline": REGRESSION}, "must end with an anomaly detector"),
        ({"scales": {"anomaly": 1.0}}, "input of itself"),
    ],
)
def test_an_impossible_detector_is_refused(change: dict[str, Any], why: str) -> None:
    """The start fails with the reason."""
    with pytest.raises(ModelError, match=why):
        Ensemble(config(detectors=(msgspec.structs.replace(DETECTOR, **change),)))


def test_a_state_of_many_interactions_is_refused() -> None:
    """A row has a bound, so an estimator that would exceed it is refused at the start."""
    scales = {f"feature_number_{n}_bp": 1.0 for n in range(32)}
    with pytest.raises(ValueError, match="bytes, more than"):
        river_by_name(INTERACTIONS, scales)


@pytest.mark.parametrize("check", list(checks.yield_checks(AdaptiveLogisticRegression())))
def test_the_adaptive_estimator_passes_the_checks_of_river(check: Any) -> None:
    """River's own conformance checks pass."""
    check(AdaptiveLogisticRegression(scales={"long_url": 0.5}))
