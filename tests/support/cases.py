"""Replay of a case into a database of its own, and what its tables show afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import text

from riskwatch.core.clock import MINUTE, micros
from riskwatch.engine import bootstrap
from riskwatch.engine.replay import ReplayJob, ReplayLimits, replay_files
from riskwatch.store.engine import open_engine

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from riskwatch.config.config import Config

ROOT: Final = Path(__file__).resolve().parents[2]
REWRITTEN: Final = ROOT / "tests" / "cases"
CONFIG: Final = bootstrap.configuration()


def case(name: str) -> Path:
    """Return the file of a case as it was reported; skip where there is none."""
    given = os.environ.get("RISKWATCH_CASES")
    folder = Path(given) if given else ROOT.parent / "shared" / "cases"
    path = folder / f"{name}.ndjson"
    if not path.is_file():
        pytest.skip(f"no case: {path} is no file, RISKWATCH_CASES names another folder")
    return path


def rewritten(name: str) -> Path:
    """Return the file of a case with the fields that say what it leaves open."""
    return REWRITTEN / f"{name}.ndjson"


class Replayed:
    """A database after the replay of a file.

    Parameters
    ----------
    folder : Path
        Folder of the database.
    path : Path or iterable of str
        The file, or its lines.
    config : Config
        Configuration of the stages.
    until : datetime, optional
        Event time at which the replay ends.
    tick_us : int
        Time between two ticks, microseconds of event time.
    """

    def __init__(
        self,
        folder: Path,
        path: Path | Iterable[str],
        config: Config = CONFIG,
        until: datetime | None = None,
        tick_us: int = MINUTE,
    ) -> None:
        if not isinstance(path, Path):
            lines, path = path, folder / "case.ndjson"
            path.write_text("\n".join(lines) + "\n")
        url = f"sqlite:///{folder}/risk.db"
        limits = ReplayLimits(until_us=None if until is None else micros(until))
        job = ReplayJob([path], url, limits=limits, tick_us=tick_us)
        self.summary = replay_files(job, bootstrap.pipeline, config=config)
        self.engine = open_engine(url)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.engine.connect() as conn:
            return [tuple(row) for row in conn.execute(text(query))]
