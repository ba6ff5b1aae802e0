"""The folders of rules, migrations and streams, in the source tree or in an installed wheel."""

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
"""A file that each folder must contain, to exclude another folder of the same name."""


def rules_folder() -> Path:
    """Return the folder of the shipped rules, limits and reference data."""
    return _find("rules")


def migrations_folder() -> Path:
    """Return the folder of the database migrations."""
    return _find("migrations")


def streams_folder() -> Path:
    """Return the folder of the stream applications."""
    return _find("streams")


def _find(name: str, package: Path | None = None) -> Path:
    """Return a folder, first from inside the package: an installation reads nothing beside it.

    Raises
    ------
    RiskwatchError
        If neither place has the folder.
    """
    package = package or Path(riskwatch.__file__).parent
    candidates = (package / "_shipped" / name, package.parent / name)
    for folder in candidates:
        if (folder / _PROOF[name]).is_file():
            return folder
    searched = " or ".join(str(folder) for folder in candidates)
    raise RiskwatchError(f"this installation of riskwatch carries no {name}: looked in {searched}")
