"""What scoring and learning cost, as ratios to one plain River model in the same run."""

from __future__ import annotations

import random
from time import perf_counter
from typing import TYPE_CHECKING, Final

import pytest
from river import linear_model, preprocessing

from riskwatch.core.clock import MINUTE
from riskwatch.core.risk.models import GenerationConfig, ModelsConfig, TargetConfig
from riskwatch.models.ladder import Ladder

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from riskwatch.models.ladder_state import LadderState

TICKS: Final = 5_000
SCALES: Final = {
    "velocity_bp": 10.0,
    "drift_bp": 30.0,
    "sd_bp": 10.0,
    "vol_bp": 5.0,
    "missing_share": 0.5,
    "breadth": 2.0,
    "refuted": 2.0,
    "peer_bp": 30.0,
}

Features = dict[str, float]


def ladder() -> Ladder:
    """Two generations, onset and escalation: the shape of the shipped policy."""
    return Ladder(
        ModelsConfig(
            targets=(
                TargetConfig(threshold=50.0, horizon_s=3600.0),
                TargetConfig(threshold=200.0, horizon_s=3600.0, start=50.0),
            ),
            generations=(
                GenerationConfig(model="rules", authority="full"),
                GenerationConfig(model="anchored", options={"scales": SCALES}),
            ),
        )
    )


@pytest.fixture(scope="module")
def stream() -> list[Features]:
    """One coin, a tick a minute, that crosses 50 bp now and then."""
    rng = random.Random(1)
    bp, out = 20.0, []
    for _ in range(TICKS):
        bp = max(0.0, 0.97 * bp + rng.gauss(1.2, 8.0))
        noisy = {name: round(rng.gauss(0.0, scale), 6) for name, scale in SCALES.items()}
        out.append({"deviation_bp": -bp, "discount_bp": round(bp, 6), "premium_bp": 0.0, **noisy})
    return out


def seconds(work: Callable[[], object]) -> float:
    """Shortest of three runs."""
    took = []
    for _ in range(3):
        began = perf_counter()
        work()
        took.append(perf_counter() - began)
    return min(took)


def plain(stream: list[Features]) -> float:
    """Seconds per score of a scaler and a logistic regression, that also learn each time."""

    def run() -> None:
        model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
        for x in stream:
            model.predict_proba_one(x)
            model.learn_one(x, x["discount_bp"] > 30.0)

    return seconds(run) / len(stream)


def run(stream: list[Features], *, labelled: bool, drain: bool = False) -> LadderState:
    """Let a fresh ladder observe the stream."""
    made = ladder()
    state = made.fresh()
    for n, x in enumerate(stream):
        made.observe(state, n * MINUTE, "asset:USDC", "asset", x, labelled=labelled)
        if drain:
            state.drain()
    return state


def test_scoring(benchmark: BenchmarkFixture, stream: list[Features]) -> None:
    """Four explained scores cost no more than four scores and updates of a plain model."""
    baseline = plain(stream)
    each = seconds(lambda: run(stream, labelled=False)) / TICKS
    benchmark.extra_info["us_per_tick_of_4_scores"] = round(1e6 * each, 1)
    benchmark.extra_info["ratio_to_plain_model"] = round(each / baseline, 2)
    benchmark(lambda: run(stream, labelled=False))
    assert each < 4.0 * baseline


def test_learning(benchmark: BenchmarkFixture, stream: list[Features]) -> None:
    """Labels, learning and rows add less than six updates of a plain model to a tick."""
    baseline = plain(stream)
    scoring = seconds(lambda: run(stream, labelled=False)) / TICKS
    whole = seconds(lambda: run(stream, labelled=True, drain=True)) / TICKS
    state = benchmark(lambda: run(stream, labelled=True, drain=True))
    labels = sum(evidence.count for evidence in state.evidence.values()) / 2
    benchmark.extra_info["us_per_tick_beyond_scoring"] = round(1e6 * (whole - scoring), 1)
    benchmark.extra_info["labels_per_tick"] = round(labels / TICKS, 3)
    benchmark.extra_info["ratio_to_plain_model"] = round((whole - scoring) / baseline, 2)
    assert labels > 0.1 * TICKS
    assert whole - scoring < 6.0 * baseline
