"""Configuration of models: order, defaults, and the errors of invalid ones."""

from __future__ import annotations

import math
from typing import Any

import pytest

from riskwatch.core.risk.scorer import GenerationConfig, ModelsConfig, TargetConfig
from riskwatch.core.rules import Condition
from riskwatch.errors import ModelError
from riskwatch.models.config import generation_specs, target_specs
from riskwatch.models.ensemble import Ensemble
from tests.unit.models.samples import anchored, config, rules


def test_the_order_is_that_of_the_configuration() -> None:
    """Targets by kind of scope, generations as written; a generation may have a name."""
    made = config(anchored(name="second"), rules(), anchored())
    assert [spec.name for spec in generation_specs(made)] == ["second", "rules", "anchored"]
    targets = target_specs(made)
    assert list(targets) == ["asset"]
    assert [spec.target.threshold for spec in targets["asset"]] == [50.0, 200.0]


def test_no_models_at_all_is_a_configuration() -> None:
    """Without models nothing is scored."""
    ensemble = Ensemble(ModelsConfig())
    state = ensemble.fresh()
    assert ensemble.observe(state, 0, "asset:X", "asset", {"discount_bp": 1.0}, labelled=True) == []
    assert state.drain() == {}


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ({"threshold": -1.0}, "target depeg: threshold must be finite and positive"),
        ({"start": 60.0}, "target depeg: start must be below the threshold"),
        ({"side": "up"}, "target depeg: side must be one of"),
        ({"horizon_s": 1e-9}, "horizon_s must be at least a microsecond"),
        ({"kind": "a|b"}, "kind must have a name, without"),
        ({"kind": ""}, "kind must have a name"),
        ({"unit": "|"}, "without"),
        ({"measure": ""}, "measure must name a feature"),
        ({"any": (Condition(feature="x", at=3.0),)}, "threshold must be 1 where any is given"),
        ({"any": (Condition(feature="x", at=0.0),)}, "at of x must be finite and positive"),
        ({"label_every_s": 0.0}, "label_every_s must be finite and positive"),
        ({"label_every_s": 0.01}, "6000 samples can wait at once with label_every_s = 0.01"),
    ],
)
def test_an_impossible_target_is_refused(target: dict[str, Any], why: str) -> None:
    """Construction fails, with the target and the reason."""
    configured = TargetConfig(**{"threshold": 50.0, "horizon_s": 60.0, **target})
    with pytest.raises(ModelError, match=why):
        Ensemble(ModelsConfig(targets=(configured,)))


def test_a_target_may_come_once() -> None:
    """Two equal targets would overwrite each other's rows."""
    twice = (TargetConfig(threshold=50.0, horizon_s=60.0),) * 2
    with pytest.raises(ModelError, match=r"target depeg\(discount 50bp, 1min\) is given twice"):
        Ensemble(ModelsConfig(targets=twice))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"label_every_s": 0.0}, "label_every_s must be finite and positive"),
        ({"label_every_s": math.nan}, "label_every_s must be finite and positive"),
        ({"label_every_s": math.inf}, "label_every_s must be finite and positive"),
        ({"max_scopes": 0}, "max_scopes must be at least 1"),
        ({"max_pending": 2}, "3 samples can wait at once .* more than max_pending = 2"),
    ],
)
def test_an_impossible_bound_is_refused(given: dict[str, Any], why: str) -> None:
    """Samples are never dropped for lack of room: a bound that is too small is refused."""
    with pytest.raises(ModelError, match=why):
        Ensemble(config(**given))


@pytest.mark.parametrize(
    ("generation", "why"),
    [
        ({"model": "oracle"}, "model 'oracle' is unknown"),
        ({"model": "anchored", "authority": "king"}, "must be one of shadow, advisory, bounded"),
        ({"model": "anchored", "options": {"slope": 0.0}}, "slope must be in"),
        ({"model": "anchored", "name": "a|b"}, "must have a name without"),
        ({"model": "rules"}, "generation 'rules' must have authority 'full'"),
        ({"model": "rules", "authority": "full", "name": "x"}, "name of the rules"),
        ({"model": "anchored", "name": "rules"}, "name of the rules, and theirs alone"),
    ],
)
def test_an_impossible_generation_is_refused(generation: dict[str, Any], why: str) -> None:
    """Above all, no other model may have the name of the rules, which nothing caps."""
    with pytest.raises(ModelError, match=why):
        Ensemble(ModelsConfig(generations=(GenerationConfig(**generation),)))


def test_names_are_unique() -> None:
    """Two generations of one model need names."""
    with pytest.raises(ModelError, match="names of their own, were anchored, anchored"):
        Ensemble(config(anchored(), anchored()))
