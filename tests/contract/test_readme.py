"""What the README shows is what the tests run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from riskwatch.cli import app

if TYPE_CHECKING:
    from pathlib import Path

LINES = 20
"""An example that is longer is no example."""


@pytest.mark.parametrize("name", ["subscribe.py", "publish.py"])
def test_examples_are_those_that_run(root: Path, name: str) -> None:
    """Each example in the README is a file that an integration test runs, to the letter."""
    example = (root / "docs" / "examples" / name).read_text().strip()
    assert f"```python\n{example}\n```" in (root / "README.md").read_text()
    assert len(example.splitlines()) <= LINES


def test_every_command_exists(root: Path) -> None:
    """Each command that the README shows is one, and it says what it does."""
    text = (root / "README.md").read_text()
    blocks = re.findall(r"^```$(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    code = "\n".join([*blocks, *re.findall(r"`(riskwatch [^`]*)`", text)])
    named = set(re.findall(r"(?:^|&& )riskwatch ([a-z]+)", code, re.MULTILINE))
    assert {"run", "topics", "publish", "dlq", "alerts", "replay"} <= named
    for name in sorted(named):
        asked = CliRunner().invoke(app, [name, "--help"])
        assert asked.exit_code == 0, f"riskwatch {name}: {asked.output}"
