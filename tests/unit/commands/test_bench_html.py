"""``riskwatch bench --html``: what cannot be drawn or written is refused before the run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.commands import bench
from riskwatch.errors import RiskwatchError

if TYPE_CHECKING:
    from pathlib import Path


def refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return why a run with a report is refused; it fails if anything runs."""

    def run(*_: object) -> None:
        raise AssertionError("it ran")

    monkeypatch.setattr(bench, "_done", run)
    args = ["bench", "--html", str(path), "--database", f"sqlite:///{path}.db"]
    with pytest.raises(RiskwatchError) as caught:
        CliRunner().invoke(app, args, catch_exceptions=False)
    return str(caught.value)


def test_a_report_in_no_folder_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path below a folder that is not there, and a folder, are told at once."""
    assert "existing folder" in refused(tmp_path / "none" / "x.html", monkeypatch)
    assert "existing folder" in refused(tmp_path, monkeypatch)


def test_a_missing_drawing_library_is_told_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without matplotlib the message names the extra to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "riskwatch[report]" in refused(tmp_path / "x.html", monkeypatch)
