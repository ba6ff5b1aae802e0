"""Logs and settings of the process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from riskwatch.errors import ConfigError
from riskwatch.worker import logs
from riskwatch.worker.settings import ProcessSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Log for real, and put the configuration back."""
    kept = structlog.get_config()
    yield []
    structlog.configure(**kept)


def test_logs_are_json_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no terminal; lines below the level are not written."""
    logs.configure_logging("info")
    logger = structlog.get_logger("x")
    logger.debug("unseen")
    logger.info("seen", n=1)
    out, err = capsys.readouterr()
    line = json.loads(err)
    assert out == ""
    assert (line["event"], line["n"], line["level"]) == ("seen", 1, "info")
    assert line["timestamp"].endswith("Z")


def test_logs_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """One line of words, without colours where there is no terminal."""
    logs.configure_logging("debug", "console")
    structlog.get_logger("x").debug("seen", n=1)
    err = capsys.readouterr().err
    assert "seen" in err
    assert "n=1" in err
    assert "\x1b" not in err


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """With defaults for what is not there, or empty."""
    monkeypatch.setenv("RISKWATCH_DATABASE", "postgresql://db/firm")
    monkeypatch.setenv("RISKWATCH_CONFIG", "")
    monkeypatch.delenv("RISKWATCH_LOG_LEVEL", raising=False)
    settings = ProcessSettings.read()
    assert settings.database == "postgresql://db/firm"
    assert (settings.config, settings.log_level, settings.log_format) == (None, "info", "auto")


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable, what was expected, and what was there."""
    monkeypatch.setenv("RISKWATCH_LOG_LEVEL", "loud")
    with pytest.raises(ConfigError, match=r"RISKWATCH_LOG_LEVEL.*'debug'.*found 'loud'"):
        ProcessSettings.read()
