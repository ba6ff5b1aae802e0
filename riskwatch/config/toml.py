"""Strict conversion of TOML tables to frozen structs, with errors that name the place.

Unknown keys, wrong types, NaN and infinities, numbers outside their range and words outside
their closed set are refused. A key that ends in ``_s`` takes a duration (``"5m"``) or seconds.
Values are checked in file order, and every wrong one is reported.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
import types
from collections.abc import Callable, Hashable, Iterable, Mapping
from enum import Enum
from functools import lru_cache, partial
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from riskwatch.config.names import suggestion
from riskwatch.errors import ConfigError, raise_config_errors

if TYPE_CHECKING:
    from pathlib import Path

    from msgspec.structs import FieldInfo


_SECONDS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([dhms])")
_WHOLE: Final = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as ``90s``, ``5m`` or ``1h30m``.

    A duration is a sequence of numbers with units, largest unit first, each at most once.

    Raises
    ------
    ValueError
        If `text` is anything else.

    Examples
    --------
    >>> [parse_duration(t) for t in ("90s", "5m", "1h30m", "7d", "0.5s")]
    [90.0, 300.0, 5400.0, 604800.0, 0.5]
    """
    parts = _PART.findall(text)
    order = "".join(unit for _, unit in parts)
    if not _WHOLE.fullmatch(text) or order not in _ORDERS:
        raise ValueError(f"not a duration such as '5m': {text!r}")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _orders() -> frozenset[str]:
    """Return all subsequences of ``dhms``: descending units, each at most once."""
    found = {""}
    for unit in _SECONDS:
        found |= {before + unit for before in found}
    return frozenset(found - {""})


_ORDERS: Final = _orders()


T = TypeVar("T", bound=msgspec.Struct)
Key = TypeVar("Key", bound=Hashable)

TomlTable = dict[str, Any]
Check = Callable[[Any], str | None]
"""Returns what was expected instead of a value, or ``None`` if the value is valid."""
Checks = Mapping[tuple[type, str], Check]
"""Checks of fields, by struct and field name."""


MAX_BYTES: Final = 4 * 2**20
"""Most bytes of one file."""
MAX_DEPTH: Final = 16
"""Most levels of tables and arrays within one another."""
_TOO_DEEP: Final = f"at most {MAX_DEPTH} levels of tables and arrays"
_TOO_LARGE: Final = "numbers that fit 64 bits"


