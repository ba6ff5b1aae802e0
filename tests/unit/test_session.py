"""A test session that lost what it was required to test is red, and skips are said aloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

LEAN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:benchmark")
TESTS = """
    import pytest

    @pytest.fixture
    def postgres_server():
        {fixture}

    def test_with_a_server(postgres_server):
        pass

    def test_without():
        pass
"""


@pytest.fixture
def session(pytester: pytest.Pytester, root: Path) -> pytest.Pytester:
    """Return a session of its own that has our conftest."""
    pytester.makeconftest((root / "tests" / "conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers =\n    postgres\n    recordings\n")
    return pytester


@pytest.mark.parametrize(
    ("required", "fixture", "processes", "code", "said"),
    [
        ("", "pytest.skip('none')", 0, 0, "*SKIPPED: 1 tests that need postgres did NOT run*"),
        ("postgres", "pytest.skip('none')", 1, 1, "*FAILED: postgres is required, but 1 tests*"),
        ("postgres", "return 'here'", 1, 0, "*2 passed*"),
        ("postgres, recordings", "return 1", 0, 1, "*FAILED: recordings is required, but no*"),
    ],
)
def test_a_requirement_holds_the_session(
    session: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    required: str,
    fixture: str,
    processes: int,
    code: int,
    said: str,
) -> None:
    """A required marker whose tests skip, or of which none ran, fails the session."""
    monkeypatch.setenv("RISKWATCH_REQUIRE", required)
    session.makepyfile(TESTS.format(fixture=fixture))
    result = session.runpytest_inprocess(*LEAN, "-n", str(processes))
    assert result.ret == code
    result.stdout.fnmatch_lines([said])


def test_recordings_are_found_by_the_environment(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RISKWATCH_RECORDINGS names the folder; a name that leads nowhere skips with the reason."""
    session.makepyfile("def test_it(recordings):\n    assert recordings.name == 'here'\n")
    monkeypatch.setenv("RISKWATCH_RECORDINGS", str(session.mkdir("here")))
    session.runpytest_inprocess(*LEAN).assert_outcomes(passed=1)
    monkeypatch.setenv("RISKWATCH_RECORDINGS", str(session.path / "gone"))
    result = session.runpytest_inprocess(*LEAN, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no recordings*gone is no folder*", "*need recordings did NOT*"])
