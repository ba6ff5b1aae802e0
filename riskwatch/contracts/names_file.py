"""The table of names as a file: for order paths and senders, which read no rules folder."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

import riskwatch
from riskwatch.core.names import NamesConfig, NameTable
from riskwatch.errors import ConfigError

_FOLDERS: Final = ("_shipped/rules", "../rules")
"""Where the shipped rules are, from the package: in an installation, and in the source tree."""


class NamesFile(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the file that ``riskwatch rules names`` writes."""

    names: NamesConfig
    assets: tuple[str, ...]
    parties: tuple[str, ...]


def encode_names(table: NameTable) -> bytes:
    """Return the content of the file of a table."""
    made = NamesFile(names=table.config, assets=table.assets, parties=table.parties)
    return msgspec.json.format(msgspec.json.encode(made)) + b"\n"


def read_names(path: Path) -> NameTable:
    """Read the file that ``riskwatch rules names`` wrote.

    Raises
    ------
    ConfigError
        If it cannot be read, or is none.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=NamesFile)
    except OSError as error:
        raise ConfigError(path.name, "", f"a readable file at {path}", error.strerror) from error
    except ValueError as error:
        raise ConfigError(path.name, "", f"what `riskwatch rules names` writes: {error}") from error
    return NameTable(found.names, found.assets, found.parties)


@lru_cache(maxsize=1)
def shipped_names() -> NameTable:
    """Return the table of names of the shipped rules."""
    package = Path(riskwatch.__file__).parent
    folder = next(f for f in (package / each for each in _FOLDERS) if (f / "names.toml").is_file())
    names = msgspec.toml.decode((folder / "names.toml").read_bytes(), type=NamesConfig)
    known = tomllib.loads((folder / "reference.toml").read_text(encoding="utf-8"))
    return NameTable(names, known["assets"], known["parties"])
