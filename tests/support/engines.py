"""An older engine: this code under another version, whose rules weigh more."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

OLDER: Final = "0.0.9"
_SCRIPT: Final = """
import sys
from pathlib import Path

import riskwatch.version

riskwatch.version.ENGINE = {engine!r}  # before anything else reads it

import riskwatch.core.risk.tracker as tracker

severity_of = tracker.severity_of

def heavier(rule, features):
    found = severity_of(rule, features)
    return None if found is None else 1.1 * found

tracker.severity_of = heavier

from tests.support.rederiving import CONFIG, kept, replay

events, url, most, checkpoint = sys.argv[1:]
if int(most):
    replay(Path(events), url, CONFIG, int(most), keep=False)
if checkpoint == "end":
    kept(url, end=True)
"""


def run_older(
    events: Path, url: str, most: int, *, checkpoint: bool = False, engine: str = OLDER
) -> None:
    """Let the older engine apply so many events; then, perhaps, keep a checkpoint at the end."""
    script = _SCRIPT.format(engine=engine)
    args = [str(events), url, str(most), "end" if checkpoint else "none"]
    subprocess.run([sys.executable, "-c", script, *args], check=True, timeout=120)
