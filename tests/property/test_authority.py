"""No shadow changes a state, and the aggregate loss stays within its bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.contracts.outputs import output_line
from riskwatch.core.enums import State
from riskwatch.core.outputs import DecisionMade
from riskwatch.core.risk.config import Ask
from riskwatch.core.risk.scorer import GenerationConfig, ModelsConfig, TargetConfig
from riskwatch.core.risk.stage import RiskStage
from riskwatch.core.stage import encode_row
from riskwatch.models import registry
from riskwatch.models.aggregate import Mixture, even_mixture, regret_bound
from riskwatch.models.base import RulesGeneration, Score
from riskwatch.models.ensemble import Ensemble
from riskwatch.models.evidence import clip_probability
from tests.support.risk import LIMITS, REFERENCE, RULES, Desk, asset, held, market, of
from tests.unit.core.risk.test_stage import POLICY, story

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.risk.stage import RiskEvent

TARGET = "depeg(discount 50bp, 1h)"
scores = st.floats(0.0, 1.0) | st.sampled_from([0.0, 1.0, 0.999, math.nan, math.inf, -1.0])


class Scripted(RulesGeneration):
    """A model that returns scripted probabilities."""

    script: ClassVar[list[float]] = [1.0]
    calls: ClassVar[int] = 0

    def score(self, x: Mapping[str, float]) -> Score:
        """Return the next probability of the script."""
        p = self.script[Scripted.calls % len(self.script)]
        Scripted.calls += 1
        return Score(p, 0.0, x.get("severity", 1.0), {})


def asks(generation: str, state: State = State.HALT, level: float = 0.5) -> Ask:
    """Return an ask without dwell."""
    return Ask(
        target=TARGET, generation=generation, state=state, at=level, dwell_s=0.0, observations=1
    )


def make_desk(*generations: GenerationConfig, policy_asks: tuple[Ask, ...], **risk: Any) -> Desk:
    """Return the risk stage with the shipped rules and these generations."""
    models = ModelsConfig(
        targets=(TargetConfig(threshold=50.0, horizon_s=3600.0),),
        generations=(GenerationConfig(model="rules", authority="full"), *generations),
    )
    policy = msgspec.structs.replace(POLICY.risk, asks=policy_asks, **risk)
    return Desk(RiskStage(policy, REFERENCE, LIMITS, RULES, Ensemble(models)))


def published_lines(events: list[RiskEvent], made: Desk) -> list[bytes]:
    """Return all output lines that do not name the scripted model."""
    lines = [output_line(output) for output in made.tell(*events)]
    return [line for line in lines if b"scripted" not in line]


@settings(max_examples=25, deadline=None)
@given(script=st.lists(scores, min_size=1, max_size=12), seed=st.integers(0, 10_000))
def test_a_shadow_changes_nothing(script: list[float], seed: int) -> None:
    """States, switches, alerts and aggregate probabilities are byte-equal with and without it."""
    events = story(seed, 40)
    other = GenerationConfig(model="anchored", authority="bounded")
    shadow = GenerationConfig(model="scripted", authority="shadow")
    policy_asks = (asks("anchored"), asks("served"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BUILTIN, "scripted", Scripted)
        patch.setattr(Scripted, "script", script)
        with_it = published_lines(
            events,
            make_desk(other, shadow, policy_asks=(*policy_asks, asks("scripted", level=0.01))),
        )
    assert with_it == published_lines(events, make_desk(other, policy_asks=policy_asks))


def states(authority: str, *, share: float = 1.0) -> list[tuple[str, State]]:
    """Return the states caused by a model that predicts probability 1 on a calm day."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BUILTIN, "scripted", Scripted)
        made = make_desk(
            GenerationConfig(model="scripted", authority=authority),
            policy_asks=(asks("scripted"),),
            bounded_share=share,
        )
        for minute in range(0, 30, 5):
            readings = [asset(name, bp=-12.0, seen=minute + 1) for name in ("USDC", "USDT")]
            made.tick(
                minute,
                market(minute, *readings),
                held(minute, ("USDC", "100000"), ("USDT", "100000")),
            )
    return [(d.scope, d.state) for d in of(made.out, DecisionMade) if d.scope.startswith("asset")]


def test_authority_is_how_far_a_model_can_go() -> None:
    """The authority caps the state, whatever the probability and the ask."""
    assert states("shadow") == []
    assert {state for _, state in states("advisory")} == {State.WATCH}
    assert {state for _, state in states("bounded")} == {State.REDUCE}
    assert {state for _, state in states("full")} == {State.HALT}


def test_a_bounded_model_reduces_no_more_than_its_share() -> None:
    """With a share of 60 % it may reduce one of two equal coins; with 40 % none."""
    assert sorted(states("bounded", share=0.6)) == [
        ("asset:USDC", State.REDUCE),
        ("asset:USDT", State.WATCH),
    ]
    assert {state for _, state in states("bounded", share=0.4)} == {State.WATCH}
    assert {state for _, state in states("full", share=0.0)} == {State.HALT}


probabilities = st.floats(0.0, 1.0) | st.sampled_from([0.0, 1.0, 0.5, 1e-9])


