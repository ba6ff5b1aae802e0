"""Hands fitted models to those that run them: models are given bytes, and read no files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.core.risk.models import ModelsConfig

OPTION: Final = "artefact"
"""Option of a generation that names a file; the model is given the text of that file."""
MAX_BYTES: Final = 16_777_216


def with_artefacts(models: ModelsConfig, directory: Path, file: str) -> ModelsConfig:
    """Replace the names of artefacts by what is in them.

    Parameters
    ----------
    models : ModelsConfig
        As configured.
    directory : Path
        Folder that names are relative to.
    file : str
        Name of the configuration file, for the error.

    Raises
    ------
    ConfigError
        If an artefact is missing, unreadable, too large, or not text.
    """
    generations = []
    for i, wanted in enumerate(models.generations):
        name = wanted.options.get(OPTION)
        if isinstance(name, str):
            text = _read(directory / name, file, f"generations[{i}].options.{OPTION}")
            wanted = msgspec.structs.replace(wanted, options={**wanted.options, OPTION: text})  # noqa: PLW2901
        generations.append(wanted)
    return msgspec.structs.replace(models, generations=tuple(generations))


def _read(path: Path, file: str, key: str) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(file, key, f"an artefact of at most {MAX_BYTES:,} bytes", str(path))
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(file, key, f"a readable file at {path}", error.strerror) from error
    except UnicodeDecodeError as error:
        raise ConfigError(file, key, "an artefact in UTF-8", f"byte {error.start}") from error
