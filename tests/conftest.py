"""What every test shares: servers, recordings, and a session that says what it skipped.

``RISKWATCH_REQUIRE=postgres,recordings`` (any markers) makes a skip of a test with that marker,
or the absence of any such test, a failure of the whole session: continuous integration cannot
turn green by losing its server.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT: Final = Path(__file__).resolve().parents[1]
NEEDS: Final = {
    "kafka_broker": "kafka",
    "kafka_chaos": "kafka",
    "kafka_node": "kafka",
    "postgres_own": "postgres",
    "postgres_server": "postgres",
    "recordings": "recordings",
    "redis_own": "redis",
    "redis_server": "redis",
}
"""Fixtures that need something of the machine, and the marker that their tests get."""
LONGEST: Final = ("chaos", "kafka", "property", "crash", "integration")
"""Folders, and markers, of the tests that take longest, the longest first."""
TALLY: Final = pytest.StashKey["Tally"]()
LOGGING: Final = structlog.get_config()
"""Settings of the logs before any test."""


class Tally:
    """Counts, per marker, the tests that ran and the tests that were skipped.

    Parameters
    ----------
    required : iterable of str
        Markers whose tests must run.
    """

    def __init__(self, required: Iterable[str]) -> None:
        self.required = sorted({name.strip() for name in required} - {""})
        self.ran: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one report; with several processes this is called where they are gathered."""
        names = {*NEEDS.values(), *self.required} & report.keywords.keys()
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.update(names)
        elif report.when == "call":
            self.ran.update(names)

    def broken(self) -> list[str]:
        """Say which requirements were not met."""
        lines = []
        for name in self.required:
            if self.skipped[name]:
                lines.append(f"{name} is required, but {self.skipped[name]} tests were SKIPPED")
            elif not self.ran[name]:
                lines.append(f"{name} is required, but no test that needs it ran")
        return lines


def pytest_configure(config: pytest.Config) -> None:
    tally = Tally(os.environ.get("RISKWATCH_REQUIRE", "").split(","))
    config.stash[TALLY] = tally
    if not hasattr(config, "workerinput"):  # one count, not one more for each process
        config.pluginmanager.register(tally)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures that they use, and put what takes longest at the front.

    No marker can be forgotten that way. Processes take modules from the front: what is left for
    the end is short, and all of them end together.
    """
    for item in items:
        for fixture, marker in NEEDS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
    first: dict[Path, int] = {}
    for item in items:
        first[item.path] = min(first.get(item.path, len(LONGEST)), _place(item))
    items.sort(key=lambda item: first[item.path])


def _place(item: pytest.Item) -> int:
    """Place of a test among what takes longest: its folder, or the Kafka that it needs."""
    folders = item.path.parts
    for n, name in enumerate(LONGEST):
        if name in folders or item.get_closest_marker(name) is not None:
            return n
    return len(LONGEST)


def pytest_sessionfinish(session: pytest.Session) -> None:
    broken = session.config.stash[TALLY].broken()
    if (
        broken
        and not hasattr(session.config, "workerinput")
        and not session.config.option.collectonly
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Print in capitals, last, what did not run: a skip that nobody sees is a test less."""
    yield
    tally = terminalreporter.config.stash[TALLY]
    for name, count in sorted(tally.skipped.items()):
        line = f"SKIPPED: {count} tests that need {name} did NOT run ({tally.ran[name]} did)"
        terminalreporter.write_sep("!", line, yellow=True, bold=True)
    for line in tally.broken():
        terminalreporter.write_sep("!", f"FAILED: {line}", red=True, bold=True)


@pytest.fixture(scope="session")
def root() -> Path:
    """Folder of the source tree."""
    return ROOT


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of the recordings; skips where there is none."""
    given = os.environ.get("RISKWATCH_RECORDINGS")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no recordings: {folder} is no folder, RISKWATCH_RECORDINGS names another")
    return folder


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that a test or a fixture runs sets up logging for its process alone."""
    structlog.configure(**LOGGING)
    yield
    structlog.configure(**LOGGING)
