"""``riskwatch scenario``: its list and its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from typer.testing import CliRunner

from riskwatch import scenarios
from riskwatch.commands.scenario import app
from riskwatch.core.events import WireEvent
from riskwatch.errors import RiskwatchError

if TYPE_CHECKING:
    from pathlib import Path


def test_list_names_every_episode_with_its_window() -> None:
    """Each episode is one line."""
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == len(scenarios.names())
    assert "usdc_2023  2023-03-10T12:00:00Z to 2023-03-13T16:00:00Z  11 feeds" in result.stdout


def test_what_is_written_reads_back_as_the_same_events(tmp_path: Path) -> None:
    """Every line decodes to the event that was generated."""
    path = tmp_path / "e.ndjson"
    args = ["write", "usdc_2023", "--out", str(path), "--seed", "3"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    decoder = msgspec.json.Decoder(WireEvent)
    written = [decoder.decode(line) for line in path.read_bytes().splitlines()]
    made = list(scenarios.events("usdc_2023", 3))
    assert written == made
    assert f"{len(made)} events" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["e.ndjson"]


def test_without_the_book_only_the_market_and_the_news_are_written() -> None:
    """Stdout then has quotes and credit events only."""
    result = CliRunner().invoke(app, ["write", "usdc_2023", "--no-book"])
    kinds = {msgspec.json.decode(line)["type"] for line in result.stdout.splitlines()}
    assert kinds == {"quote", "credit"}


def test_an_unwritable_file_is_a_clear_error(tmp_path: Path) -> None:
    """The error names the file, and no partial file remains."""
    result = CliRunner().invoke(app, ["write", "usdc_2023", "--out", str(tmp_path / "no" / "f")])
    assert isinstance(result.exception, RiskwatchError)
    assert "cannot be written" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_episode_is_refused() -> None:
    """The error names the known episodes."""
    result = CliRunner().invoke(app, ["write", "nothing"])
    assert "there are: bad_prints, " in str(result.exception)
