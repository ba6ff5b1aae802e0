"""The wheel, installed away from the source tree, carries everything that riskwatch needs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SHIPPED = ("migrations", "rules", "streams")


@dataclass(frozen=True)
class Installed:
    """An environment of its own, with the wheel in it and nothing of the source tree."""

    wheel: Path
    folder: Path

    def run(self, *command: str, code: int = 0) -> str:
        """Run a program of the environment in an empty folder; gives what it printed."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("RISKWATCH", "PYTHON"))}
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        done = subprocess.run(
            [str(self.folder / "venv" / "bin" / command[0]), *command[1:]],
            check=False,
            cwd=work,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the wheel and install it, without its dependencies: those are borrowed from here."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        check=True,
        cwd=root,
        stdout=subprocess.DEVNULL,
    )
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True, symlinks=True)
    made = Installed(wheel, folder)
    made.run("python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A path in a .pth is searched, but its own .pth files are not: no editable install leaks in.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


def test_the_wheel_is_what_runs(installed: Installed) -> None:
    """The package comes from the environment, not from the tree."""
    where = installed.run("python", "-c", "import riskwatch; print(riskwatch.__file__)")
    assert where.startswith(str(installed.folder))


@pytest.mark.parametrize("name", SHIPPED)
def test_what_lies_beside_the_code_came_along(installed: Installed, root: Path, name: str) -> None:
    """Rules, migrations and stream applications are in the wheel, file by file."""
    there = {
        path.relative_to(root / name).as_posix()
        for path in (root / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    prefix = f"riskwatch/_shipped/{name}/"
    with ZipFile(installed.wheel) as archive:
        names = archive.namelist()
    assert {n.removeprefix(prefix) for n in names if n.startswith(prefix)} == there
    found = installed.run(
        "python", "-c", f"from riskwatch.config import paths; print(paths.{name}_folder())"
    )
    assert found.strip().endswith(f"site-packages/riskwatch/_shipped/{name}")


def test_the_command_line_starts(installed: Installed) -> None:
    """The entry point is installed and knows its commands."""
    assert "rules" in installed.run("riskwatch", "--help")


def test_the_shipped_rules_hold_together(installed: Installed) -> None:
    """The rules inside the wheel are the ones that are read, and they can be used."""
    said = installed.run("riskwatch", "rules", "check")
    assert "reference.toml: " in said
    assert "digest: " in said


def test_a_database_is_made(installed: Installed) -> None:
    """The migrations inside the wheel bring an empty SQLite file to the newest revision."""
    said = installed.run("riskwatch", "db", "upgrade", "--database", "sqlite:///new.db")
    assert "at revision" in said
    installed.run("riskwatch", "db", "check", "--database", "sqlite:///new.db")


def test_a_missing_file_is_one_line(installed: Installed) -> None:
    """A folder without rules is one line and exit code 2, from the wheel as from the tree."""
    said = installed.run("riskwatch", "rules", "check", str(installed.folder), code=2)
    assert said.count("\n") == 1
    assert said.startswith("riskwatch: reference.toml: expected a file")


def test_events_go_through_it(installed: Installed) -> None:
    """The whole pipeline, with the rules that the wheel carries, from a file to SQL."""
    event = (
        '{"type":"fill","v":1,"event_id":"1","ts":"2023-03-11T03:00:00Z","source":"desk",'
        '"counterparty":"kraken","account":"main","book":"mm","base":"BTC","quote":"USD",'
        '"side":"buy","qty":"0.5","price":"20000"}\n'
    )
    (installed.folder / "events.ndjson").write_text(event)
    url = f"sqlite:///{installed.folder}/wheel.db"
    events = str(installed.folder / "events.ndjson")
    assert '"applied": 1' in installed.run("riskwatch", "replay", events, "--database", url)
    said = installed.run("riskwatch", "exposure", "--json", "--database", url)
    assert '"BTC":"0.5"' in said
    assert '"USD":"-10000"' in said


def test_the_quickstart_is_what_happens(installed: Installed, root: Path) -> None:
    """The commands of docs/quickstart.md run in an empty folder, and give what the page says."""
    work = installed.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(root / "docs" / "examples" / "quickstart", work)
    page = (root / "docs" / "quickstart.md").read_text()
    commands = [
        shlex.split(line) for line in page.splitlines() if line.startswith("    riskwatch ")
    ]
    assert len(commands) == 5
    setup, load, apply, exposure, explain = commands
    installed.run(*setup)
    summary = installed.run(*load)
    for shape in ("kraken-ledger", "coinbase-fills", "tardis-trades"):
        assert shape in summary
    assert "WARNING" not in summary
    assert '"applied": 14, "duplicate": 0, "rejected": 0' in installed.run(*apply)
    rows = [json.loads(line) for line in installed.run(*exposure, "--json").splitlines()]
    held = {row["counterparty"]: row["quantities"] for row in rows}
    assert held == {
        "kraken": {"BTC": "0.009509", "USD": "599"},
        "coinbase": {"BTC": "0.6", "USD": "-10120.11"},
    }
    alerts = [
        json.loads(line) for line in installed.run("riskwatch", "alerts", "--json").splitlines()
    ]
    (limit,) = [alert for alert in alerts if alert["scope"] == "counterparty:coinbase"]
    assert "limit" in installed.run(*explain[:-1], limit["id"])
