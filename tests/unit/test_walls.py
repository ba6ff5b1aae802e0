"""Walls between the parts, and what the deterministic core may not touch."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINES: Final = 400

PURE: Final = {"core", "models"}
"""Parts whose answers may rest on nothing but what they are given."""

EVERYONE: Final = {"errors", "version"}
MAY_IMPORT: Final = {
    "core": {"core"},
    "models": {"core", "models"},
    "contracts": {"contracts", "core"},
    "store": {"contracts", "core", "store"},
    "feeds": {"contracts", "core", "feeds"},
    "client": {"client", "contracts", "core"},
    "scenarios": {"contracts", "core", "scenarios"},
    "fitting": {"core", "fitting", "models"},
    "bench": {"bench", "core", "scenarios"},
    "dashboard": {"contracts", "core", "dashboard"},
    "shell": {"contracts", "core", "feeds", "models", "shell", "store"},
    "streams": {"contracts", "shell"},
    "migrations": {"store"},
}
"""What each part may import of riskwatch. `commands`, `checks` and `cli` wire, so may all."""

BANNED_MODULES: Final = {
    "asyncio", "contextvars", "glob", "importlib", "io", "logging", "multiprocessing", "os",
    "pathlib", "random", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "sqlite3", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid", "zoneinfo",
}  # fmt: skip
LOADS_BY_NAME: Final = "riskwatch/models/registry.py"
"""The one module of a pure part that imports by name: what the configuration names, at start."""
BANNED_CALLS: Final = {"hash", "id", "open", "input", "print", "__import__", "eval", "exec"}
BANNED_ATTRIBUTES: Final = {
    "default_rng", "environ", "getenv", "now", "random", "today", "urandom", "utcnow",
}  # fmt: skip
LOOPED: Final = {
    "list", "tuple", "enumerate", "iter", "zip", "map", "filter", "join", "next", "sum",
    "fromkeys",
}  # fmt: skip
"""Calls that hand on the order of what they are given."""


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, wherever it does so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def is_set(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression is a set as far as its text can show."""
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in {"set", "frozenset"}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub):
        return is_set(node.left, names) or is_set(node.right, names)
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in names


def set_names(tree: ast.AST) -> set[str]:
    """Names that are assigned a set, or annotated as one, anywhere in a module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and is_set(node.value, set()):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and says_set(node.annotation):
            found.add(ast.unparse(node.target))
        elif isinstance(node, ast.arg) and says_set(node.annotation):
            found.add(node.arg)
    return found


def says_set(annotation: ast.expr | None) -> bool:
    """Whether an annotation is a set's, perhaps inside of ``Final[...]``."""
    text = "" if annotation is None else ast.unparse(annotation).removeprefix("Final[")
    return text.startswith(("set", "frozenset", "Set[", "AbstractSet["))


def iterated(tree: ast.AST) -> Iterator[ast.expr]:
    """Expressions whose order a module makes use of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            yield node.iter
        elif isinstance(node, ast.Starred):
            yield node.value
        elif isinstance(node, ast.Call):
            func = node.func
            name = func.id if isinstance(func, ast.Name) else getattr(func, "attr", "")
            if name in LOOPED:
                yield from node.args


def impurities(tree: ast.AST) -> Iterator[str]:
    """What would let a clock, a machine or chance into a part that must be pure."""
    for line, name in imports(tree):
        if name.split(".")[0] in BANNED_MODULES:
            yield f"{line}: imports {name}"
    for node in ast.walk(tree):
        touched = impurity(node)
        if touched:
            yield f"{getattr(node, 'lineno', 0)}: {touched}"
    names = set_names(tree)
    for expression in iterated(tree):
        if is_set(expression, names):
            yield f"{expression.lineno}: rests on the order of a set"


def impurity(node: ast.AST) -> str | None:
    """What one expression or statement touches that a pure part may not."""
    if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
        return "async"
    if isinstance(node, ast.Attribute) and node.attr in BANNED_ATTRIBUTES:
        return f"uses .{node.attr}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return f"calls {node.func.id}()" if node.func.id in BANNED_CALLS else None
    return None


def breaches(part: str, source: str) -> list[str]:
    """Everything that a module of `part` does and may not."""
    tree = ast.parse(source)
    found = []
    allowed = EVERYONE | MAY_IMPORT.get(part, set())
    for line, name in imports(tree):
        if name.startswith("."):
            found.append(f"{line}: relative import, write it in full")
        if part not in MAY_IMPORT or name == "riskwatch":
            continue
        top, _, rest = name.partition(".")
        if top == "riskwatch" and rest.split(".")[0] not in allowed:
            found.append(f"{line}: {part} may not import {name}")
        if top in {"streams", "migrations", "tests"} and part not in {"streams", "migrations"}:
            found.append(f"{line}: {part} may not import {name}")
    if part in PURE:
        found += impurities(tree)
    lines = len(source.splitlines())
    if lines > MAX_LINES:
        found.append(f"{lines} lines, at most {MAX_LINES}")
    return found


def undescribed(source: str) -> list[str]:
    """Test functions without a docstring."""
    return [
        f"{node.lineno}: {node.name} does not say what it holds"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Part and path of every module that ships."""
    for path in sorted((root / "riskwatch").rglob("*.py")):
        yield path.relative_to(root / "riskwatch").parts[0].removesuffix(".py"), path
    for part in ("streams", "migrations"):
        yield from ((part, path) for path in sorted((root / part).rglob("*.py")))


