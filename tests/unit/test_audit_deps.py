"""The audit of dependencies: what is not answered for is never taken for good news."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "audit_deps.py"
LOCKED = """# made by a tool, of x==1
httpx==0.28.1 \\
    --hash=sha256:00==
river==0.26.1 ; python_version >= '3' \\
    --hash=sha256:11
elsewhere==1 ; sys_platform == 'nowhere' \\
    --hash=sha256:22
"""
FINE: list[dict[str, Any]] = [
    {"name": "httpx", "version": "0.28.1", "vulns": []},
    {"name": "river", "version": "0.26.1", "vulns": []},
]
BAD = {"name": "river", "version": "0.26.1", "vulns": [{"id": "X-1", "fix_versions": ["0.27"]}]}


def audit(folder: Path, report: object, code: int, *args: str) -> tuple[int, str]:
    """Run the script where programs of the tools' names write this report and end so."""
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)
    (folder / "locked").write_text(LOCKED)
    (folder / "report").write_text(json.dumps(report))
    out = 'while [ $# -gt 1 ]; do case "$1" in -o|--output) to="$2";; esac; shift; done\n'
    for name, source, ends in (("uv", "locked", 0), ("pip-audit", "report", code)):
        copies = "" if name == "pip-audit" and report is None else f'cp {folder}/{source} "$to"\n'
        words = "echo 'no route to the service' >&2\n"
        (tools / name).write_text(f"#!/bin/sh\n{out}{copies}{words}exit {ends}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *args],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_everything_was_answered_for(tmp_path: Path) -> None:
    """Only then it is good news."""
    code, said = audit(tmp_path, {"dependencies": FINE}, 0)
    assert (code, said) == (0, "audit-deps: 2 packages, no known vulnerability\n")


@pytest.mark.parametrize("args", [(), ("--continue",)])
def test_a_known_vulnerability_fails(tmp_path: Path, args: tuple[str, ...]) -> None:
    """Whatever else is asked for; it is named, with the release that mends it."""
    code, said = audit(tmp_path, {"dependencies": [FINE[0], BAD]}, 1, *args)
    assert code == 1
    assert "river 0.26.1: X-1, fixed in 0.27" in said


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        (None, 1, "0 of 2 packages were answered for: no route to the service"),
        ({"dependencies": []}, 0, "0 of 2 packages"),
        ({"dependencies": [FINE[0]]}, 0, "1 of 2 packages"),
        (
            {"dependencies": [FINE[0], {"name": "river", "skip_reason": "not found"}]},
            0,
            "1 of 2 packages were answered for: not found",
        ),
    ],
)
def test_silence_is_no_good_news(tmp_path: Path, report: object, code: int, said: str) -> None:
    """No report, an empty one, one with gaps or with packages that were skipped."""
    found, told = audit(tmp_path / "a", report, code)
    assert found == 3
    assert said in told
    assert "NOT AUDITED" in told
    found, told = audit(tmp_path / "b", report, code, "--continue")
    assert found == 0
    assert "NOT AUDITED" in told


def test_without_the_tool_it_is_said(tmp_path: Path) -> None:
    """A missing program is no clean bill either."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "could not be run" in done.stdout