def read_toml(path: Path) -> TomlTable:
    """Parse one file.

    Raises
    ------
    ConfigError
        If it is missing, unreadable, too long, nested too deep, holds a number beyond 64 bits, or
        is not TOML in UTF-8 (with line and column).
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError(path.name, "", f"at most {MAX_BYTES:,} bytes")
        table = tomllib.loads(raw.decode())
    except FileNotFoundError:
        raise ConfigError(path.name, "", f"a file at {path}, found none") from None
    except OSError as error:
        raise ConfigError(path.name, "", f"a readable file at {path}", error.strerror) from error
    except UnicodeDecodeError as error:
        raise ConfigError(path.name, "", "UTF-8", f"byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path.name, "", f"valid TOML: {error}") from error
    except RecursionError:
        raise ConfigError(path.name, "", _TOO_DEEP) from None
    except ValueError:  # Python converts no number of more than 4,300 digits
        raise ConfigError(path.name, "", _TOO_LARGE) from None
    _check_bounds(path.name, table)
    return table


def _check_bounds(file: str, table: TomlTable) -> None:
    """Check depth and numbers of a file, without recursion."""
    level: list[tuple[str, Any]] = [("", table)]
    for _ in range(MAX_DEPTH + 1):
        inner: list[tuple[str, Any]] = []
        for key, value in level:
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ConfigError(file, key, _TOO_LARGE)
            if isinstance(value, dict):
                inner += [(join_key(key, name), each) for name, each in value.items()]
            elif isinstance(value, list):
                inner += [(f"{key}[{n}]", each) for n, each in enumerate(value)]
        level = inner
    if level:
        raise ConfigError(file, "", _TOO_DEEP)


class StructReader:
    """Converts the tables of one file to structs.

    Parameters
    ----------
    file : str
        Name of the file, for errors.
    checks : mapping, optional
        Checks that a type cannot express, by (struct, field). The types of fields give ranges.
    """

    def __init__(self, file: str, checks: Checks | None = None) -> None:
        self.file = file
        self.checks = checks or {}

    def struct(self, cls: type[T], data: object, key: str = "") -> T:
        """Return a `cls` made of the table `data` at the dotted `key`.

        Raises
        ------
        ConfigError
            About every wrong value, in file order.
        """
        table = self._table(data, key)
        fields, hints = _fields(cls)
        made, errors = {}, []
        for name, value in table.items():
            where = join_key(key, name)
            if name not in fields:
                expected, near = f"one of {', '.join(fields)} here", suggestion(name, fields)
                errors.append(ConfigError(self.file, where, expected, "an unknown key", near))
                continue
            field = fields[name]
            kind, in_range = split_range(hints[field.name])
            try:
                made[field.name] = found = self._value(kind, value, where)
            except ConfigError as error:
                made[field.name] = None  # given, though wrong
                errors.append(error)
                continue
            errors += self._faults(
                (in_range, self.checks.get((cls, field.name))), found, value, where
            )
        for name, field in fields.items():
            if field.required and field.name not in made:
                errors.append(ConfigError(self.file, join_key(key, name), "a value, found none"))
        raise_config_errors(errors)
        try:
            return cls(**made)
        except ValueError as error:  # raised by the __post_init__ of a struct
            raise ConfigError(self.file, key, f"settings that go together: {error}") from error

    def _faults(
        self, checks: tuple[Check | None, ...], found: object, value: object, key: str
    ) -> list[ConfigError]:
        """Return the error of the first check that a value fails."""
        for check in checks:
            expected = check(found) if check else None
            if expected:
                near = suggestion(value, getattr(check, "words", ()))
                return [ConfigError(self.file, key, expected, value, near)]
        return []

    def _value(self, kind: Any, value: object, key: str) -> object:
        origin, args = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            inner = [a for a in args if a not in (types.NoneType, msgspec.UnsetType)]
            if len(inner) == 1:  # TOML has no null, so an optional value is the value
                return self._value(inner[0], value, key)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.struct(kind, value, key)
        if origin in (list, tuple) and (origin is list or args[-1] is Ellipsis):
            if not isinstance(value, list):
                raise ConfigError(self.file, key, "an array", value)
            items = self._each(
                (i, partial(self._value, args[0], v, f"{key}[{i}]")) for i, v in enumerate(value)
            )
            return list(items.values()) if origin is list else tuple(items.values())
        if origin is dict:
            return self._by_name(args[1], self._table(value, key), key)
        return self._leaf(kind, value, key)

    def _by_name(self, kind: Any, table: TomlTable, key: str) -> dict[str, object]:
        """Convert each entry of a table. The name of an entry is the `id` of a struct with one."""
        if not (isinstance(kind, type) and "id" in getattr(kind, "__struct_fields__", ())):
            return self._each(
                (name, partial(self._value, kind, value, join_key(key, name)))
                for name, value in table.items()
            )
        return self._each(
            (name, partial(self._named, kind, name, value, join_key(key, name)))
            for name, value in table.items()
        )

    def _named(self, kind: type[msgspec.Struct], name: str, value: object, key: str) -> object:
        """Convert one entry of a table whose name is the `id` of the struct."""
        table = self._table(value, key)
        if "id" in table:
            raise ConfigError(self.file, join_key(key, "id"), "no id: the table's name is it")
        return self.struct(kind, {"id": name, **table}, key)

    def _each(self, made: Iterable[tuple[Key, Callable[[], object]]]) -> dict[Key, object]:
        """Make every entry, and raise the errors of all of them together."""
        out: dict[Key, object] = {}
        errors = []
        for name, make in made:
            try:
                out[name] = make()
            except ConfigError as error:
                errors.append(error)
        raise_config_errors(errors)
        return out

    def _leaf(self, kind: Any, value: object, key: str) -> object:
        if key.endswith("_s") and isinstance(value, str):
            return self._duration(kind, value, key)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(self.file, key, "a finite number", value)
        if isinstance(kind, type) and issubclass(kind, Enum) and value not in list(kind):
            members = [str(member.value) for member in kind]
            near = suggestion(value, members)
            raise ConfigError(self.file, key, f"one of {', '.join(members)}", value, near)
        try:
            made = msgspec.convert(value, type=kind)
        except msgspec.ValidationError as error:
            words = str(error).removeprefix("Expected ").split(", got ")[0].replace("`", "")
            raise ConfigError(self.file, key, words, value) from error
        if key.endswith("_s") and isinstance(made, int | float) and made < 0:
            raise ConfigError(self.file, key, "a duration of zero or more", value)
        return made

    def _duration(self, kind: Any, value: str, key: str) -> object:
        try:
            found = parse_duration(value)
            return msgspec.convert(int(found) if found.is_integer() else found, type=kind)
        except ValueError as error:  # includes msgspec's errors: an int takes whole seconds
            raise ConfigError(self.file, key, "a duration such as '5m'", value) from error

    def _table(self, value: object, key: str) -> TomlTable:
        if not isinstance(value, dict):
            raise ConfigError(self.file, key, "a table", value)
        return value


@lru_cache(maxsize=256)
def _fields(cls: type[msgspec.Struct]) -> tuple[dict[str, FieldInfo], dict[str, Any]]:
    """Return the fields of a struct by their names in files, and their types."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
    return fields, get_type_hints(cls, include_extras=True)


