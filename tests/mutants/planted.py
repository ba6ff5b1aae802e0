"""Planted bugs: what each one changes, and the tests that must fail with it.

``mutants.json`` holds them. Whoever changes a line that an entry finds changes the entry, too, so
that the same bug can still be planted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FILE: Final = Path(__file__).with_name("mutants.json")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug.

    Attributes
    ----------
    id : str
        Number and what is wrong then. The same bug may stand twice, with other tests.
    file : str
        Which file, from the root of the source tree.
    find : str
        Text that stands in the file once.
    replace : str
        Text that takes its place.
    tests : str
        Paths of tests, separated by spaces; one of these tests must fail.
    """

    id: str
    file: str
    find: str
    replace: str
    tests: str

    def planted(self, text: str) -> str:
        """Text of the file with the bug in it.

        Raises
        ------
        ValueError
            If the text to find does not stand there exactly once.
        """
        count = text.count(self.find)
        if count != 1:
            raise ValueError(f"{self.id}: {self.file} has the text to find {count} times, not once")
        return text.replace(self.find, self.replace)


def mutants() -> list[Mutant]:
    """All planted bugs, in the order of the file."""
    return [Mutant(**entry) for entry in json.loads(FILE.read_text())]
