"""Priors and requests on paths with known probabilities."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from riskwatch.core.risk.scorer import GenerationConfig, ModelsConfig, PriorConfig, TargetConfig
from riskwatch.fitting.asks import try_asks
from riskwatch.fitting.priors import PriorSamples, fit_prior, prior_samples
from riskwatch.models.base import PredictionTarget, RuleLogit
from riskwatch.models.config import generation_specs
from riskwatch.scenarios.random_episodes import (
    DEPTHS,
    discount_paths,
    episode_weight,
    random_episode,
)

TARGET = PredictionTarget(kind="depeg", side="discount", threshold=50.0, horizon_s=600.0)


def test_a_sample_is_true_if_the_path_gets_there_within_the_horizon() -> None:
    """The horizon excludes the sample itself; a target that is already met is not sampled."""
    path = [0.0] * 5 + [60.0] + [0.0] * 20
    found = prior_samples(TARGET, 60.0, [path], [2.0])
    asked = [n for n in range(len(path) - 10) if path[n] < 50.0]
    assert found.label.tolist() == [n < 5 for n in asked]
    assert found.severity.tolist() == [0.0] * len(asked)
    assert set(found.weight) == {2.0}


def test_an_escalation_is_asked_from_its_start_on() -> None:
    """An escalation is sampled only between start and threshold."""
    target = PredictionTarget(
        kind="depeg", side="discount", threshold=50.0, horizon_s=60.0, start=20.0
    )
    found = prior_samples(target, 60.0, [[0.0, 25.0, 49.0, 60.0, 30.0, 10.0]], [1.0])
    assert found.severity.tolist() == [0.5, 0.98, 0.6]
    assert found.label.tolist() == [False, True, False]


def _made(rule: RuleLogit, seed: int, weight_of_true: float = 1.0) -> PriorSamples:
    rng = np.random.default_rng(seed)
    severity = rng.uniform(0.0, 1.0, 20_000)
    odds = np.array([1.0 / (1.0 + np.exp(-rule.logit(float(s)))) for s in severity])
    label = rng.uniform(size=len(severity)) < odds
    return PriorSamples(severity, label, np.where(label, weight_of_true, 1.0))


def test_a_prior_is_found_again() -> None:
    """Labels drawn by a known rule give that rule back, calibrated on other paths."""
    rule = RuleLogit(probability=0.6, slope=5.0, floor=0.4)
    found = fit_prior(_made(rule, 1), _made(rule, 2))
    again = RuleLogit(probability=found.probability, slope=found.slope, floor=found.floor)
    for severity in (0.1, 0.5, 0.9):
        assert again.logit(severity) == pytest.approx(rule.logit(severity), abs=0.25)
    assert found.log_loss < found.base_log_loss
    assert found.said == pytest.approx(found.came, abs=0.03)


def test_weights_count() -> None:
    """A smaller weight of the true samples lowers the probability."""
    rule = RuleLogit(probability=0.6, slope=5.0, floor=0.4)
    plain, light = (
        fit_prior(_made(rule, 1), _made(rule, 2)),
        fit_prior(_made(rule, 1, 0.1), _made(rule, 2, 0.1)),
    )
    assert light.probability < 0.5 * plain.probability


def test_labels_of_one_kind_are_refused() -> None:
    """A fit needs both labels."""
    calm = PriorSamples(np.zeros(5), np.zeros(5, dtype=bool), np.ones(5))
    with pytest.raises(ValueError, match="both labels"):
        fit_prior(calm, calm)


def test_every_generation_starts_at_the_prior_of_its_target() -> None:
    """The options of a generation may override it; a target without a prior has the default."""
    prior = PriorConfig(probability=0.2, slope=3.0, floor=0.5)
    config = ModelsConfig(
        targets=(
            TargetConfig(threshold=50.0, horizon_s=3600.0, prior=prior),
            TargetConfig(threshold=20.0, horizon_s=3600.0),
        ),
        generations=(
            GenerationConfig(model="rules", authority="full"),
            GenerationConfig(model="anchored"),
            GenerationConfig(model="adaptive"),
            GenerationConfig(model="anchored", name="own", options={"anchor": 0.9}),
        ),
    )
    probabilities = {
        spec.name: [
            spec.untrained_model(f"depeg(discount {bp}bp, 1h)").score({"severity": 1.0}).probability
            for bp in (50, 20)
        ]
        for spec in generation_specs(config)
    }
    for name in ("rules", "anchored", "adaptive"):
        assert probabilities[name] == pytest.approx([0.2, 0.5]), name
    assert probabilities["own"] == pytest.approx([0.9, 0.9])


def test_an_ask_is_tried_against_the_plain_rule() -> None:
    """On one break and one excursion: minutes before 80 bp, and false alarms."""
    brk = [0.0] * 60 + [float(n) for n in range(15, 90)] + [90.0] * 60
    scare = [0.0] * 60 + [25.0] * 2 + [0.0] * 600
    found = {
        t.name.partition(" (")[0]: t for t in try_asks(RuleLogit(), 20.0, [brk, scare], [1.0, 1.0])
    }
    now, later = found["20 bp for 0 min"], found["20 bp for 5 min"]
    assert (now.lead_min, later.lead_min) == (60.0, 55.0)
    assert now.vain > later.vain == 0.0


def test_an_ask_that_never_comes_has_no_lead() -> None:
    """A missed break counts as late by the whole path; without a break there is no figure."""
    calm = list(try_asks(RuleLogit(), 20.0, [[0.0] * 100], [1.0]))
    assert all(t.vain == 0.0 and not t.lead_min < inf for t in calm)


def test_drawn_paths_are_the_same_for_ever_and_weigh_one_in_the_mean() -> None:
    """Deep excursions are rare by weight, not by number."""
    assert discount_paths(5) == discount_paths(5)
    assert random_episode(5) == random_episode(5)
    weights = [episode_weight(n) for n in range(3_000)]
    assert sum(weights) / len(weights) == pytest.approx(1.0, abs=0.05)
    deepest = [n for n in range(300) if max(discount_paths(n)) > 0.2 * DEPTHS[1]]
    assert len(deepest) > 30
    assert sum(weights[n] for n in deepest) < 0.01 * sum(weights[:300])
