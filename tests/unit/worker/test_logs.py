"""The stream of log lines."""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING

import structlog

from riskwatch.worker import logs

if TYPE_CHECKING:
    import pytest


def test_a_line_goes_to_what_stderr_is_when_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to what it was when logging was set up: that may be closed, and a thread must live on."""
    then, now = StringIO(), StringIO()
    monkeypatch.setattr(sys, "stderr", then)
    logs.configure_logging(form="json")
    then.close()
    monkeypatch.setattr(sys, "stderr", now)
    structlog.get_logger("test").warning("still here")
    assert "still here" in now.getvalue()
