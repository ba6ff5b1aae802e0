"""Fitted models in the configuration: read once, checked, and refused in one line."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from riskwatch.config import paths
from riskwatch.config.config import load
from riskwatch.errors import ConfigError
from riskwatch.models.ensemble import Ensemble

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy the shipped rules."""
    return shutil.copytree(paths.rules_folder(), tmp_path / "rules")


def test_the_shipped_artefact_scores_side_by_side(folder: Path) -> None:
    """Its digest holds, and it has a model of its own for the onset."""
    config = load(folder)
    ladder = Ensemble(config.policy.models)
    features = {"discount_bp": 40.0, "velocity_bp": 8.0}
    scored = ladder.observe(ladder.fresh(), 0, "asset:USDC", "asset", features, labelled=True)
    onset = {s.generation: s for s in scored if s.target == "depeg(discount 50bp, 1h)"}
    assert {"rules", "anchored", "adaptive", "batch"} <= set(onset)
    assert "velocity_bp" in onset["batch"].contributions
    assert onset["batch"].authority == "shadow"


def test_what_an_artefact_says_is_part_of_the_digest(folder: Path) -> None:
    """Two artefacts under one name are two configurations."""
    before = load(folder).digest
    artefact = folder / "models" / "batch.json"
    artefact.write_text(artefact.read_text() + " ")
    assert load(folder).digest != before


def test_a_changed_or_missing_artefact_stops_the_start(folder: Path) -> None:
    """With the file, the key and what is wrong."""
    artefact = folder / "models" / "batch.json"
    artefact.write_text(artefact.read_text().replace('"positives":', '"positives":1', 1))
    with pytest.raises(ConfigError, match="not what its digest says"):
        load(folder)
    artefact.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="in UTF-8"):
        load(folder)
    artefact.unlink()
    with pytest.raises(ConfigError, match=r"options\.artefact.*a readable file"):
        load(folder)
