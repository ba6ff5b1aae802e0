"""The glossary names files that exist, and each term once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_files_of_the_glossary_exist(root: Path) -> None:
    """Each file that the glossary names is in the package or in a top folder."""
    named = re.findall(r"`([a-z_/]+\.py)`", (root / "docs" / "glossary.md").read_text())
    assert len(named) > 100
    missing = [
        name for name in named
        if not (root / "riskwatch" / name).exists() and not (root / name).exists()
    ]  # fmt: skip
    assert missing == []


def test_terms_of_the_glossary_are_unique(root: Path) -> None:
    """No term has two entries."""
    text = (root / "docs" / "glossary.md").read_text()
    terms = [
        term.strip().lower()
        for entry in re.findall(r"^\* \*\*(.+?)\*\*", text, flags=re.MULTILINE)
        for term in entry.split(",")
    ]
    assert len(terms) > 100
    assert sorted(terms) == sorted(set(terms))
