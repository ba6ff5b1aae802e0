"""Models where labels cannot come: a coin that is quoted in another coin alone."""

from __future__ import annotations

import json
import os
from io import BytesIO
from pathlib import Path

import pytest

from riskwatch.engine import bootstrap
from riskwatch.engine.publish import NdjsonPublisher
from riskwatch.engine.replay import ReplayJob, replay_files

ROOT = Path(__file__).resolve().parents[2]


def case(name: str) -> Path:
    """Return the file of a case; skip the test where it is absent."""
    folder = Path(os.environ.get("RISKWATCH_CASES") or ROOT.parent / "shared" / "cases")
    path = folder / f"{name}.ndjson"
    if not path.is_file():
        pytest.skip(f"no case: {path} is no file, RISKWATCH_CASES names another folder")
    return path


def test_a_month_without_fiat_costs_no_authority(tmp_path: Path) -> None:
    """After 32 days on one pair the model still raises WATCH before the rule's HALT."""
    out = BytesIO()
    config = bootstrap.configuration()
    job = ReplayJob(
        [case("models/unlabelled_32_days")],
        f"sqlite:///{tmp_path}/a.db",
        publisher=NdjsonPublisher(out),
    )
    replay_files(job, bootstrap.pipeline(config), config=config)
    sent = [json.loads(line)["value"] for line in out.getvalue().splitlines()]
    assert not [v for v in sent if v["type"] == "AuthorityChanged"]
    made = [v for v in sent if v["type"] == "DecisionMade" and v["scope"] == "asset:FDUSD"]
    assert [v["state"] for v in made][:2] == ["WATCH", "HALT"]
    assert made[0]["generation"] == "anchored"
