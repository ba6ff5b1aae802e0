"""A pack of rules: a folder whose files are its own, or inherit from the shipped pack.

A file that says ``extends = "shipped"`` holds the differences to the shipped file of its name. As
soon as one file of a folder says so, a file that the folder lacks is the shipped one. Everything
else reads the *effective* tables, so a digest never depends on where a value stands.

Tables merge by key. Lists whose entries have an id merge by it: limits, rules and drills by `id`,
generations by name, targets and asks by what they are about, aliases of names by venue, spelling
and first day. Any other list replaces the inherited one. ``remove`` names what is not inherited, as
``["limits.kraken", "assets.FTT"]``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from riskwatch.config.names import is_one_edit
from riskwatch.config.paths import rules_folder
from riskwatch.config.toml import TomlTable, join_key, parse_duration, read_toml
from riskwatch.core.risk.config import ask_rule_id
from riskwatch.errors import ConfigError, raise_config_errors
from riskwatch.models.base import PredictionTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXTENDS: Final = "extends"
REMOVE: Final = "remove"
SHIPPED: Final = "shipped"
"""The pack of the installation, the one that can be extended."""
OWN: Final = "own"


@dataclass(frozen=True, slots=True)
class ValueOrigin:
    """Where a value of the configuration stands.

    Attributes
    ----------
    layer : str
        :data:`SHIPPED` or :data:`OWN`.
    key : str
        Dotted key in the file of that layer.
    """

    layer: str
    key: str


@dataclass(frozen=True, slots=True)
class PackFile:
    """One file of a pack: its effective table, and where each value stands.

    Attributes
    ----------
    name : str
        Name of the file.
    table : dict
        The effective table, without ``extends`` and ``remove``.
    origins : dict of str to ValueOrigin
        By dotted key of the effective table; empty if the file inherits nothing.
    removed : tuple of str
        What the own file removes of the shipped one.
    idle : tuple of str
        What it removes although the shipped file does not have it.
    changed : tuple of str
        Keys of the effective table that stand in the own file, though the shipped one has them.
    """

    name: str
    table: TomlTable
    origins: dict[str, ValueOrigin] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def origin(self, key: str) -> ValueOrigin:
        """Return where a key stands, or the nearest table that would hold it."""
        at, rest = key, ""
        while at and at not in self.origins:
            cut = max(at.rfind("."), at.rfind("["))
            at, rest = (at[:cut], at[cut:] + rest) if cut > 0 else ("", key)
        if not at:
            return ValueOrigin(OWN, key)
        found = self.origins[at]
        return ValueOrigin(found.layer, found.key + rest)

    def located(self, error: ConfigError) -> ConfigError:
        """Return an error about the effective table as one about the file that holds the value."""
        if not self.origins:
            return error
        at = self.origin(error.key)
        file = error.file if at.layer == OWN else f"{SHIPPED} {error.file}"
        return ConfigError(file, at.key, error.expected, error.found, error.meant)


def inherits(directory: Path) -> bool:
    """Whether a file of a folder says that it extends the shipped pack."""
    for path in sorted(directory.glob("*.toml")):
        try:
            if EXTENDS in read_toml(path):
                return True
        except ConfigError:  # whoever reads the file raises it
            continue
    return False


def has_file(directory: Path, name: str) -> bool:
    """Whether a pack has a file of this name, of its own or by inheritance."""
    if (directory / name).exists():
        return True
    return (rules_folder() / name).exists() and inherits(directory)


def read_file(directory: Path, name: str) -> PackFile:
    """Read one file of a pack.

    Parameters
    ----------
    directory : Path
        Folder of the pack.
    name : str
        Name of the file.

    Raises
    ------
    ConfigError
        If the file cannot be read, extends anything but the shipped pack, or removes a misspelt
        name.
    """
    path, shipped = directory / name, rules_folder() / name
    if not path.exists() and shipped.exists() and inherits(directory):
        return _merged(name, read_toml(shipped), {}, ())
    table = read_toml(path)
    if EXTENDS not in table:
        if REMOVE in table:
            raise ConfigError(name, EXTENDS, f"{SHIPPED!r}, since {REMOVE} is about what it has")
        return PackFile(name, table)
    extends, remove = table.pop(EXTENDS), table.pop(REMOVE, [])
    if extends != SHIPPED:
        raise ConfigError(name, EXTENDS, repr(SHIPPED), extends)
    if not isinstance(remove, list) or not all(isinstance(each, str) for each in remove):
        raise ConfigError(name, REMOVE, "an array of names such as 'limits.kraken'", remove)
    if not shipped.exists():
        raise ConfigError(name, EXTENDS, f"a file that the {SHIPPED} pack has, too")
    return _merged(name, read_toml(shipped), table, tuple(remove))


def inherited_lines(directory: Path) -> Iterator[str]:
    """Say what a pack inherits, changes and leaves out of the shipped one."""
    if not inherits(directory):
        return
    for path in sorted(rules_folder().glob("*.toml")):
        file = _readable(directory, path.name)
        if file is None or not file.origins:
            continue
        if not (directory / path.name).exists():
            yield f"{path.name} is the shipped one"
            continue
        yield f"{path.name} extends the shipped one and changes {len(file.changed)} of its values"
        if file.removed:
            yield f"{path.name} leaves out of the shipped one: {', '.join(file.removed)}"
        yield from (
            f"{path.name} removes {each}, which the shipped file does not have"
            for each in file.idle
        )


@contextmanager
def located_errors(directory: Path) -> Iterator[None]:
    """Turn errors about effective tables into errors about the files that hold the values."""
    try:
        yield
    except ConfigError as error:
        files: dict[str, PackFile | None] = {}
        for each in error.errors:
            if each.file not in files:
                files[each.file] = _readable(directory, each.file)
        raise_config_errors(
            each if (file := files[each.file]) is None else file.located(each)
            for each in error.errors
        )


def _readable(directory: Path, name: str) -> PackFile | None:
    """Return a file of a pack; ``None`` if it cannot be read, or is none."""
    try:
        return read_file(directory, name)
    except ConfigError:
        return None


def _merged(name: str, base: TomlTable, own: TomlTable, remove: tuple[str, ...]) -> PackFile:
    """Return the effective file of a shipped and an own table."""
    idle, errors = [], []
    known = tuple(_paths(base, ""))
    given = tuple(_paths(own, ""))
    for i, path in enumerate(remove):
        if path in given:
            expected = "a name that this file does not set, too"
            errors.append(ConfigError(name, f"{REMOVE}[{i}]", expected, path))
        elif path not in known:
            idle.append(path)
            near = next((each for each in known if is_one_edit(path, each)), None)
            if near is not None:
                expected = "something that the shipped file has"
                errors.append(ConfigError(name, f"{REMOVE}[{i}]", expected, path, near))
    raise_config_errors(errors)
    merge = _Merge(remove)
    table = merge.tables(base, own, _Place())
    removed = tuple(path for path in remove if path not in idle)
    return PackFile(name, table, merge.origins, removed, tuple(idle), tuple(merge.changed))


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the effective table, in both files, and as a path of names and ids."""

    key: str = ""
    base: str = ""
    own: str = ""
    path: str = ""

    def named(self, name: str) -> _Place:
        """Return the place of an entry of a table."""
        return _Place(*(join_key(at, name) for at in (self.key, self.base, self.own, self.path)))

    def item(self, at: int, base: int | None, own: int | None, identity: str) -> _Place:
        """Return the place of an item of a list; ``None`` where a file does not have it."""
        return _Place(
            f"{self.key}[{at}]",
            f"{self.base}[{base}]",
            f"{self.own}[{own}]",
            join_key(self.path, identity),
        )


