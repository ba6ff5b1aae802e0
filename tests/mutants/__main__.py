"""Plant each bug in a copy of the source tree, and see whether its tests fail: ``make mutants``.

``python -m tests.mutants M05 M38`` plants those alone. The exit code is 1 if a bug was not caught.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.mutants.planted import ROOT, Mutant, mutants

LONGEST_S: Final = 1800.0
"""A planted bug may make a test wait for ever: after so long it counts as failed."""
HUNG: Final = -1
PASSED, FAILED, BROKEN = 0, 1, 2
"""Exit codes of pytest: all passed, some failed, the tests could not be imported."""
CACHES: Final = ("__pycache__", ".*_cache", ".hypothesis", ".benchmarks")
PYTEST: Final = ("-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider")
LEFT_OUT: Final = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.db", *CACHES)


def outcome(tree: Path, tests: str) -> int:
    """Run tests in a tree until the first fails; gives the exit code, or :data:`HUNG`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *PYTEST, *tests.split()],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(LONGEST_S)
    except subprocess.TimeoutExpired:
        return HUNG
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def verdict(tree: Path, mutant: Mutant) -> str:
    """Plant a bug, run its tests, and put the file back; says what came of it."""
    path = tree / mutant.file
    text = path.read_text()
    path.write_text(mutant.planted(text))
    try:
        code = outcome(tree, mutant.tests)
    finally:
        path.write_text(text)
    return {
        PASSED: "NOT CAUGHT",
        FAILED: "caught",
        BROKEN: "caught, the tests cannot be imported",
        HUNG: "caught, a test does not end",
    }.get(code, f"ERROR: pytest ended with {code}")


def chosen(names: list[str]) -> list[Mutant]:
    """Bugs whose ids begin with one of the names; all if none is named."""
    every = mutants()
    found = [m for m in every if not names or m.id.split()[0] in names]
    missing = set(names) - {m.id.split()[0] for m in found}
    if missing:
        sys.exit(f"no such planted bug: {', '.join(sorted(missing))}")
    return found


def main() -> None:
    """Try the bugs that are named, or all, and report."""
    left: list[str] = []
    clean: dict[str, int] = {}
    with TemporaryDirectory(prefix="riskwatch-mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT, symlinks=True)
        for mutant in chosen(sys.argv[1:]):
            started = time.monotonic()
            if mutant.tests not in clean:
                clean[mutant.tests] = outcome(tree, mutant.tests)
            if clean[mutant.tests] == PASSED:
                said = verdict(tree, mutant)
            else:
                said = "ERROR: its tests fail without it"
            if not said.startswith("caught"):
                left.append(mutant.id)
            print(f"{said:12} {time.monotonic() - started:6.0f} s  {mutant.id}", flush=True)  # noqa: T201
    sys.exit(f"{len(left)} not caught: {'; '.join(left)}" if left else 0)


if __name__ == "__main__":
    main()
