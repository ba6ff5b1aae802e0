"""The pages name files, modules and functions that exist, and state the imports as they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.docs import definitions, documented_imports, is_defined, steps
from tests.unit.test_walls import MAY_IMPORT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE: Final = re.compile(r"(?<![\w/.])((?:riskwatch|streams|migrations|rules|tests|docs)/[\w/.-]+)")
"""A path of the repository."""
DOTTED: Final = re.compile(r"(?<![\w/.-])(?:riskwatch|streams)(?:\.\w+)+")
"""A module, or something in one; a topic has the same form."""
OWNED: Final = re.compile(r"`([A-Z]\w+)(?:\.([a-z]\w*))?`(?!\.)")
"""A class, or a member of one."""
NOT_THERE: Final = {
    "riskwatch.dump": "a backup that the reader makes",
    "riskwatch/feeds/hourly.py": "the example of a reader that one adds",
    "tests/stored/format-N-engine-X.sql": "N and X stand for numbers",
}
"""What a page names and the repository does not have, and why."""
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
"""Where a link leads."""
WAYS: Final = (
    "The way of a fill",
    "The way of a decision",
    "The way of a release",
    "The way of a score to an ask",
)
ARCHITECTURE: Final = ("user", "operator", "developer")


def pages(root: Path) -> Iterator[Path]:
    """Every page for people."""
    yield root / "README.md"
    yield root / "CONTRIBUTING.md"
    yield from sorted((root / "docs").glob("*.md"))


def topics(root: Path) -> set[str]:
    """Names that have the form of a module and are something else: topics, and an entry point."""
    text = (root / "riskwatch" / "contracts" / "topics.py").read_text()
    found = set(re.findall(r'"(riskwatch\.\w+)"', text))
    contracts = root / "riskwatch" / "contracts"
    for path in (*contracts.glob("*.py"), root / "riskwatch" / "models" / "registry.py"):
        found |= set(re.findall(r'"(riskwatch\.\w+)"', path.read_text()))
    return found


def test_files_that_the_pages_name_exist(root: Path) -> None:
    """Each path in a page is a file or folder of the repository."""
    missing = []
    for page in pages(root):
        for name in FILE.findall(page.read_text()):
            path = name.rstrip(".-/")
            if name not in NOT_THERE and not (root / path).exists():
                missing.append(f"{page.name}: {name}")
    assert not missing, "\n".join(missing)


def test_names_that_the_pages_use_exist(root: Path) -> None:
    """Each dotted name of riskwatch in a page is a module, or a name in one."""
    known, missing = topics(root), []
    for page in pages(root):
        for name in DOTTED.findall(page.read_text()):
            plain = name.removesuffix(".dlq")
            if plain not in known | set(NOT_THERE) and not is_defined(root, name):
                missing.append(f"{page.name}: {name}")
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("reader", ARCHITECTURE)
def test_classes_that_the_architecture_names_exist(root: Path, reader: str) -> None:
    """Each class and method in the pages about the shape is defined somewhere."""
    sources = [p for part in ("riskwatch", "streams") for p in (root / part).rglob("*.py")]
    defined = {name for path in sources for name in definitions(path)}
    text = (root / "docs" / f"architecture-{reader}.md").read_text()
    named = [".".join(filter(None, found)) for found in OWNED.findall(text)]
    assert named
    # A name of capitals alone is a state, a reason or a constant.
    classes = [n for n in named if not n.isupper() and not n.endswith(".md")]
    missing = [name for name in classes if name not in defined]
    assert not missing, missing


@pytest.mark.parametrize("title", WAYS)
def test_each_step_of_a_way_exists(root: Path, title: str) -> None:
    """The function of each step is defined in the file of that step."""
    missing = [
        f"{file}: {function}"
        for file, function in steps(root, title)
        if function not in definitions(root / file)
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("reader", ["", *ARCHITECTURE])
def test_links_between_the_pages_lead_somewhere(root: Path, reader: str) -> None:
    """Each link names a page that exists, and a heading that the page has."""
    here = root / "docs" / f"architecture{'-' if reader else ''}{reader}.md"
    wrong = []
    for link in LINK.findall(here.read_text()):
        name, _, anchor = link.partition("#")
        page = here.parent / name if name else here
        if not page.exists() or (anchor and anchor not in anchors(page)):
            wrong.append(link)
    assert not wrong, wrong


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as hosts of repositories make them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_table_of_imports_is_that_of_the_walls(root: Path) -> None:
    """The page for developers says what each part may import, as the test of the walls does."""
    assert documented_imports(root) == MAY_IMPORT


def test_a_wrong_name_is_found(root: Path) -> None:
    """The check is able to fail: a module, a name and a member that do not exist."""
    assert is_defined(root, "riskwatch.core.stage.Stage")
    assert is_defined(root, "riskwatch.client.KillSwitch")
    assert not is_defined(root, "riskwatch.shell")
    assert not is_defined(root, "riskwatch.core.stage.Stages")
    assert "Runner.commit" in definitions(root / "riskwatch" / "engine" / "runner.py")
    assert "Runner.commits" not in definitions(root / "riskwatch" / "engine" / "runner.py")