class _Merge:
    """Merges a table of one's own into the shipped one.

    Parameters
    ----------
    remove : tuple of str
        Paths that are left out of the shipped table.
    """

    def __init__(self, remove: tuple[str, ...]) -> None:
        self._remove = dict.fromkeys(remove)
        self.origins: dict[str, ValueOrigin] = {}
        self.changed: list[str] = []

    def tables(self, base: TomlTable, own: TomlTable, at: _Place) -> TomlTable:
        """Merge two tables by key; the order is that of the shipped one, then new keys."""
        out: TomlTable = {}
        for name in dict.fromkeys((*base, *own)):
            below = at.named(name)
            if name not in own:
                if below.path not in self._remove:
                    out[name] = self._inherited(base[name], below)
            elif name not in base:
                out[name] = self._owned(own[name], below)
            else:
                out[name] = self._both(name, base[name], own[name], below)
        return out

    def _both(self, name: str, base: object, own: object, at: _Place) -> object:
        self.origins[at.key] = ValueOrigin(OWN, at.own)
        if isinstance(base, dict) and isinstance(own, dict):
            return self.tables(base, own, at)
        identity = _IDENTITIES.get(name)
        if identity is not None and _tables(base) and _tables(own):
            return self._lists(base, own, at, identity)
        if own != base:
            self.changed.append(at.key)
        return self._owned(own, at)

    def _lists(
        self, base: list[TomlTable], own: list[TomlTable], at: _Place, identity: Identity
    ) -> list[Any]:
        """Merge two lists by the ids of their entries; a second entry of one id stays apart."""
        mine: dict[str, int] = {}
        for n, item in enumerate(own):
            mine.setdefault(identity(item), n)
        out: list[Any] = []
        for n, item in enumerate(base):
            found = identity(item)
            place = at.item(len(out), n, mine.get(found), found)
            if found in mine:
                self.origins[place.key] = ValueOrigin(OWN, place.own)
                out.append(self.tables(item, own[mine[found]], place))
            elif place.path not in self._remove:
                out.append(self._inherited(item, place))
        known = {identity(item): None for item in base}
        for n, item in enumerate(own):
            found = identity(item)
            if found not in known or mine[found] != n:
                out.append(self._owned(item, at.item(len(out), None, n, found)))
        return out

    def _inherited(self, value: object, at: _Place) -> object:
        """Take a shipped value, without what is removed of it."""
        self.origins[at.key] = ValueOrigin(SHIPPED, at.base)
        if isinstance(value, dict):
            return self.tables(value, {}, at)
        if isinstance(value, list):
            identity = _IDENTITIES.get(at.path.rpartition(".")[2])
            if identity is not None and _tables(value):
                out: list[Any] = []
                for n, item in enumerate(value):
                    place = at.item(len(out), n, None, identity(item))
                    if place.path not in self._remove:
                        out.append(self._inherited(item, place))
                return out
            for n, item in enumerate(value):
                self._inherited(item, at.item(n, n, None, str(n)))
        return value

    def _owned(self, value: object, at: _Place) -> object:
        """Take a value of one's own."""
        self.origins[at.key] = ValueOrigin(OWN, at.own)
        if isinstance(value, dict):
            for name, each in value.items():
                self._owned(each, at.named(name))
        elif isinstance(value, list):
            for n, item in enumerate(value):
                self._owned(item, at.item(n, None, n, str(n)))
        return value


