"""A fresh SQLite database of this build's schema for each test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from riskwatch.store import migrate
from riskwatch.store.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Engine


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One migrated database, to copy."""
    path = tmp_path_factory.mktemp("store") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def url(template: Path, tmp_path: Path) -> str:
    """URL of a database of its own."""
    return f"sqlite:///{shutil.copy(template, tmp_path / 'risk.db')}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """Open database that may be written."""
    opened = open_engine(url)
    yield opened
    opened.dispose()
