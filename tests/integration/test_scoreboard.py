"""``riskwatch bench`` end to end, and what must hold on every episode of the pack."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from riskwatch import scenarios
from riskwatch.bench import recordings as labels
from riskwatch.bench.criteria import PASS, controls
from riskwatch.bench.scoreboard import Scoreboard
from riskwatch.bench.trial import ENSEMBLE, RULES
from riskwatch.cli import app
from riskwatch.commands.bench import episode_trial, recording_trial
from riskwatch.core.enums import State
from riskwatch.core.outputs import Output
from riskwatch.engine import bootstrap
from riskwatch.engine.replay import risk_inputs, risk_outputs
from riskwatch.errors import ConfigError, RiskwatchError
from riskwatch.store import queries
from tests.support.recordings import outputs

if TYPE_CHECKING:
    from pathlib import Path

SHORT = ("bybit_2025", "usde_2025")


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder and output of a bench of two short episodes."""
    folder = tmp_path_factory.mktemp("bench")
    args = ["bench", "--episodes", ",".join(SHORT), "--seeds", "1"]
    args += ["--html", str(folder / "b.html"), "--database", f"sqlite:///{folder}/b.db"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    return folder, result.stdout


def test_it_prints_wins_and_losses(benched: tuple[Path, str]) -> None:
    """Every contender on every event, and one line per criterion with its verdict."""
    _, said = benched
    for contender in (RULES, ENSEMBLE, "20 bp for 5 min", "alone: anchored"):
        assert said.count(f" {contender} ") >= len(SHORT), contender
    verdicts = re.findall(r"^(PASS|NOT REACHED|NOT JUDGED)  .+: .+$", said, re.MULTILINE)
    assert len(verdicts) == 13
    assert "venue-asset:binance/USDe" in said


def test_it_is_stored_as_it_is_printed(benched: tuple[Path, str]) -> None:
    """The view answers for both episodes, the criteria stand beside it."""
    folder, said = benched
    with queries.open_reader(f"sqlite:///{folder}/b.db") as conn:
        query = "SELECT episode, halt_s, cause_right_share, average_precision FROM scoreboard"
        rows = conn.exec_driver_sql(f"{query} WHERE contender = 'ladder' ORDER BY episode").all()
        criteria = conn.exec_driver_sql("SELECT criterion, said FROM scoreboard_criterion").all()
    assert [row[0] for row in rows] == list(SHORT)
    assert [row[2] for row in rows] == [1.0, 1.0]
    assert rows[0][1] is None
    assert rows[1][1] > 0
    assert len(criteria) == 13
    assert all(f"{name}: {figures}" in said for name, figures in criteria)


def test_the_report_needs_nothing_beside_itself(benched: tuple[Path, str]) -> None:
    """A plot per episode; no link, script, font or picture from anywhere."""
    folder, _ = benched
    text = (folder / "b.html").read_text()
    assert text.count("<svg") == len(SHORT)
    outside = re.findall(r"(?:src|href)=\"([^#\"][^\"]*)\"", text)
    assert [link for link in outside if not link.startswith("#")] == []
    assert "<script" not in text
    assert "@import" not in text
    assert "url(http" not in text


def test_a_second_run_is_another_run_with_the_same_figures(benched: tuple[Path, str]) -> None:
    """The same episodes and seeds give the same rows under the next number, side by side too."""
    folder, first = benched
    url = f"sqlite:///{folder}/b.db"
    args = ["bench", "--episodes", ",".join(SHORT), "--seeds", "1", "--jobs", "2"]
    again = CliRunner().invoke(app, [*args, "--database", url])
    assert again.exit_code == 0, again.output
    assert again.stdout == first.replace("run 1 of", "run 2 of")
    columns = "episode, seed, contender, scope, watch_s, reduce_s, false_watch, cause, exposed_usd"
    with queries.open_reader(url) as conn:
        one, two = (
            conn.exec_driver_sql(
                f"SELECT {columns} FROM scoreboard_result WHERE run = {run} "
                "ORDER BY episode, contender, scope"
            ).all()
            for run in (1, 2)
        )
    assert one == two
    assert one


def test_a_rehearsal_is_a_replay() -> None:
    """Ledger and market once, then the risk stage: the outputs of the whole pipeline, all."""
    config = bootstrap.configuration()
    events = list(scenarios.events("bybit_2025", 1))
    heard, said = risk_inputs(config, events)
    made = [o for o in risk_outputs(config, heard) if isinstance(o, Output)]
    whole = list(outputs(events, config))
    ids = {o.id for o in made}
    assert [o for o in whole if o.id in ids] == made
    assert sorted(o.id for o in whole) == sorted(o.id for o in [*said, *made])


LONG = (
    "calm_month", "celsius_2022", "ftx_2022", "tusd_2024", "usdc_2023", "ust_2022",
    "ust_2022_january",
)  # fmt: skip
"""Episodes that take up to half a minute each: with `RISKWATCH_PACK=all` they run too."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in scenarios.names() if n not in LONG or "RISKWATCH_PACK" in os.environ]
)
def test_the_pack(name: str) -> None:
    """Cause right on every episode; controls never above REDUCE; at most what labels allow.

    Whether a state came in time is a figure of the scoreboard, and not always a good one.
    """
    episode = scenarios.load(name)
    trial = episode_trial(bootstrap.configuration(), episode, 1)
    board = Scoreboard.of([trial])
    wrong = [o for o in board.outcomes if o.contender == ENSEMBLE and not o.cause_right]
    assert not wrong
    if trial.case.control:
        assert controls([trial]).verdict == PASS
    for label in episode.labels:
        mine = [c for c in trial.changes[ENSEMBLE] if c.scope == label.scope]
        worst = max((c.state.rank for c in mine), default=0)
        assert label.at_most is None or worst <= label.at_most.rank, label


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    """An unknown episode, labels without a folder, labels that are none."""
    for args, message in (
        (["--episodes", "nothing"], "no episode is named"),
        (["--labels", str(tmp_path / "l.toml"), "--episodes", SHORT[0]], "name their --folder"),
        (["--folder", str(tmp_path), "--labels", str(tmp_path / "l.toml")], "cannot be read"),
        (["--folder", str(tmp_path)], "rec_usdc_svb_2023: .* has no usdc_svb_2023"),
        (["--folder", str(tmp_path), "--jobs", "2"], "rec_usdc_svb_2023: .* has no usdc_svb_2023"),
    ):
        result = CliRunner().invoke(app, ["bench", *args])
        assert isinstance(result.exception, RiskwatchError)
        assert re.search(message, str(result.exception)), message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recordings = []", "labels of recordings"),
        (
            (
                '[[recordings]]\nname = "a"\ntitle = "a"\nfiles = ["a"]\n'
                "start = 2023-01-02T00:00:00Z\nend = 2023-01-01T00:00:00Z"
            ),
            "a start and an end after it",
        ),
    ],
)
def test_labels_that_make_no_sense_are_refused(text: str, message: str) -> None:
    """With the key to mend."""
    with pytest.raises(ConfigError, match=message):
        labels.parse(text.encode())


@pytest.mark.slow
def test_recordings_are_run(recordings: Path) -> None:
    """A recorded negative control: nothing is reduced, and its cause is right."""
    [recorded] = [r for r in labels.parse(labels.load_shipped()) if r.name == "rec_celsius_2022"]
    trial = recording_trial(bootstrap.configuration(), recorded, recordings)
    assert trial.seen["USDC"]
    assert all(c.state.rank <= State.WATCH.rank for c in trial.changes[ENSEMBLE])
    board = Scoreboard.of([trial])
    assert all(o.cause_right for o in board.outcomes if o.contender == ENSEMBLE)