Identity = Callable[[TomlTable], str]
"""Returns what makes an entry of a list the same one in both files."""


def _by_id(item: TomlTable) -> str:
    return str(item.get("id", ""))


def _generation_id(item: TomlTable) -> str:
    return str(item.get("name") or item.get("model", ""))


def _alias_id(item: TomlTable) -> str:
    """Return where, how and since when an alias is spelled, as ``bitmex/XBt``."""
    where, since = item.get("venue", ""), item.get("since", "")
    spelled = f"{where}/{item.get('spelling')}" if where else str(item.get("spelling"))
    return f"{spelled}@{since}" if since else spelled


def _ask_id(item: TomlTable) -> str:
    names = (str(item.get(each, "")) for each in ("generation", "target", "state"))
    return ask_rule_id(*names)


def _target_id(item: TomlTable) -> str:
    """Return the id of a target; of one that cannot be read, its values as they are."""
    horizon = item.get("horizon_s")
    try:
        seconds = parse_duration(horizon) if isinstance(horizon, str) else float(horizon)  # type: ignore[arg-type]
        named = {n: item[n] for n in ("kind", "side", "unit", "start") if n in item}
        return PredictionTarget(
            **{"kind": "depeg", "side": "discount", "unit": "bp", **named},
            threshold=float(item["threshold"]),
            horizon_s=seconds,
        ).id
    except (KeyError, TypeError, ValueError):
        return repr(sorted(item.items()))


_IDENTITIES: Final[dict[str, Identity]] = {
    "limits": _by_id,
    "rules": _by_id,
    "drills": _by_id,
    "generations": _generation_id,
    "targets": _target_id,
    "asks": _ask_id,
    "assets": _alias_id,
    "parties": _alias_id,
}
"""Lists whose entries merge, by the name of the list."""


def identity_of(name: str, item: TomlTable) -> str | None:
    """Return what tells an entry of the list `name` from its others; ``None`` if it has no id.

    Examples
    --------
    >>> identity_of("limits", {"id": "kraken"}), identity_of("books", {"id": "arb"})
    ('kraken', None)
    """
    return _IDENTITIES[name](item) if name in _IDENTITIES else None


def _tables(value: object) -> TypeGuard[list[TomlTable]]:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _paths(value: object, path: str) -> Iterator[str]:
    """Yield the paths of all entries of a table that can be removed."""
    if not isinstance(value, dict):
        return
    for name, each in value.items():
        below = join_key(path, name)
        yield below
        yield from _paths(each, below)
        identity = _IDENTITIES.get(name)
        if identity is not None and _tables(each):
            for item in each:
                yield join_key(below, identity(item))
                yield from _paths(item, join_key(below, identity(item)))
