"""Whole runs publish and store what they did when they were pinned, to the byte.

``python -m tests.support.run_goldens`` pins them anew. That is a commit of its own, which says
why the bytes change; :mod:`tests.support.run_goldens` says what ``raw`` and ``masked`` are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.run_goldens import COMMANDS, RUNS, pinned, run

if TYPE_CHECKING:
    from pathlib import Path

PINNED = pinned()
BATCH = 333
"""Another size than that of the pinned runs: where a batch ends leaves no trace."""
OTHER_ENGINE = """
import json, logging, structlog
from riskwatch import version
version.ENGINE = "9.9.9"
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
from tests.support.run_goldens import COMMANDS, run
print(json.dumps(run(COMMANDS)))
"""


@pytest.mark.parametrize("name", RUNS)
def test_a_run_makes_the_pinned_bytes(name: str) -> None:
    """Its events, what it published, the content of its database, and its journal."""
    assert run(name, batch=BATCH) == PINNED[name]


def test_another_engine_changes_raw_digests_alone(root: Path) -> None:
    """In another process, with another hash seed: ids change, and what the mask leaves does not."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER_ENGINE],
        cwd=root,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        check=True,
    )
    made: dict[str, dict[str, Any]] = json.loads(done.stdout)
    for part, digests in PINNED[COMMANDS].items():
        assert made[part]["masked"] == digests["masked"], part
        assert made[part]["lines"] == digests["lines"], part
        assert made[part]["raw"] != digests["raw"], part


def test_every_run_is_pinned() -> None:
    """And nothing else stands in the file."""
    assert list(PINNED) == list(RUNS)
