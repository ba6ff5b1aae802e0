"""Where the files beside the code are: in the source tree, or inside an installed wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import riskwatch
from riskwatch.errors import RiskwatchError

_PROOF: Final = {
    "rules": "reference.toml",
    "migrations": "env.py",
    "streams": "__init__.py",
}
"""A file that each folder must hold, so that a folder of the same name is not mistaken for it."""


def rules_folder() -> Path:
    """Folder of the shipped rules, limits and reference data."""
    return _find("rules")


def migrations_folder() -> Path:
    """Folder of the database migrations."""
    return _find("migrations")


def streams_folder() -> Path:
    """Folder of the stream applications."""
    return _find("streams")


def _find(name: str, package: Path | None = None) -> Path:
    """Look inside the package first: an installation never reads its neighbours.

    Raises
    ------
    RiskwatchError
        If neither place has it.
    """
    package = package or Path(riskwatch.__file__).parent
    candidates = (package / "_shipped" / name, package.parent / name)
    for folder in candidates:
        if (folder / _PROOF[name]).is_file():
            return folder
    looked = " or ".join(str(folder) for folder in candidates)
    raise RiskwatchError(f"this installation of riskwatch carries no {name}: looked in {looked}")
