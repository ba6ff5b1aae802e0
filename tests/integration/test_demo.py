"""``riskwatch demo``: the episode of March 2023 from the first event to the last answer."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from riskwatch import scenarios
from riskwatch.cli import main
from riskwatch.core.clock import micros, moment
from riskwatch.core.enums import State
from riskwatch.store import queries

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder and output of a demo without terminal control."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "riskwatch", "demo", "--plain", "--capture", "demo.svg"],
        cwd=folder,
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stderr == ""
    return folder, done.stdout


def test_it_tells_the_story_and_ends_with_answers(played: tuple[Path, str]) -> None:
    """Changes with reasons, the decisive signal explained, and three queries answered."""
    _, text = played
    changes = re.findall(r"asset:USDC  (\w+) > (\w+)  ", text)
    assert changes == [("NORMAL", "WATCH"), ("WATCH", "REDUCE"), ("REDUCE", "HALT")]
    story, _, end = text.partition("The decisive signal")
    assert "kill switch: asset:USDC HALT" in story
    for needed in (
        "Decision: asset:USDC from REDUCE to HALT", "Cause: issuer", "agree: ",
        "Smallest change that would have altered it: discount_bp at 250 bp",
        "expected loss of staying", "Kill switch: asset:USDC HALT",
    ):  # fmt: skip
        assert needed in end, needed
    assert "\x1b" not in text
    queried = re.findall(r"riskwatch sql --database (\S+) \\\n\s+['\"](SELECT .*)['\"]", end)
    assert len(queried) == 3


def test_its_queries_are_true(played: tuple[Path, str]) -> None:
    """Run again by hand, each answers with rows."""
    folder, text = played
    found = re.findall(
        r"riskwatch sql --database sqlite:///(\S+) \\\n\s+(['\"])(SELECT .*)\2", text
    )
    assert len(found) == 3
    for name, _, query in found:
        conn = sqlite3.connect(folder / name)
        try:
            assert conn.execute(query).fetchall(), query
        finally:
            conn.close()


def test_every_label_of_the_episode_holds(played: tuple[Path, str]) -> None:
    """What a good monitor says of each scope, and by when."""
    folder, _ = played
    with queries.open_reader(f"sqlite:///{folder}/riskwatch-demo.db") as conn:
        rows = conn.exec_driver_sql("SELECT ts, scope, state, cause FROM decision ORDER BY ts")
        made = [(str(r[0]), r[1], State(r[2]), r[3]) for r in rows]
    labels = scenarios.load("usdc_2023").labels
    assert labels
    for label in labels:
        mine = [m for m in made if m[1] == label.scope]
        if label.at_least is not None:
            assert label.by is not None
            by = moment(micros(label.by)).strftime("%Y-%m-%dT%H:%M:%S")
            hits = [m for m in mine if m[2].rank >= label.at_least.rank and m[0] <= by]
            assert hits, label
            assert label.cause is None or hits[-1][3] == label.cause.value, label
        if label.at_most is not None:
            assert all(m[2].rank <= label.at_most.rank for m in mine), label


def test_the_picture_is_whole(played: tuple[Path, str]) -> None:
    """An SVG that shows the moment and asks for nothing from elsewhere."""
    folder, _ = played
    svg = (folder / "demo.svg").read_text()
    assert svg.startswith("<svg")
    assert "HALT" in svg
    assert "url(http" not in svg
    assert "@font-face" not in svg


def test_it_replaces_its_own_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no database is refused in one line; the file stays as it was."""
    other = tmp_path / "thesis.txt"
    other.write_text("years of work")
    monkeypatch.setattr(sys, "argv", ["riskwatch", "demo", "--plain", "--database", str(other)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert other.read_text() == "years of work"
