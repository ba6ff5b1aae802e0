"""Where each value of the effective configuration comes from.

The layers, the later over the earlier: the default of the code, the shipped pack, the file of one's
own, and what a deployment adds (rules that wait for confirmation, commands of people).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.config.config import (
    ARTEFACT_OPTION,
    LIMITS,
    MODELS,
    NAMES,
    OPERATORS,
    POLICY,
    REFERENCE,
    RULES,
)
from riskwatch.config.pack import OWN, SHIPPED, PackFile, has_file, identity_of, read_file
from riskwatch.config.paths import rules_folder
from riskwatch.config.toml import join_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from riskwatch.config.config import Config

DEFAULT: Final = "default"
DEPLOYMENT: Final = "deployment"
MAX_LENGTH: Final = 200
"""Most characters of one value; of a longer one only the length is shown."""


class ConfigValue(msgspec.Struct, frozen=True, kw_only=True):
    """One value of the effective configuration.

    Attributes
    ----------
    file : str
        Name of the file that the value belongs to.
    path : str
        Dotted path of names and ids, as ``remove`` takes it.
    value : object
        The value as JSON has it; durations are seconds.
    layer : str
        ``default``, ``shipped``, ``own``, ``deployment``, ``environment`` or ``command``.
    at : str
        Key in the file of that layer, or who set it; empty for a default.
    """

    file: str
    path: str
    value: Any
    layer: str
    at: str = ""


def effective_values(directory: Path, config: Config) -> Iterator[ConfigValue]:
    """Yield every value of a configuration that was read from a folder, in the order of its files.

    Parameters
    ----------
    directory : Path
        Folder of the pack.
    config : Config
        Its configuration, or that of a worker on a database.
    """
    policy = msgspec.to_builtins(config.policy)
    models = policy.pop("models")
    parts = {
        REFERENCE: msgspec.to_builtins(config.reference),
        LIMITS: msgspec.to_builtins(config.limits),
        RULES: msgspec.to_builtins(config.rules),
        POLICY: policy,
        MODELS: models,
        OPERATORS: msgspec.to_builtins(config.operators),
        NAMES: msgspec.to_builtins(config.names),
    }
    alone = SHIPPED if directory.resolve() == rules_folder().resolve() else OWN
    for name, part in parts.items():
        if has_file(directory, name):
            file = read_file(directory, name)
            yield from _Walk(file, alone).values(part, "", "")


def _keys(table: Any, key: str = "") -> dict[str, None]:
    """Return the dotted keys of everything in a table."""
    out: dict[str, None] = {key: None} if key else {}
    if isinstance(table, dict):
        for name, each in table.items():
            out |= _keys(each, join_key(key, name))
    elif isinstance(table, list):
        for n, each in enumerate(table):
            out |= _keys(each, f"{key}[{n}]")
    return out


class _Walk:
    """Walks the values of one file.

    Parameters
    ----------
    file : PackFile
        The file.
    alone : str
        Layer of a file that inherits nothing.
    """

    def __init__(self, file: PackFile, alone: str) -> None:
        self._file = file
        self._alone = alone
        self._keys = _keys(file.table)

    def values(self, value: Any, key: str, path: str) -> Iterator[ConfigValue]:
        """Yield the values below a key."""
        name = path.rpartition(".")[2]
        if isinstance(value, dict) and value:
            for below, each in value.items():
                yield from self.values(each, join_key(key, below), join_key(path, below))
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            for n, each in enumerate(value):
                found = identity_of(name, each)
                below = join_key(path, found) if found else f"{path}[{n}]"
                yield from self.values(each, f"{key}[{n}]", below)
        elif name == "id":
            return  # it is in the path
        else:
            layer, at = self._layer(key)
            yield ConfigValue(
                file=self._file.name, path=path, value=_shown(name, value), layer=layer, at=at
            )

    def _layer(self, key: str) -> tuple[str, str]:
        """Return the layer of a key, and its key there."""
        if key in self._keys:
            origin = self._file.origin(key)
            return (origin.layer if self._file.origins else self._alone), origin.key
        if key in ("risk.unconfirmed", "risk.unproven"):
            return DEPLOYMENT, "the last recorded configuration"
        return DEFAULT, ""


def _shown(name: str, value: Any) -> Any:
    """Return a value; of a long text only its length."""
    if isinstance(value, str) and (name == ARTEFACT_OPTION or len(value) > MAX_LENGTH):
        return f"({len(value):,} characters)"
    return value
