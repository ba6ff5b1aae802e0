"""An ambiguous table of names is refused by every start, with all errors at once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from riskwatch.config.config import load
from riskwatch.config.recorder import config_content
from riskwatch.core.names import NamesConfig
from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, root: Path) -> Path:
    """A copy of the shipped rules."""
    return shutil.copytree(root / "rules", tmp_path / "rules")


def table(folder: Path, *lines: str, parties: bool = False) -> None:
    """Write a table of names with these lines alone."""
    key = "parties" if parties else "assets"
    text = "".join(f"  {{ {line} }},\n" for line in lines)
    (folder / "names.toml").write_text(f"{key} = [\n{text}]\n")


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (('spelling = "XBT", name = "BTC"', 'spelling = "XBT", name = "ETH"'),
         r"names.toml: assets\[1\].spelling: .*one meaning"),
        (('spelling = "LUNA", name = "LUNC", until = "2022-05-29"',
          'spelling = "LUNA", name = "BTC", since = "2022-05-28"'), r"assets\[1\].spelling"),
        (('spelling = "XBT", name = "stETG"',), r"assets\[0\].name.*did you mean stETH"),
        (('spelling = "ETH", name = "BTC"',), r"assets\[0\].spelling.*does not list"),
        (('spelling = "XBT", name = "BTC", venue = "krakn"',), r"venue.*did you mean kraken"),
        (('spelling = "XBT", name = "BTC", unit = "3"',), r"assets\[0\].unit.*power of ten"),
        (('spelling = "XBT", name = "BTC", unit = "0"',), r"assets\[0\].unit.*power of ten"),
        (('spelling = "XBT", name = "BTC", since = "May"',), r"assets\[0\].since.*a day such as"),
        (('spelling = "XBT", name = "BTC", since = "2023-01-02", until = "2023-01-02"',),
         r"assets\[0\].until.*a day after"),
        (('spelling = "BTC", name = "BTC"',), r"assets\[0\].name.*another name"),
        (('spelling = "A", name = "LUNA"', 'spelling = "LUNA", name = "BTC", until = "2022-05-28"'),
         r"assets\[0\].name.*turn into another"),
        (('spelling = "USD\u0421", name = "USDC"',), r"assets\[0\].spelling.*one script"),
    ],
)  # fmt: skip
def test_a_table_with_two_meanings_is_refused(
    folder: Path, lines: tuple[str, ...], error: str
) -> None:
    """The error names the line, and the name that was meant."""
    table(folder, *lines)
    with pytest.raises(ConfigError, match=error):
        load(folder)


def test_all_errors_of_the_table_come_at_once(folder: Path) -> None:
    """With those of the other files."""
    table(folder, 'spelling = "XBT", name = "BTX"', 'spelling = "ZUSD", name = "UDS"')
    limits = (folder / "limits.toml").read_text()
    (folder / "limits.toml").write_text(limits.replace("equity_usd", "equty_usd", 1))
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert {error.file for error in caught.value.errors} == {"names.toml", "limits.toml"}
    assert sum(error.file == "names.toml" for error in caught.value.errors) == 2


def test_a_party_has_no_venue_and_no_unit(folder: Path) -> None:
    """Both would have no effect."""
    table(folder, 'spelling = "kp", name = "kraken", venue = "okx", unit = "10"', parties=True)
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert [error.key for error in caught.value.errors] == ["parties[0].venue", "parties[0].unit"]


def test_a_limit_on_an_alias_is_refused(folder: Path) -> None:
    """Nothing would ever be counted under it."""
    text = (folder / "limits.toml").read_text()
    assert 'subject = "BTC"' in text
    (folder / "limits.toml").write_text(text.replace('subject = "BTC"', 'subject = "XBT"', 1))
    with pytest.raises(ConfigError, match=r"limits.toml.*canonical name BTC"):
        load(folder)


def test_without_the_file_the_configuration_is_that_of_before(folder: Path) -> None:
    """Every name stays, and nothing of names is recorded."""
    (folder / "names.toml").unlink()
    made = load(folder)
    assert made.names == NamesConfig()
    assert "names" not in config_content(made)
