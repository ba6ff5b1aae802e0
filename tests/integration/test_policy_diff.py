"""The comparison of policies over the failure of FTX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from riskwatch.cli import app

if TYPE_CHECKING:
    from pathlib import Path


def test_an_earlier_threshold_halts_ftx_eight_hours_earlier(tmp_path: Path) -> None:
    """HALT at 8 instead of 24 times the usual wait moves it from 22:10 to 14:10, and that alone."""
    (tmp_path / "static.toml").write_text(
        'extends = "shipped"\n[[rules]]\nid = "counterparty.withdrawal.halt"\n'
        'any = [{ feature = "withdrawal_age_ratio", at = 8.0, unit = "times the usual" }]\n'
    )
    done = CliRunner().invoke(
        app, ["policy", "diff", "shipped", str(tmp_path), "--episode", "ftx_2022"]
    )
    assert done.exit_code == 0, done.output
    moved, counts, _ = done.stdout.splitlines()
    times = "2022-11-08T22:10:00Z -> 2022-11-08T14:10:00Z (480 min earlier)"
    assert moved.startswith(f"moved  HALT counterparty:ftx {times}")
    assert counts.startswith("0 gained, 0 lost, 1 moved")
