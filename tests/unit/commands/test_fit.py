"""``riskwatch fit``: samples as the ensemble takes them, and an artefact with its figures."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from riskwatch import scenarios
from riskwatch.commands.fit import collect_samples, fit_report, write_artefact
from riskwatch.core.clock import micros
from riskwatch.engine import bootstrap
from riskwatch.fitting.artefact import fit_artefact
from riskwatch.fitting.trees import FitSettings
from riskwatch.models.trees import open_artefact
from riskwatch.scenarios.random_episodes import random_episode
from tests.support.joined_models import HORIZON_S, TARGET, rows_of

if TYPE_CHECKING:
    from pathlib import Path


def test_the_tape_holds_what_the_ladder_learns(tmp_path: Path) -> None:
    """The recorder has the labels that matured, each with its time, scope and features."""
    whole = random_episode(2)
    cut = whole.start + timedelta(hours=3)
    episode = msgspec.structs.replace(whole, end=cut, credit=())  # its news comes later
    path = tmp_path / "events.ndjson"
    lines = [msgspec.json.encode(event) for event in scenarios.events(episode, 2)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    rows = collect_samples("drawn_2", path, bootstrap.configuration())
    assert rows == collect_samples("drawn_2", path, bootstrap.configuration())
    assert {row.scope for row in rows} >= {"asset:USDC"}
    begin, end = micros(episode.start), micros(episode.end)
    for row in rows:
        assert begin <= row.us <= end - HORIZON_S * 1e6
        assert row.episode == "drawn_2"
        assert "velocity_bp" in row.features or not row.scope.startswith("asset:")
        assert not any(name.startswith("tape") for name in row.features)


def test_what_was_fitted_is_told_and_written(tmp_path: Path) -> None:
    """The output has the figures of rule and base rate; the file has a valid digest."""
    made, reasons = fit_artefact(
        rows_of(), {TARGET: HORIZON_S, "other": 60.0}, ["made"], FitSettings(least_rows=20)
    )
    text = "\n".join(fit_report(made, reasons))
    assert "600 samples" in text
    assert "base rate" in text
    assert "other: no model, says the rule" in text
    out = tmp_path / "batch.json"
    write_artefact(made, out)
    assert open_artefact(out.read_text()) == made
    assert [path.name for path in tmp_path.iterdir()] == ["batch.json"]