def test_no_module_breaks_a_wall(root: Path) -> None:
    """Imports run one way, the core is pure, and no module is too long."""
    found = [
        f"{path.relative_to(root)}:{breach}"
        for part, path in modules(root)
        for breach in breaches(part, path.read_text())
        if not (path.relative_to(root).as_posix() == LOADS_BY_NAME and "importlib" in breach)
    ]
    assert not found, "\n".join(found)


def test_every_part_is_seen(root: Path) -> None:
    """A part that moved away would make the walls stand around nothing."""
    seen = {part for part, _ in modules(root)}
    assert {"core", "models", "contracts", "store", "feeds", "client", "shell"} <= seen


def test_every_test_says_what_it_holds(root: Path) -> None:
    """Every test function has a docstring, and no test file is too long."""
    found = []
    for path in sorted((root / "tests").rglob("*.py")):
        source = path.read_text()
        lines = len(source.splitlines())
        found += [f"{path.relative_to(root)}:{line}" for line in undescribed(source)]
        found += [f"{path.relative_to(root)}: {lines} lines"] if lines > MAX_LINES else []
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("part", "source", "why"),
    [
        ("core", "from riskwatch.store import batch", "core may not import"),
        ("core", "def f():\n    from riskwatch.models import base", "core may not import"),
        ("core", "from tests.support import golden", "core may not import"),
        ("core", "from . import clock", "relative import"),
        ("models", "import riskwatch.config.config", "models may not import"),
        ("contracts", "from riskwatch.store import batch", "contracts may not import"),
        ("store", "from riskwatch.engine import paths", "store may not import"),
        ("feeds", "from riskwatch.store import batch", "feeds may not import"),
        ("client", "from riskwatch import store", "client may not import"),
        ("streams", "from riskwatch.store import batch", "streams may not import"),
        ("core", "import time", "imports time"),
        ("core", "from os import environ", "imports os.environ"),
        ("core", "import socket", "imports socket"),
        ("core", "import asyncio", "imports asyncio"),
        ("models", "import random", "imports random"),
        ("models", "import numpy as np\nx = np.random.default_rng(1)", "uses .random"),
        ("core", "from datetime import datetime\nx = datetime.now()", "uses .now"),
        ("core", "x = hash('a')", "calls hash()"),
        ("core", "x = id(3)", "calls id()"),
        ("core", "x = open('a')", "calls open()"),
        ("core", "async def f(): ...", "async"),
        ("core", "for x in {1, 2}: pass", "order of a set"),
        ("core", "for x in set(y): pass", "order of a set"),
        ("core", "x = [a for a in frozenset(y)]", "order of a set"),
        ("core", "x = list({1} | y)", "order of a set"),
        ("core", "x = ','.join({'a'})", "order of a set"),
        ("core", "seen = set()\nfor x in seen: pass", "order of a set"),
        ("core", "seen: set[str] = f()\nx = [*seen]", "order of a set"),
        ("core", "def f(seen: set[str]):\n    return tuple(seen)", "order of a set"),
        ("core", "self.seen: set[str] = f()\nfor x in self.seen: pass", "order of a set"),
        ("core", "x = sum({0.1, 0.2})", "order of a set"),
        ("feeds", "x = 1\n" * (MAX_LINES + 1), "lines, at most"),
    ],
)
def test_a_planted_breach_is_seen(part: str, source: str, why: str) -> None:
    """The checker sees each kind of breach that it is there for."""
    assert [breach for breach in breaches(part, source) if why in breach]


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("core", "from datetime import datetime\nfrom riskwatch.core.clock import micros"),
        ("core", "for x in sorted({1, 2}): pass"),
        ("core", "seen = set()\nok = 3 in seen"),
        ("core", "from riskwatch.errors import ConfigError"),
        ("shell", "import os\nfrom riskwatch.store import batch"),
        ("commands", "from riskwatch.engine import config"),
    ],
)
def test_what_is_allowed_passes(part: str, source: str) -> None:
    """The checker does not cry at what is right."""
    assert breaches(part, source) == []


def test_a_silent_test_is_seen() -> None:
    """A test function without a docstring is found."""
    assert undescribed("def test_x():\n    assert True")
