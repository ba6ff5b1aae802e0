"""The comparison of policies over the failure of FTX."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from riskwatch.cli import app

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("policy", "before", "minutes"),
    [
        ("", "16:00", 110),
        ('extends = "shipped"\n[risk]\nadvisory = ["model.rules.pd.HALT"]\n', "22:10", 480),
    ],
)
def test_an_earlier_threshold_halts_ftx_earlier(
    tmp_path: Path, policy: str, before: str, minutes: int
) -> None:
    """HALT at 8 instead of 24 times the usual wait moves it to 14:10, and that alone.

    Without the change it comes by the PD, or without that by the wait of 24 times the usual.
    """
    old = tmp_path / "old"
    old.mkdir()
    for folder in (old, tmp_path) if policy else ():
        (folder / "policy.toml").write_text(policy)
    (tmp_path / "static.toml").write_text(
        'extends = "shipped"\n[[rules]]\nid = "counterparty.withdrawal.halt"\n'
        'any = [{ feature = "withdrawal_age_ratio", at = 8.0, unit = "times the usual" }]\n'
    )
    done = CliRunner().invoke(
        app,
        [
            "policy",
            "diff",
            str(old) if policy else "shipped",
            str(tmp_path),
            "--episode",
            "ftx_2022",
        ],
    )
    assert done.exit_code == 0, done.output
    moved, counts, _ = done.stdout.splitlines()
    times = f"2022-11-08T{before}:00Z -> 2022-11-08T14:10:00Z ({minutes} min earlier)"
    assert moved.startswith(f"moved  HALT counterparty:ftx {times}")
    assert counts.startswith("0 gained, 0 lost, 1 moved")
