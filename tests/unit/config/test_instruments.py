"""Instruments of the reference data: found by venue and name, refused if they say too little."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from riskwatch.config.config import load_reference
from riskwatch.errors import ConfigError

RULES: Final = Path(__file__).resolve().parents[3] / "rules"


def rules(folder: Path, lines: str) -> Path:
    """Return the shipped files with instruments."""
    shutil.copytree(RULES, folder / "rules")
    path = folder / "rules" / "reference.toml"
    path.write_text(f"{path.read_text()}\n[instruments]\n{lines}\n")
    return folder / "rules"


def test_an_instrument_is_found_by_venue_and_name(tmp_path: Path) -> None:
    """At another venue the same name is another instrument."""
    line = '"bitmex/XBTUSD" = { contract_type = "inverse", contract_size = 1.0 }'
    found = load_reference(rules(tmp_path, line))
    listed = found.instrument("bitmex", "XBTUSD")
    assert listed is not None
    assert (listed.contract_type, listed.contract_size) == ("inverse", 1.0)
    assert found.instrument("kraken", "XBTUSD") is None


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('"bitmex/X" = { contract_type = "invers" }', "linear, inverse, quanto"),
        ('"bitmx/X" = { }', "did you mean bitmex"),
        ('"bitmex" = { }', "venue/instrument"),
        ('"bitmex/X" = { contract_type = "quanto" }', "the coin that a quanto pays in"),
        ('"bitmex/X" = { contract_size = 0.0 }', "contract_size"),
    ],
)
def test_an_instrument_that_says_too_little_is_refused(
    line: str, word: str, tmp_path: Path
) -> None:
    """The error names the instrument and what is expected."""
    with pytest.raises(ConfigError) as error:
        load_reference(rules(tmp_path, line))
    assert "instruments." in str(error.value)
    assert word in str(error.value)
