"""Check the locked packages for known vulnerabilities; a missing answer never counts as clean.

The tool itself ends with 0 when its service does not know a package, so this script requires an
answer for every locked package. Exit codes: 0 if there is an answer for each and no known
vulnerability, 1 if there is a known one, 3 if an answer is missing (with ``--continue`` this is
reported in a box, and the code is 0).
"""  # noqa: INP001 - a script

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

BIN: Final = Path(".venv/bin")
CONTINUE: Final = "--continue"
CLEAN, KNOWN, UNANSWERED = 0, 1, 3
LONGEST_S: Final = 600


def main(args: list[str]) -> int:
    """Audit the locked packages; further arguments go to the tool (``--ignore-vuln ID``)."""
    proceed = CONTINUE in args
    passed = [arg for arg in args if arg != CONTINUE]
    try:
        required, found, message = run_audit(passed)
    except (OSError, subprocess.SubprocessError) as error:
        return unanswered(f"the audit could not be run: {error}", proceed=proceed)
    known = [d for d in found if d.get("vulns")]
    for dependency in known:
        for vulnerability in dependency["vulns"]:
            fixed = ", ".join(vulnerability.get("fix_versions", [])) or "no release"
            name = f"{dependency['name']} {dependency['version']}"
            sys.stdout.write(f"audit-deps: {name}: {vulnerability['id']}, fixed in {fixed}\n")
    if known:
        sys.stdout.write(f"audit-deps: {len(known)} packages with known vulnerabilities\n")
        return KNOWN
    answered = [d for d in found if "vulns" in d]
    if not required or len(answered) < required:
        why = next((d["skip_reason"] for d in found if "skip_reason" in d), message)
        return unanswered(
            f"{len(answered)} of {required} packages were answered for: {why}", proceed=proceed
        )
    sys.stdout.write(f"audit-deps: {required} packages, no known vulnerability\n")
    return CLEAN


def run_audit(args: list[str]) -> tuple[int, list[dict[str, Any]], str]:
    """Run the tool; return the number of locked packages, its answers, its last line of error."""
    with tempfile.TemporaryDirectory() as folder:
        locked, report = Path(folder) / "locked.txt", Path(folder) / "report.json"
        export = ["export", "--quiet", "--frozen", "--all-groups", "--all-extras"]
        run([str(BIN / "uv"), *export, "--no-emit-project", "-o", str(locked)], check=True)
        required = sum(is_installed(line) for line in locked.read_text().splitlines())
        tool = [str(BIN / "pip-audit"), "--progress-spinner=off", "--format=json"]
        given = ["--requirement", str(locked), "--require-hashes", "--disable-pip"]
        done = run([*tool, *given, "--output", str(report), *args], check=False)
        message = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        try:
            found = json.loads(report.read_text())["dependencies"]
        except (OSError, ValueError, KeyError):
            found = []
        return required, found, message


def is_installed(line: str) -> bool:
    """Return whether a line of requirements names a package that is installed on this machine."""
    if "==" not in line or line[:1] in "# ":
        return False
    marker = Requirement(line.removesuffix("\\").strip()).marker
    return marker is None or marker.evaluate()


def run(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
    """Run a program and wait for its end."""
    return subprocess.run(  # noqa: S603 - our own tools
        command, check=check, capture_output=True, text=True, timeout=LONGEST_S
    )


def unanswered(why: str, *, proceed: bool) -> int:
    """Report in a box that the audit has no result, and return the exit code."""
    rule = "!" * 78
    sys.stdout.write(f"{rule}\naudit-deps: NOT AUDITED. {why}\n{rule}\n")
    return CLEAN if proceed else UNANSWERED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
