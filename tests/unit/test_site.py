"""The documentation site covers what the program has, and every key has a meaning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest

from riskwatch.core.events import WireEvent
from riskwatch.core.outputs import AnyOutput

if TYPE_CHECKING:
    from pathlib import Path


yaml = pytest.importorskip("yaml", reason="no PyYAML to read mkdocs.yml with")


@pytest.fixture(scope="module")
def site() -> Any:
    """The module that makes the pages."""
    from tests.conftest import ROOT

    spec = spec_from_file_location("riskwatch_docs_site", ROOT / "docs" / "site.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of each table of a page."""
    found = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line[:3] == "| `"]
    return [[cell.strip() for cell in row] for row in found]


def test_every_page_is_in_the_menu(root: Path) -> None:
    """A page that nobody can find is no page; the menu names no page that does not exist."""
    text = (root / "mkdocs.yml").read_text()
    named = set(re.findall(r": ([\w/-]+\.md)$", text, re.MULTILINE))
    written = {path.name for path in (root / "docs").glob("*.md")}
    assert written <= named
    made = {"index.md", "contributing.md"}
    assert {name for name in named - written if not name.startswith("reference/")} == made


def test_every_file_of_rules_has_a_chapter(site: Any, root: Path) -> None:
    """Each TOML file of the shipped folder, and each key in it, is in the reference."""
    page = site.configuration()
    for path in (root / "rules").glob("*.toml"):
        assert f"## `{path.name}`" in page
    keys = {row[0].strip("`") for row in rows(page)}
    for struct in site.FILES.values():
        skipped = {"id", "models"}
        names = {field.encode_name for field in msgspec.structs.fields(struct)}
        assert names - skipped <= keys, struct


def test_every_key_of_the_configuration_has_a_meaning(site: Any) -> None:
    """The docstring of each type says what each of its keys is."""
    silent = [row[0] for row in rows(site.configuration()) if not row[3]]
    assert not silent


def test_every_setting_of_a_process_has_a_meaning(site: Any) -> None:
    """The docstring of the settings says what each variable is."""
    silent = [row[0] for row in rows(site.environment()) if not row[3]]
    assert not silent


@pytest.mark.parametrize("kind", [WireEvent, AnyOutput])
def test_every_message_is_described(site: Any, kind: Any) -> None:
    """Each event and each output has a chapter with a sentence about it."""
    page = site.wire("Messages", get_args(kind))
    for struct in get_args(kind):
        _, found, rest = page.partition(f"## `{struct.__struct_config__.tag}`\n")
        assert found
        assert rest.lstrip()[:1] not in ("|", "#", "")


def test_tables_and_commands_are_those_of_the_program(site: Any) -> None:
    """A view, an internal column and a nested command are in the pages."""
    assert "### `exposure_now`" in site.tables()
    assert "| `output_id` |" in site.tables()
    assert "riskwatch killswitch release" in site.commands()


def test_the_site_builds_without_a_warning(root: Path, tmp_path: Path) -> None:
    """Every link and every anchor leads somewhere, and no page loads anything from elsewhere."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--quiet", "--site-dir",
         str(tmp_path / "site")],
        cwd=root, capture_output=True, text=True, check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="https?:')
    for page in (tmp_path / "site").rglob("*.html"):
        assert not loaded.search(page.read_text()), page


def test_a_link_to_nowhere_stops_the_build(root: Path) -> None:
    """The configuration of the site treats a broken link as an error."""
    settings = yaml.unsafe_load((root / "mkdocs.yml").read_text())
    assert settings["strict"] is True
    assert set(settings["validation"]["links"].values()) == {"warn"}
