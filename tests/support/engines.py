"""An older engine: this code under another version, whose rules weigh more."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

OLDER: Final = "0.0.9"
_SCRIPT: Final = """
import shutil
import sys
from pathlib import Path

import riskwatch.version

riskwatch.version.ENGINE = {engine!r}  # before anything else reads it

from riskwatch.core.rules import Rule

severity = Rule.severity

def heavier(rule, features):
    found, condition = severity(rule, features)
    return 1.1 * found, condition

Rule.severity = heavier

from tests.support.rederiving import CONFIG, kept, replay

events, database, most, copy = sys.argv[1:]
replay(Path(events), f"sqlite:///{{database}}", CONFIG, int(most), keep=False)
if copy:
    shutil.copy(database, copy)
    kept(f"sqlite:///{{copy}}", end=True)
"""


def run_older(
    events: Path, database: Path, most: int, *, copy: Path | None = None, engine: str = OLDER
) -> None:
    """Let another engine apply so many events; then, perhaps, keep a checkpoint in a copy."""
    script = _SCRIPT.format(engine=engine)
    args = [str(events), str(database), str(most), "" if copy is None else str(copy)]
    subprocess.run([sys.executable, "-c", script, *args], check=True, timeout=120)
