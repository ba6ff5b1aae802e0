"""Bounds of TOML files: whatever is too deep, too large or too long is one clear line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from riskwatch.config.toml import MAX_BYTES, MAX_DEPTH, read_toml
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

DEEP = MAX_DEPTH + 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = " + "[" * 5_000 + "]" * 5_000, "at most 16 levels"),
        ("a = " + "[" * DEEP + "]" * DEEP, "at most 16 levels"),
        (".".join("a" * 5_000) + " = 1", "at most 16 levels"),
        ("a = " + "{a = " * 5_000 + "1" + "}" * 5_000, "at most 16 levels"),
        ("a = " + "9" * 5_000, "numbers that fit 64 bits"),
        ("[b]\nc = [1, 9223372036854775808]", r"b\.c\[1\]: expected numbers that fit 64 bits"),
        ("a = -9223372036854775809", "a: expected numbers that fit 64 bits"),
        ("#" * (MAX_BYTES + 1), "at most 4,194,304 bytes"),
    ],
)
def test_what_is_beyond_a_bound_is_one_line(tmp_path: Path, text: str, why: str) -> None:
    """The message names the file and the bound, in less than 300 characters."""
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why) as caught:
        read_toml(path)
    message = str(caught.value)
    assert message.startswith("limits.toml: ")
    assert len(message) < 300
    assert "\n" not in message


def test_what_is_at_the_bound_is_read(tmp_path: Path) -> None:
    """The deepest arrays and the largest numbers that are allowed."""
    path = tmp_path / "limits.toml"
    path.write_text(f"a = {'[' * (MAX_DEPTH - 1)}9223372036854775807{']' * (MAX_DEPTH - 1)}")
    found = read_toml(path)["a"]
    for _ in range(MAX_DEPTH - 1):
        (found,) = found
    assert found == 2**63 - 1


def test_a_long_value_is_cut_in_the_message() -> None:
    """An error shows the first 200 characters of what was found."""
    assert len(str(ConfigError("x.toml", "a", "a number", "x" * 10_000))) < 300
