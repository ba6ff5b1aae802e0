"""Exit codes: each one that the code uses is documented, and each error has its own line."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from riskwatch import errors
from riskwatch.cli import run_with_exit_code
from riskwatch.errors import OptionNeededError, RiskwatchError
from tests.unit.test_errors import MADE, kinds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXITS = {"Exit", "SystemExit", "_exit"}


def exit_codes(path: Path) -> Iterator[int]:
    """Yield every exit code that a module names, by a number or by a constant of its own."""
    tree = ast.parse(path.read_text())
    constants = {
        ast.unparse(node.target): node.value.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, int)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in EXITS:
            for part in (each for argument in node.args for each in ast.walk(argument)):
                if isinstance(part, ast.Constant) and isinstance(part.value, int):
                    yield part.value
                elif isinstance(part, ast.Name) and part.id in constants:
                    yield constants[part.id]


def test_every_exit_code_is_documented(root: Path) -> None:
    """The table of the page has the codes that the source has, and no other."""
    text = (root / "docs" / "configuration.md").read_text().partition("\n## Exit codes\n")[2]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    sources = [*(root / "riskwatch").rglob("*.py"), *(root / "streams").glob("*.py")]
    used = {code for path in sources for code in exit_codes(path)}
    assert used <= documented
    assert documented - used <= {0, 2, 70}
    assert {1, 2, 3, 4, 130} <= used


@pytest.mark.parametrize(
    "kind", [k for k in kinds(RiskwatchError) if k.__module__ == errors.__name__]
)
def test_every_error_is_one_message_and_one_exit_code(
    kind: type[RiskwatchError], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each class of the registry of errors ends a command alike, without a traceback."""
    error = MADE.get(kind) or kind("what happened, password=hidden")

    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_with_exit_code(fail)
    assert ended.value.code == (4 if kind is OptionNeededError else 2)
    said = capsys.readouterr().err
    assert said.startswith("riskwatch: ")
    assert "Traceback" not in said
    assert "hidden" not in said


def test_a_bug_has_a_traceback_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Any other exception is shown in full."""

    def fail() -> None:
        raise KeyError("a bug")

    with pytest.raises(SystemExit) as ended:
        run_with_exit_code(fail)
    assert ended.value.code == 1
    assert "Traceback" in capsys.readouterr().err
