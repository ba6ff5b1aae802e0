"""The configuration as a fact: recorded when a worker begins with another than the last one.

It is an output like any other, and a row of the audit chain. It carries everything that the
configuration says, so that a decision can be derived again from SQL alone. Its digest covers what
was recorded. A later build may have more fields: they take their defaults, and the digest of the
record stays what it was. To keep old records readable, let fields of the configuration stand in
the order in which they stand, give a new one a default, and name a renamed one in :data:`RENAMED`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import inspect

from riskwatch.config.config import Config
from riskwatch.config.unconfirmed import with_unconfirmed
from riskwatch.contracts.outputs import decode_output
from riskwatch.core.clock import moment
from riskwatch.core.ids import output_id
from riskwatch.core.operators import Operators
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.core.policy import Policy
from riskwatch.core.reference import LimitsConfig, Reference
from riskwatch.core.rules import RulePack
from riskwatch.errors import StoreError
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from riskwatch.store.batch import ResumePoint

PARTS: Final[dict[str, type[msgspec.Struct]]] = {
    "reference": Reference,
    "limits": LimitsConfig,
    "rules": RulePack,
    "policy": Policy,
    "operators": Operators,
}
"""What a configuration is made of, in the order of its digest."""
Renamed = Mapping[type, Mapping[str, str]]
"""By struct: the name of a field in old records, and its name now."""
RENAMED: Final[dict[type, dict[str, str]]] = {}
"""Fields of the configuration that were renamed."""
MAX_CHANGES: Final = 200
"""Changes that are written out; how many more there are is said."""
NAMED: Final = 10
"""Fields that this build does not know and that are named; how many more there are is said."""
MAX_VALUE_LENGTH: Final = 200
"""Characters of one value that are written out."""


@dataclass(frozen=True, slots=True)
class ConfigurationRecorder:
    """Says under which configuration a worker begins, if that is news.

    Attributes
    ----------
    worker : str
        Who begins.
    config : Config
        What it was given.
    clock : callable, optional
        The time of a live worker, microseconds; a replay uses the event time reached.
    """

    worker: str
    config: Config
    clock: Callable[[], int] | None = None

    def __call__(self, resumed: ResumePoint) -> list[ConfigurationChanged]:
        """One output, or none."""
        last, now = decode_record(resumed.configured), config_content(self.config)
        if with_unconfirmed(self.config, last) != self.config:
            raise StoreError(
                f"{self.worker}: the configuration was not held against the recorded one, so new "
                "rules would bind at once"
            )
        before = {} if last is None else _plain(last.content)
        then = as_recorded(before, now)
        same = last is not None and (last.digest == self.config.digest or then == before)
        if last is not None and same and last.engine == ENGINE:
            return []
        cause = f"configuration/{self.worker}/{resumed.next_journal}/{self.config.digest[:16]}"
        return [
            ConfigurationChanged(
                id=output_id(cause, "ConfigurationChanged", self.worker),
                cause_id=cause,
                ts=moment(resumed.us if self.clock is None else self.clock()),
                worker=self.worker,
                journal=resumed.next_journal,
                digest=self.config.digest,
                previous="" if last is None else last.digest,
                changes=[] if last is None else config_changes(before, then),
                content=now,
            )
        ]


def config_content(config: Config) -> dict[str, Any]:
    """All that a configuration says, as JSON holds it."""
    parts = {name: getattr(config, name) for name in PARTS}
    return {name: msgspec.to_builtins(part) for name, part in parts.items()}


def as_recorded(
    before: Mapping[str, Any],
    now: dict[str, Any],
    parts: Mapping[str, type[msgspec.Struct]] = PARTS,
    renamed: Renamed = RENAMED,
) -> dict[str, Any]:
    """Say a configuration in the terms of an older record of one.

    A field that the record does not have and that is at its default now is left out: nobody
    changed it. A renamed field has the name that the record gives it.

    Parameters
    ----------
    before : mapping
        Content of the record.
    now : dict
        Content of the configuration, see :func:`content`.
    parts, renamed : mapping
        As of :func:`restored`.
    """
    plain = _plain(now)
    return {
        name: _said_as(value, before.get(name, _Absent), _type_of(parts[name]), renamed)
        for name, value in plain.items()
    }


def restore_config(
    recorded: ConfigurationChanged,
    parts: Mapping[str, type[msgspec.Struct]] = PARTS,
    renamed: Renamed = RENAMED,
) -> Config:
    """Make the configuration that was recorded; fields that it does not have take their defaults.

    Parameters
    ----------
    recorded : ConfigurationChanged
        The record.
    parts : mapping
        What this build makes of each part.
    renamed : mapping
        See :data:`Renamed`.

    Raises
    ------
    StoreError
        If the record was changed, or says something that this build does not know.
    """
    return Config(**restored_parts(recorded, parts, renamed), digest=recorded.digest)


def restored_parts(
    recorded: ConfigurationChanged,
    parts: Mapping[str, type[msgspec.Struct]] = PARTS,
    renamed: Renamed = RENAMED,
) -> dict[str, Any]:
    """Make the parts of the configuration that was recorded; see :func:`restored`."""
    plain = _plain(recorded.content)
    which = f"the configuration of {recorded.id}"
    unknown = [name for name in sorted(plain) if name not in parts]
    ordered: list[Any] = []
    made: dict[str, Any] = {}
    for name, part in parts.items():
        value = plain.get(name, {})
        reader = _Reader(renamed, now=True)
        now = reader.read(value, _type_of(part), name)
        unknown += reader.unknown
        if name in plain:
            ordered.append(_Reader(renamed, now=False).read(value, _type_of(part), name))
        if not unknown:
            try:
                made[name] = msgspec.convert(now, type=part, strict=False)
            except msgspec.ValidationError as error:
                raise StoreError(f"{which} cannot be read: {name}: {error}") from error
    if unknown:
        named = ", ".join(sorted(unknown)[:NAMED])
        more = f" and {len(unknown) - NAMED} more fields" if len(unknown) > NAMED else ""
        raise StoreError(
            f"{which} cannot be read: engine {recorded.engine} recorded {named}{more}, which this "
            f"build (engine {ENGINE}) does not have"
        )
    found = sha256(msgspec.json.encode(ordered)).hexdigest()
    if found != recorded.digest:
        raise StoreError(
            f"{which} has digest {found[:16]} by what it says and {recorded.digest[:16]} in the "
            f"record: it was changed, or a build changed the order of fields (engine "
            f"{recorded.engine} recorded it, this is {ENGINE})"
        )
    return made


def config_changes(before: Any, after: Any) -> list[str]:
    """Say what differs between two configurations, at most :data:`MOST` values.

    Examples
    --------
    >>> config_changes({"limits": {"equity_usd": 1.0}}, {"limits": {"equity_usd": 2.0, "x": True}})
    ['limits.equity_usd: 1.0 -> 2.0', 'limits.x: absent -> true']
    """
    found = list(islice(_differences("", before, after), MAX_CHANGES + 1))
    if len(found) > MAX_CHANGES:
        more = sum(1 for _ in _differences("", before, after)) - MAX_CHANGES
        return [*found[:MAX_CHANGES], f"and {more} more"]
    return found


def _differences(path: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({**before, **after}):
            below = f"{path}.{name}" if path else name
            yield from _differences(below, before.get(name, _Absent), after.get(name, _Absent))
    elif _listed(before) and _listed(after):
        old, new = _by_id(before), _by_id(after)
        yield from _differences(path, old, new)
    elif before != after:
        yield f"{path}: {_shown(before)} -> {_shown(after)}"


def _by_id(items: Any) -> dict[str, Any]:
    """Name the items of a list by their ids, or by their places."""
    return {_id_of(item, at): item for at, item in enumerate(items)}


def _id_of(item: Any, at: int) -> str:
    return str(item["id"]) if isinstance(item, dict) and "id" in item else str(at)


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple)


class _Absent:
    """Says that there is no value."""


def _shown(value: Any) -> str:
    if value is _Absent:
        return "absent"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + "..."


class _Reader:
    """Reads what was recorded along the types of this build: fields in the order of their struct.

    That order is the order of the digest. The recorded JSON has another one, by name.

    Parameters
    ----------
    renamed : mapping
        See :data:`Renamed`.
    now : bool
        Whether a renamed field gets the name that it has now, or keeps the recorded one.

    Attributes
    ----------
    unknown : list of str
        Recorded fields that this build does not have, as dotted paths.
    """

    def __init__(self, renamed: Renamed, *, now: bool) -> None:
        self._renamed = renamed
        self._now = now
        self.unknown: list[str] = []

    def read(self, value: Any, kind: inspect.Type, path: str) -> Any:
        """Read one value."""
        kind = _matching(value, kind)
        if isinstance(kind, inspect.StructType) and isinstance(value, dict):
            return self._struct(value, kind, path)
        if isinstance(value, dict):
            below = kind.value_type if isinstance(kind, inspect.DictType) else inspect.AnyType()
            return {name: self.read(value[name], below, f"{path}.{name}") for name in sorted(value)}
        if isinstance(value, list):
            return [
                self.read(item, _item_type(kind, at), f"{path}.{at}")
                for at, item in enumerate(value)
            ]
        return value

    def _struct(self, value: dict[str, Any], kind: inspect.StructType, path: str) -> dict[str, Any]:
        old_names = self._renamed.get(kind.cls, {})
        out, known = {}, set()
        for field in kind.fields:
            names = [field.encode_name]
            names += [old for old, new in old_names.items() if new == field.name]
            for name in names:
                if name in value:
                    known.add(name)
                    spelled = field.encode_name if self._now else name
                    out[spelled] = self.read(value[name], field.type, f"{path}.{name}")
        self.unknown += [f"{path}.{name}" for name in sorted(value) if name not in known]
        return out


def _said_as(now: Any, before: Any, kind: inspect.Type, renamed: Renamed) -> Any:
    """Say a value in the terms of what was recorded in its place; see :func:`as_recorded`."""
    kind = _matching(now, kind)
    if isinstance(now, dict) and isinstance(before, dict):
        if isinstance(kind, inspect.StructType):
            return _struct_as(now, before, kind, renamed)
        below = kind.value_type if isinstance(kind, inspect.DictType) else inspect.AnyType()
        return {n: _said_as(now[n], before.get(n, _Absent), below, renamed) for n in now}
    if isinstance(now, list) and isinstance(before, list):
        old = _by_id(before)
        return [
            _said_as(item, old.get(_id_of(item, at), _Absent), _item_type(kind, at), renamed)
            for at, item in enumerate(now)
        ]
    return now


def _struct_as(
    now: dict[str, Any], before: dict[str, Any], kind: inspect.StructType, renamed: Renamed
) -> dict[str, Any]:
    names = {new: old for old, new in renamed.get(kind.cls, {}).items() if old in before}
    out = {}
    for field in kind.fields:
        if field.encode_name not in now:
            continue  # it is not set, so nothing is said of it
        value = now[field.encode_name]
        name = names.get(field.name, field.encode_name)
        if name in before or value != _default_of(field):
            out[name] = _said_as(value, before.get(name, _Absent), field.type, renamed)
    return out


def _default_of(field: inspect.Field) -> Any:
    """Give the default of a field as JSON holds it; one without a default equals nothing."""
    if field.default is not msgspec.NODEFAULT:
        return _plain(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return _plain(field.default_factory())
    return _Absent


def _matching(value: Any, kind: inspect.Type) -> inspect.Type:
    """Of the types that a value may have, the one that describes what is inside of it."""
    if not isinstance(kind, inspect.UnionType):
        return kind
    wanted: tuple[type, ...] = ()
    if isinstance(value, dict):
        wanted = (inspect.StructType, inspect.DictType)
    elif isinstance(value, list):
        wanted = (inspect.VarTupleType, inspect.TupleType, inspect.ListType)
    return next((each for each in kind.types if isinstance(each, wanted)), inspect.AnyType())


def _item_type(kind: inspect.Type, at: int) -> inspect.Type:
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return kind.item_type
    if isinstance(kind, inspect.TupleType) and at < len(kind.item_types):
        return kind.item_types[at]
    return inspect.AnyType()


@lru_cache(maxsize=64)
def _type_of(part: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(part)


def _plain(value: Any) -> Any:
    """A value as it is once it went through JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


def decode_record(payload: bytes | None) -> ConfigurationChanged | None:
    """Decode the last record of a configuration, as the store gives it; ``None`` if it has none."""
    if payload is None:
        return None
    found = decode_output(payload)
    assert isinstance(found, ConfigurationChanged), "the store was asked for this kind"
    return found
