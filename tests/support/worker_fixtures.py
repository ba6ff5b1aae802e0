"""Fixtures of tests that run a worker: caught logs, and a fresh database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog

from tests.support.sqlite import engine, template, url

__all__ = ["engine", "logged", "template", "url"]

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """Log lines of the test."""
    with structlog.testing.capture_logs() as lines:
        yield lines
