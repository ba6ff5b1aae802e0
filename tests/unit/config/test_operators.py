"""``operators.toml``: people who may command the switch, and every error in the file."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from riskwatch.config import paths
from riskwatch.config.config import load, load_operators
from riskwatch.core.operators import Role
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

KEY, OTHER = "ab" * 32, "cd" * 32


def written(folder: Path, text: str) -> Path:
    """Write the file."""
    (folder / "operators.toml").write_text(text)
    return folder


def test_without_a_file_there_are_no_operators(tmp_path: Path) -> None:
    """Nor with an empty one, nor with the one that is shipped."""
    assert load_operators(tmp_path).operators == {}
    assert load_operators(written(tmp_path, "")).operators == {}
    assert load(paths.rules_folder()).operators.operators == {}


def test_operators_are_read(tmp_path: Path) -> None:
    """By id, with role, key, books."""
    text = (
        f'[operators.ann]\nrole = "supervisor"\npublic_key = "{KEY}"\nname = "Ann"\n'
        f'[operators.tom]\nrole = "trader"\npublic_key = "{OTHER}"\nbooks = ["arb"]\n'
        "disabled = true\n"
    )
    found = load_operators(written(tmp_path, text)).operators
    assert (found["ann"].role, found["ann"].name) == (Role.SUPERVISOR, "Ann")
    assert (found["tom"].books, found["tom"].disabled) == (("arb",), True)


def test_operators_are_part_of_the_digest(tmp_path: Path) -> None:
    """What is decided depends on who may decide."""
    shutil.copytree(paths.rules_folder(), tmp_path, dirs_exist_ok=True)
    before = load(tmp_path).digest
    written(tmp_path, f'[operators.ann]\nrole = "risk"\npublic_key = "{KEY}"\n')
    assert load(tmp_path).digest != before


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ('role = "boss"', "operators.ann.role", "one of viewer, trader, risk, supervisor"),
        ('role = "risk"', "operators.ann.public_key", "a value, found none"),
        ('role = "risk"\npublic_key = "xyz"', "operators.ann.public_key", "64 hexadecimal"),
        (
            f'role = "risk"\npublic_key = "{"00" * 32}"',
            "operators.ann.public_key",
            "somebody has the private key",
        ),
        (f'role = "trader"\npublic_key = "{KEY}"', "operators.ann.books", "books for a trader"),
        (
            f'role = "risk"\npublic_key = "{KEY}"\nbooks = ["arb"]',
            "operators.ann.books",
            "books for a trader",
        ),
        (f'role = "risk"\npublic_key = "{KEY}"\nrights = 1', "operators.ann.rights", "unknown key"),
    ],
)
def test_mistakes_are_said_with_their_place(
    tmp_path: Path, text: str, key: str, expected: str
) -> None:
    """File, key, what was expected."""
    with pytest.raises(ConfigError) as caught:
        load_operators(written(tmp_path, f"[operators.ann]\n{text}\n"))
    assert caught.value.key == key
    assert expected in str(caught.value)


def test_two_operators_cannot_share_a_key(tmp_path: Path) -> None:
    """One person under two names would be two people."""
    one = f'role = "supervisor"\npublic_key = "{KEY}"\n'
    text = f"[operators.ann]\n{one}[operators.bob]\n{one}"
    with pytest.raises(ConfigError, match="this one is ann's"):
        load_operators(written(tmp_path, text))


def test_names_are_as_events_spell_them(tmp_path: Path) -> None:
    """Another could never be met."""
    text = f'[operators."ann b"]\nrole = "risk"\npublic_key = "{KEY}"\n'
    with pytest.raises(ConfigError, match="a name as events spell it"):
        load_operators(written(tmp_path, text))
