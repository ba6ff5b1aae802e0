"""The examples in docs/models.md work as written."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import msgspec

from riskwatch.config.config import MODELS_CHECKS
from riskwatch.config.toml import StructReader
from riskwatch.core.risk.scorer import ModelsConfig, TargetConfig
from riskwatch.models.ensemble import Ensemble
from riskwatch.models.registry import BUILTIN
from tests.unit.models.samples import USDC, rows_of, walk

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def code_blocks(root: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    text = (root / "docs" / "models.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def config_of(table: dict[str, Any]) -> ModelsConfig:
    """Build a configuration from a table as ``models.toml`` is read."""
    return StructReader("docs/models.md", MODELS_CHECKS).struct(ModelsConfig, table)


def test_the_shown_configuration_is_one(root: Path) -> None:
    """It loads, and has the targets that the text names."""
    ensemble = Ensemble(config_of(tomllib.loads(code_blocks(root, "toml")[1])))
    features = {"discount_bp": 10.0, "velocity_bp": 1.0}
    scored = ensemble.observe(ensemble.fresh(), 0, USDC, "asset", features, labelled=True)
    assert [score.target for score in scored[:4:2]] == [
        "depeg(discount 50bp, 1h)",
        "depeg(discount 200bp, 1h, from 50bp)",
    ]


def test_the_shown_pipeline_is_a_generation(root: Path) -> None:
    """The example of an estimator by name loads, and is pooled."""
    named = config_of(tomllib.loads(code_blocks(root, "toml")[0]))
    target = TargetConfig(threshold=50.0, horizon_s=3_600.0)
    state = Ensemble(msgspec.structs.replace(named, targets=(target,))).fresh()
    made: Any = state.newborn(f"{USDC}|depeg(discount 50bp, 1h)|mine")
    assert made.pool is state.pool("asset|depeg(discount 50bp, 1h)|mine")


def test_the_shown_model_learns_and_survives_a_restart(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run in an ensemble, the shown model learns, and a restart changes nothing."""
    namespace: dict[str, Any] = {}
    exec(code_blocks(root, "python")[0], namespace)
    monkeypatch.setitem(BUILTIN, "base_rate", namespace["BaseRate"])
    configured, named = (tomllib.loads(code_blocks(root, "toml")[i]) for i in (1, 3))
    targets = [{**target, "horizon_s": 60.0} for target in configured["targets"]]
    ensemble = Ensemble(config_of({**named, "targets": targets, "label_every_s": 20.0}))
    state = ensemble.fresh()
    *past, last = walk(1, 300)
    for us, features, _ in past:
        ensemble.observe(state, us, USDC, "asset", features, labelled=True)
    again = ensemble.fresh()
    again.load(rows_of(state))
    expected = ensemble.observe(state, last[0], USDC, "asset", last[1], labelled=True)
    assert expected == ensemble.observe(again, last[0], USDC, "asset", last[1], labelled=True)
    assert expected[0].authority == "shadow"
    assert expected[0].probability > 0.1
    assert rows_of(again) == rows_of(state)
