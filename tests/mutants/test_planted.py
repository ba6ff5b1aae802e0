"""Every planted bug can be planted: its text stands in its file once, and the result compiles."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.mutants.planted import FILE, ROOT, Mutant, mutants

MUTANTS = mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.id)
def test_a_bug_can_be_planted(mutant: Mutant) -> None:
    """It changes the file, the file still compiles, and its tests are there."""
    text = (ROOT / mutant.file).read_text()
    planted = mutant.planted(text)
    assert ast.dump(ast.parse(planted)) != ast.dump(ast.parse(text))
    for path in mutant.tests.split():
        assert (ROOT / path).exists(), f"no tests at {path}"


def test_a_text_that_does_not_stand_there_once_is_refused() -> None:
    """Neither one that is gone nor one that stands there twice."""
    mutant = Mutant("X", "x.py", find="a = 1", replace="a = 2", tests="tests")
    for text in ("a = 3\n", "a = 1\na = 1\n"):
        with pytest.raises(ValueError, match="not once"):
            mutant.planted(text)


def test_every_bug_has_a_name_of_its_own() -> None:
    """A report names it by its id, and people by the first word of it."""
    assert len({m.id for m in MUTANTS}) == len(MUTANTS)
    assert len({m.id.split()[0] for m in MUTANTS}) == len(MUTANTS)


def test_the_file_is_in_its_form() -> None:
    """One field a line, so that a change of an entry reads as such."""
    entries = json.loads(FILE.read_text())
    assert FILE.read_text() == json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    assert all(not Path(m.file).is_absolute() for m in MUTANTS)
