"""``riskwatch replay``: options, stdout and exit codes, with the toy pipeline."""

from __future__ import annotations

import json
import signal
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import typer

from riskwatch.commands.replay import INTERRUPTED, run_replay, tick_width
from riskwatch.commands.times import moment_of
from riskwatch.engine.pipeline import Pipeline
from riskwatch.engine.publish import NdjsonPublisher
from riskwatch.engine.replay import ReplayJob
from riskwatch.errors import RiskwatchError
from tests.support.toy import toy_lines, toy_pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Use the real logging configuration, and restore the old one."""
    kept = structlog.get_config()
    yield []
    structlog.configure(**kept)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file of mixed events."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"".join(line + b"\n" for line in toy_lines(100)))
    return path


class ClosedPipe(BytesIO):
    """Standard output whose reader is gone."""

    def write(self, data: Any) -> int:
        """Fail as the system does."""
        raise BrokenPipeError(len(data))


class Interrupting(Pipeline):
    """A pipeline whose process receives a SIGINT with the fifth input."""

    inputs = 0

    def apply(self, event: Any, effects: Any) -> None:
        """Apply the input."""
        self.inputs += 1
        if self.inputs == 5:
            signal.raise_signal(signal.SIGINT)
        super().apply(event, effects)


def test_outputs_on_stdout_and_the_summary_on_stderr(
    tmp_path: Path, path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Every line of stdout is an output, and stderr has a summary of one line."""
    url = f"sqlite:///{tmp_path}/a.db"
    run_replay(ReplayJob([path], url, publisher=NdjsonPublisher(sys.stdout.buffer)), toy_pipeline())
    out, err = capsysbinary.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["topic"] for line in lines} == {
        "riskwatch.scores", "riskwatch.exposures", "riskwatch.alerts", "riskwatch.killswitch"
    }  # fmt: skip
    (summary,) = err.splitlines()
    assert json.loads(summary)["read"] == 100


def test_a_closed_stdout_loses_nothing(tmp_path: Path, path: Path) -> None:
    """The next run writes the outputs that were not written."""
    url = f"sqlite:///{tmp_path}/a.db"
    with pytest.raises(RiskwatchError, match="stdout was closed"):
        run_replay(ReplayJob([path], url, publisher=NdjsonPublisher(ClosedPipe())), toy_pipeline())
    first, second = BytesIO(), BytesIO()
    run_replay(ReplayJob([path], url, publisher=NdjsonPublisher(first)), toy_pipeline())
    clean = f"sqlite:///{tmp_path}/b.db"
    run_replay(ReplayJob([path], clean, publisher=NdjsonPublisher(second)), toy_pipeline())
    assert first.getvalue() == second.getvalue()


def test_an_interrupt_commits_and_says_so(tmp_path: Path, path: Path) -> None:
    """The exit code is 130, and the next run continues after the applied events."""
    url = f"sqlite:///{tmp_path}/a.db"
    with pytest.raises(typer.Exit) as exit_:
        run_replay(ReplayJob([path], url), Interrupting(toy_pipeline().slots))
    assert exit_.value.exit_code == INTERRUPTED
    assert 90 < run_replay(ReplayJob([path], url), toy_pipeline()).read < 100


@pytest.mark.parametrize("text", ["", "60", "0s", "0.5s", "1x", "-1s"])
def test_a_wrong_tick_is_refused(text: str) -> None:
    """A tick must be a duration of at least a second."""
    with pytest.raises(RiskwatchError, match=r"--tick must be"):
        tick_width(text)


@pytest.mark.parametrize("text", ["soon", "2023-03-11", "2023-03-11T03:13:00", "2023-13-01T00:00Z"])
def test_a_wrong_time_is_refused(text: str) -> None:
    """A time must be valid and have its zone."""
    with pytest.raises(RiskwatchError, match="--until must be a time with its zone"):
        moment_of("--until", text)
