"""The page of errors names texts that riskwatch says."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

OF_SERVERS = {"permission denied for table"}
"""Texts of Postgres, which riskwatch passes on."""


def texts(path: Path) -> str:
    """Return the texts of a module: neighbouring and formatted parts joined, values as ``{}``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
            found.append("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
    return "\n".join(found)


def test_every_error_text_of_the_page_is_said(root: Path) -> None:
    """A text in the first column of a table stands in the source."""
    page = (root / "docs" / "troubleshooting.md").read_text().partition("## Which role")[0]
    cells = re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE)
    quoted = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    said = "\n".join(texts(path) for path in sorted((root / "riskwatch").rglob("*.py")))
    said += "\n" + "\n".join(texts(path) for path in sorted((root / "streams").glob("*.py")))
    wild = said.replace("{}", "\0")
    missing = [t for t in quoted if t not in OF_SERVERS and not _stands(t, said, wild)]
    assert len(quoted) > 15
    assert not missing, missing


def _stands(text: str, said: str, wild: str) -> bool:
    """Return whether a text stands in the source as it is, or with a value in one place."""
    if text in said:
        return True
    words = text.split(" ")
    return any(" ".join([*words[:n], "\0", *words[n + 1 :]]) in wild for n in range(len(words)))