def toml_string(value: str) -> str:
    """Return a string in TOML syntax; TOML accepts JSON strings.

    Examples
    --------
    >>> toml_string("a b")
    '"a b"'
    """
    return json.dumps(value)


def join_key(key: str, name: str) -> str:
    """Return the dotted path of `name` under `key`.

    Examples
    --------
    >>> join_key("", "a"), join_key("a", "b")
    ('a', 'a.b')
    """
    return f"{key}.{name}" if key else name


def split_range(kind: Any) -> tuple[Any, Check | None]:
    """Return the type of a field without its annotated range, and a check of the range.

    msgspec would check the range, too, but with an error text that is hard to read.

    Examples
    --------
    >>> kind, check = split_range(Annotated[float, msgspec.Meta(gt=0.0)])
    >>> kind, check(0.0)
    (<class 'float'>, 'a number above 0.0')
    >>> split_range(str)
    (<class 'str'>, None)
    """
    if get_origin(kind) in (Union, types.UnionType):
        inner = [a for a in get_args(kind) if a is not types.NoneType]
        plain, check = split_range(inner[0]) if len(inner) == 1 else (kind, None)
        return (kind, None) if check is None else (plain | None, optional(check))
    if get_origin(kind) is Annotated:
        plain, *extras = get_args(kind)
        for meta in extras:
            check = _range(meta) if isinstance(meta, msgspec.Meta) else None
            if check is not None:
                return plain, check
    return kind, None


def _range(meta: msgspec.Meta) -> Check | None:
    """Return the check of a range; ``None`` if `meta` has none."""
    match (meta.gt, meta.ge, meta.lt, meta.le):
        case (None, None, None, None):
            return None
        case (int() | float() as low, None, None, None):
            return above(low)
        case (None, int() | float() as low, None, None):
            return at_least(low)
        case (int() | float() as low, None, int() | float() as high, None):
            return strictly_between(low, high)
        case (None, int() | float() as low, None, int() | float() as high):
            return between(low, high)
    raise TypeError(f"a range that there are no words for: {meta}")


def at_least(low: float) -> Check:
    """Return a check for `low` or more.

    Examples
    --------
    >>> at_least(0.0)(-1.0), at_least(0.0)(0.0)
    ('a number of at least 0.0', None)
    """
    return lambda value: None if value >= low else f"a number of at least {low}"


def above(low: float) -> Check:
    """Return a check for more than `low`."""
    return lambda value: None if value > low else f"a number above {low}"


def between(low: float, high: float) -> Check:
    """Return a check for `low` to `high`, both included."""
    return lambda value: None if low <= value <= high else f"a number from {low} to {high}"


def strictly_between(low: float, high: float) -> Check:
    """Return a check for `low` to `high`, both excluded."""
    return lambda value: None if low < value < high else f"a number between {low} and {high}"


class OneOf:
    """A check for one of some words."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def __call__(self, value: object) -> str | None:
        """Return what was expected instead of a value that is not one of the words."""
        return None if value in self.words else f"one of {', '.join(self.words)}"


def one_of(*words: str) -> Check:
    """Return a check for one of `words`, from which an error suggests one."""
    return OneOf(words)


def not_empty(value: object) -> str | None:
    """Check that a value is not empty.

    Examples
    --------
    >>> not_empty(()), not_empty((1,))
    ('at least one', None)
    """
    return None if value else "at least one"


def optional(check: Check) -> Check:
    """Return a check that accepts ``None`` and applies `check` to any other value."""
    return lambda value: None if value is None else check(value)
