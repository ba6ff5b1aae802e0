"""Models: no look-ahead, bounded distance from the rule, and restarts without effect."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.core.clock import SECOND
from riskwatch.core.rules import Condition
from riskwatch.models.adaptive import AdaptiveLogisticRegression
from riskwatch.models.anchored import AnchoredLogisticRegression
from riskwatch.models.base import PredictionTarget, RuleLogit, doublings
from riskwatch.models.ensemble import Ensemble
from riskwatch.models.labels import MAX_GAP_SHARE, PendingSamples, Sample
from riskwatch.models.registry import build
from tests.unit.models.samples import (
    ESCALATION,
    ONSET,
    USDC,
    Observation,
    anchored,
    at,
    config,
    feed,
    of_scopes,
    rows_of,
    rules,
)

if TYPE_CHECKING:
    import random

    from riskwatch.core.stage import Row

HORIZON = 60 * SECOND
TARGET = PredictionTarget(kind="depeg", threshold=50.0, horizon_s=60.0)

severities = st.floats(min_value=0.0, allow_nan=False)
inputs = st.fixed_dictionaries(
    {"severity": st.floats(0.0, 8.0) | st.floats(0.0, 1e4)},
    optional={"velocity_bp": st.floats(), "breadth": st.floats(-5.0, 5.0)},
)
example_lists = st.lists(st.tuples(inputs, st.booleans()), min_size=6, max_size=40)
anchors = st.builds(
    RuleLogit,
    probability=st.floats(0.01, 0.99),
    slope=st.floats(0.01, 20.0),
    floor=st.floats(1e-6, 1.0),
)
seen = st.lists(st.tuples(st.integers(1, 30), st.floats(0.0, 100.0)), min_size=8, max_size=40)
"""Observations of a measure: seconds since the last one, and basis points."""


@st.composite
def streams(draw: st.DrawFn, least: int = 30, most: int = 60) -> list[Observation]:
    """Observations at uneven times; calm or wild in stretches, at times untrusted or absent."""
    second, out = 0, []
    steps = st.tuples(
        st.sampled_from((3, 7, 10, 10, 15, 15, 15, 15, 80)),
        st.sampled_from((5.0, 30.0, 49.0, 60.0, 120.0, 250.0)),
        st.floats(-60.0, 60.0),
        st.integers(0, 19),
    )
    for wait, discount, velocity, odd in draw(st.lists(steps, min_size=least, max_size=most)):
        second += wait
        features = {"velocity_bp": round(velocity, 6)} if odd != 1 else {}
        out.append(at(second, discount, labelled=odd != 0, **features))
        if odd == 2:
            out[-1][1].pop("discount_bp")
    return out


@given(anchors, severities, severities)
def test_a_rule_never_falls_with_the_severity(rule: RuleLogit, one: float, two: float) -> None:
    """The logit rises wherever two severities differ by more than the stated resolution."""
    low, high = sorted((one, two))
    assert rule.logit(low) <= rule.logit(high)
    if high - low > 1e-12 * (1.0 + high):
        assert rule.logit(low) < rule.logit(high)


@given(st.floats(min_value=1e-300, max_value=1e300))
def test_doublings_are_close_to_the_logarithm(value: float) -> None:
    """The difference is within the bound of the docstring, and never negative."""
    assert -1e-12 * abs(math.log2(value)) <= math.log2(value) - doublings(value) + 1e-12 < 0.0861


@settings(deadline=None)
@given(anchors, inputs)
def test_a_fresh_model_is_the_rule(rule: RuleLogit, x: dict[str, float]) -> None:
    """The logits are equal bit for bit, whatever the features are."""
    model = AnchoredLogisticRegression(
        scales={"velocity_bp": 10.0, "breadth": 2.0},
        anchor=rule.probability,
        slope=rule.slope,
        floor=rule.floor,
    )
    assert model.logit_one(x) == rule.logit(x["severity"])


conditions = st.lists(
    st.builds(
        Condition,
        feature=st.sampled_from(("discount_bp", "velocity_bp", "breadth")),
        at=st.floats(0.5, 500.0),
    ),
    min_size=1,
    max_size=4,
)
measures = st.fixed_dictionaries(
    {name: st.floats(0.0, 2_000.0) for name in ("discount_bp", "velocity_bp", "breadth")}
)


def severity_of(rule: list[Condition], x: dict[str, float]) -> float:
    """Return the largest value ÷ threshold over the conditions of a rule."""
    return max(x[condition.feature] / condition.at for condition in rule)


@settings(deadline=None)
@given(conditions, measures, measures, anchors, st.sampled_from(("anchored", "adaptive")))
def test_before_its_first_label_a_model_orders_states_as_the_rule_does(
    rule: list[Condition],
    one: dict[str, float],
    two: dict[str, float],
    anchor: RuleLogit,
    name: str,
) -> None:
    """Two states are ordered by their severity, whatever their other features are."""
    options = {"anchor": anchor.probability, "slope": anchor.slope, "floor": anchor.floor}
    scales = {"velocity_bp": 10.0, "breadth": 2.0}
    model = build(name, {"scales": scales, **options})
    states = [{**x, "severity": severity_of(rule, x)} for x in (one, two)]
    a, b = (model.score(x) for x in states)
    assert (a.order < b.order) == (states[0]["severity"] < states[1]["severity"])
    assert (a.order == b.order) == (states[0]["severity"] == states[1]["severity"])


@settings(deadline=None)
@given(example_lists, inputs, severities)
def test_an_adaptive_model_keeps_its_promises(
    examples: list[tuple[dict[str, float], bool]], x: dict[str, float], more: float
) -> None:
    """It keeps the severity order, explains itself, scores purely and restores bit for bit."""
    scales = {"velocity_bp": 10.0, "breadth": 2.0}
    model = AdaptiveLogisticRegression(scales=scales, half_life=10.0, slope_sd=3.0)
    for example, label in examples:
        model.learn_one(example, label)
    before = model.state()
    logit, parts = model.decompose(x)
    assert math.isfinite(logit)
    assert sum(parts.values()) == pytest.approx(logit, abs=1e-9)
    low, high = sorted((x["severity"], more))
    ordered = [model.logit_one({**x, "severity": severity}) for severity in (low, high)]
    assert ordered == sorted(ordered)
    assert model.state() == before
    again = AdaptiveLogisticRegression(scales=scales, half_life=10.0, slope_sd=3.0)
    again.restore(before)
    again.learn_one(x, True)
    model.learn_one(x, True)
    assert again.state() == model.state()


def test_an_adaptive_model_forgets_by_half_in_its_half_life() -> None:
    """Learned weights fade back to the rule without new labels."""
    model = AdaptiveLogisticRegression(scales={"velocity_bp": 10.0}, half_life=50.0)
    for _ in range(40):
        model.learn_one({"severity": 0.5, "velocity_bp": 30.0}, True)
    learned = model.explain_one({"severity": 0.5, "velocity_bp": 30.0})["velocity_bp"]
    for _ in range(50):
        model.learn_one({"severity": 0.5}, False)
    left = model.explain_one({"severity": 0.5, "velocity_bp": 30.0})["velocity_bp"]
    assert left == pytest.approx(0.5 * learned, rel=1e-9)


@settings(deadline=None)
@given(example_lists, inputs, severities, st.floats(0.0, 5.0), st.floats(0.5, 20.0))
def test_a_taught_model_keeps_its_promises(
    examples: list[tuple[dict[str, float], bool]],
    x: dict[str, float],
    more: float,
    radius_max: float,
    radius_half: float,
) -> None:
    """It stays near the rule, keeps the severity order, explains itself and scores purely."""
    model = AnchoredLogisticRegression(
        scales={"velocity_bp": 10.0, "breadth": 2.0},
        radius_max=radius_max,
        radius_half=radius_half,
        slope_sd=3.0,
    )
    for example, label in examples:
        model.learn_one(example, label)
    before = model.state()
    logit, parts = model.decompose(x)
    rule = RuleLogit().logit(x["severity"])
    trues = sum(label for _, label in examples)
    rarer = min(trues, len(examples) - trues)
    radius = radius_max * rarer / (rarer + radius_half)
    assert abs(logit - rule) <= radius + 1e-9
    assert sum(parts.values()) == pytest.approx(logit, abs=1e-9)
    low, high = sorted((x["severity"], more))
    ordered = [model.logit_one({**x, "severity": severity}) for severity in (low, high)]
    assert ordered == sorted(ordered)
    assert model.predict_proba_one(x)[True] == pytest.approx(1.0 / (1.0 + math.exp(-logit)))
    assert model.state() == before


def truth(taken: int, observed: list[tuple[int, float]]) -> bool | None:
    """Return the label of a sample, computed from its whole horizon at once."""
    end = taken + HORIZON
    inside = [(us, bp) for us, bp in observed if taken < us <= end]
    if any(bp >= TARGET.threshold for _, bp in inside):
        return True
    marks = [taken, *(us for us, _ in inside), end]
    holed = any(b - a > MAX_GAP_SHARE * HORIZON for a, b in pairwise(marks))
    return None if holed else False


def replay(observed: list[tuple[int, float]]) -> tuple[dict[int, bool], PendingSamples]:
    """Return the labels by time of sample, with a sample at every observation."""
    pending, known = PendingSamples(), {}
    for us, bp in observed:
        for sample, label in pending.observe(TARGET, us, bp):
            assert us >= sample.us + HORIZON
            known[sample.us] = label
        pending.add(Sample(us, {}, {}))
    return known, pending


@settings(deadline=None)
@given(seen, seen)
def test_labels_are_the_truth_of_their_horizon_alone(
    observations: list[tuple[int, float]], other: list[tuple[int, float]]
) -> None:
    """Each label equals the one from the whole horizon; later observations do not change it."""
    us, observed = 0, []
    for wait, bp in observations:
        us += wait * SECOND
        observed.append((us, bp))
    known, pending = replay(observed)
    for taken, _ in observed:
        over = us >= taken + HORIZON
        assert known.get(taken) is (truth(taken, observed) if over else None)
    dropped = sum(truth(t, observed) is None for t, _ in observed if us >= t + HORIZON)
    assert pending.unlabelled == dropped
    assert [s.us for s in pending.samples] == [t for t, _ in observed if us < t + HORIZON]
    for wait, bp in other:
        us += wait * SECOND
        observed.append((us, bp))
    later, _ = replay(observed)
    assert {taken: later[taken] for taken in known} == known


@settings(deadline=None, max_examples=60)
@given(streams(), streams(5, 20), streams(5, 20))
def test_no_score_depends_on_what_comes_later(
    past: list[Observation], one: list[Observation], two: list[Observation]
) -> None:
    """Two streams with a common beginning have equal scores in that part."""
    ensemble = Ensemble(config())
    begin = past[-1][0]

    def after(future: list[Observation]) -> list[Observation]:
        return past + [(begin + us, features, labelled) for us, features, labelled in future]

    first = feed(ensemble, ensemble.fresh(), after(one))
    second = feed(ensemble, ensemble.fresh(), after(two))
    assert first[: len(past)] == second[: len(past)]


@settings(deadline=None, max_examples=60)
@given(streams(), st.lists(st.integers(0, 60), max_size=4), st.randoms(use_true_random=False))
def test_restarts_change_nothing(
    stream: list[Observation], cuts: list[int], shuffle: random.Random
) -> None:
    """Scores and rows are equal with and without restarts, and in any order of features."""
    models_config = config(rules(), anchored(options={"forgetting": 0.99}), anchored(name="b"))
    through = Ensemble(models_config)
    state, stored = through.fresh(), dict[str, "Row"]()
    expected = feed(through, state, stream)

    ensemble = Ensemble(models_config)
    broken, scores = ensemble.fresh(), []
    for n, (us, features, labelled) in enumerate(stream):
        if n in cuts:
            rows_of(broken, stored)
            ensemble = Ensemble(models_config)
            broken = ensemble.fresh()
            broken.load(dict(stored))
        items = list(features.items())
        shuffle.shuffle(items)
        scores.append(ensemble.observe(broken, us, USDC, "asset", dict(items), labelled=labelled))
    assert scores == expected
    assert rows_of(broken, stored) == rows_of(state)


@settings(deadline=None, max_examples=40)
@given(streams(), streams())
def test_scopes_never_touch(mine: list[Observation], other: list[Observation]) -> None:
    """The scores and rows of a scope do not depend on other scopes."""
    ensemble = Ensemble(config())
    alone, both = ensemble.fresh(), ensemble.fresh()
    expected = feed(ensemble, alone, mine)
    merged = sorted(
        [(o[0], 0, o) for o in mine] + [(o[0], 1, o) for o in other], key=lambda m: m[:2]
    )
    scores = []
    for _, which, observation in merged:
        scored = feed(ensemble, both, [observation], ("asset:USDC", "asset:DAI")[which])
        scores += [] if which else scored
    assert scores == expected
    both_rows, own_rows = rows_of(both), of_scopes(rows_of(alone))
    assert {k: row for k, row in both_rows.items() if USDC in k} == own_rows


@settings(deadline=None, max_examples=40)
@given(streams())
def test_unlabelled_observations_change_no_row(stream: list[Observation]) -> None:
    """Untrusted observations change no row but the wait for a label."""
    ensemble = Ensemble(config())
    state, less = ensemble.fresh(), ensemble.fresh()
    feed(ensemble, state, stream)
    feed(ensemble, less, [observation for observation in stream if observation[2]])
    rows, others = rows_of(state), rows_of(less)
    assert of_scopes(rows) == of_scopes(others)
    assert {k for k in rows if k not in others} <= {f"clock/{t}" for t in (ONSET, ESCALATION)}
