"""What the pages for developers say about the code, read from their tables."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

ROW: Final = re.compile(r"^\| \d+ \| `([\w/]+\.py)` \| `([\w.]+)` \|", re.MULTILINE)
"""A step of a way: its number, file and function."""
IMPORTS: Final = re.compile(r"^\| `(\w+)` \| .+? \| ((?:`\w+`(?:, )?)+) \|$", re.MULTILINE)
"""A line of the table of imports: the part, what it is, and what it may import."""


def section(root: Path, title: str) -> str:
    """Text of one section of the page for developers."""
    text = (root / "docs" / "architecture-developer.md").read_text()
    _, found, rest = text.partition(f"\n## {title}\n")
    assert found, f"docs/architecture-developer.md has no section {title!r}"
    return rest.partition("\n## ")[0]


def steps(root: Path, title: str) -> list[tuple[str, str]]:
    """File and function of each step of a way, in order."""
    found = ROW.findall(section(root, title))
    assert found, f"{title}: no table of steps"
    return found


def documented_imports(root: Path) -> dict[str, set[str]]:
    """What each part may import, as the page says it."""
    rows = IMPORTS.findall(section(root, "The folders and their walls"))
    return {part: set(re.findall(r"\w+", allowed)) for part, allowed in rows}


@cache
def definitions(path: Path) -> frozenset[str]:
    """Names that a module defines: top-level names, and members of its classes."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        for name in _names(node):
            names.add(name)
            if isinstance(node, ast.ClassDef):
                names |= {f"{name}.{member}" for part in node.body for member in _names(part)}
    return frozenset(names)


def _names(node: ast.stmt) -> list[str]:
    """Names that one statement binds."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)]
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    return []


def is_defined(root: Path, dotted: str) -> bool:
    """Whether a dotted name is a module, or a name or member of one.

    Imports count: what a package offers is defined elsewhere.
    """
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        base = root.joinpath(*parts[:end])
        rest = ".".join(parts[end:])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return not rest or rest in definitions(path)
    return False