@st.composite
def sequences(draw: st.DrawFn) -> tuple[int, int, list[tuple[list[float], bool]]]:
    """Draw the number of copies and generations, and their predictions with labels."""
    copies, count = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    predictions = st.lists(probabilities, min_size=count, max_size=count)
    return (
        copies,
        count,
        draw(st.lists(st.tuples(predictions, st.booleans()), min_size=1, max_size=120)),
    )


def loss(p: float, *, label: bool) -> float:
    """Return the log loss of an unclipped probability, nats."""
    wrong = 1.0 - p if label else p
    return -math.log1p(-wrong) if wrong < 1.0 else math.inf


@settings(max_examples=300, deadline=None)
@given(sequence=sequences(), share=st.sampled_from([0.0, 0.001, 0.05]))
def test_what_is_served_is_within_the_bound_of_the_best(
    sequence: tuple[int, int, list[tuple[list[float], bool]]], share: float
) -> None:
    """The bound holds on any sequence, with late labels, rounding and a restart."""
    copies, count, labels = sequence
    names = [f"g{n}" for n in range(count)]
    mixture = Mixture.fresh(names, copies)
    waiting: list[tuple[tuple[int, int], dict[str, float], bool]] = []
    aggregate_loss = 0.0
    losses = dict.fromkeys(names, 0.0)
    for n, (ps, label) in enumerate(labels):
        predictions = dict(zip(names, ps, strict=True))
        if len(waiting) == copies:  # the label of this copy's last sample is known by now
            place, before, was = waiting.pop(0)
            mixture.learn(place, before, label=was, share=share)
        p = round(mixture.aggregate(n % copies, predictions).probability, 6)
        aggregate_loss += loss(p, label=label)
        for name in names:
            losses[name] += loss(predictions[name], label=label)
        waiting.append(((n % copies, n), predictions, label))
        if n == len(labels) // 2:
            mixture = msgspec.json.decode(encode_row(mixture), type=Mixture)
    best = min(losses.values())
    assert aggregate_loss - best <= regret_bound(len(labels), count, copies, share) + 1e-6


@given(
    st.lists(st.tuples(st.lists(st.booleans(), min_size=3, max_size=3), st.booleans()), max_size=40)
)
def test_weights_stay_weights_whoever_comes_and_goes(
    sequence: list[tuple[list[bool], bool]],
) -> None:
    """Weights sum to 1, and the mean and the aggregate probability are within their inputs."""
    predictions = {"a": 0.9, "b": 0.4, "c": 0.05}
    mixture = Mixture.fresh(["a"], 2)
    for n, (there, label) in enumerate(sequence):
        names = [name for name, here in zip(predictions, there, strict=True) if here] or ["a"]
        mixture.set_generations(names)
        made = mixture.aggregate(n % 2, {name: predictions[name] for name in names})
        assert sum(made.weights.values()) == pytest.approx(1.0)
        low, high = (f(clip_probability(predictions[name]) for name in names) for f in (min, max))
        assert low - 1e-12 <= made.mean <= high + 1e-12
        low, high = sorted((made.mean, made.recalibrated))
        assert low - 1e-12 <= made.probability <= high + 1e-12
        mixture.learn((n % 2, n), predictions, label=label, share=0.01)
        for logs in mixture.logs:
            assert sum(math.exp(log) for log in logs) == pytest.approx(1.0)


def test_a_row_of_before_recalibration_goes_on() -> None:
    """The weights keep their proportions, and the recalibrated mean joins with an even share."""
    logs = [[math.log(0.75), math.log(0.25)]]
    row = encode_row({"names": ["a", "b"], "logs": logs, "cells": [7]})
    mixture = msgspec.json.decode(row, type=Mixture)
    assert [math.exp(log) for log in mixture.logs[0]] == pytest.approx([0.5, 1 / 6, 1 / 3])
    assert mixture.aggregate(0, {"a": 0.8, "b": 0.4}).probability == pytest.approx(0.7)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(probabilities, st.booleans()), max_size=200))
def test_a_forecaster_that_cries_wolf_is_believed_less(sequence: list[tuple[float, bool]]) -> None:
    """After enough false alarms the aggregate probability is far below the prediction."""
    mixture = Mixture.fresh(["a"], 1)
    for n, (p, label) in enumerate(sequence):
        mixture.learn((0, n), {"a": p}, label=label, share=0.001)
    for n in range(len(sequence), len(sequence) + 2_000):
        mixture.learn((0, n), {"a": 0.5}, label=False, share=0.001)
    assert mixture.aggregate(0, {"a": 0.5}).probability < 0.2


@given(st.lists(probabilities, min_size=1, max_size=5))
def test_what_is_unlearned_is_what_even_weights_give(ps: list[float]) -> None:
    """Therefore no mixture is stored before the first label."""
    predictions = {f"g{n}": p for n, p in enumerate(ps)}
    fresh, plain = (
        Mixture.fresh(list(predictions), 1).aggregate(0, predictions),
        even_mixture(predictions),
    )
    assert plain.weights == pytest.approx(fresh.weights)
    assert plain[:3] == pytest.approx(fresh[:3], abs=1e-9)
