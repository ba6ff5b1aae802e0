"""The record of the configuration, written when a worker begins with a changed configuration.

The record is an output and a row of the audit chain. It contains the whole configuration, so that a
decision can be derived again from SQL alone. Its digest covers the recorded values. A later build
may have more fields: they take their defaults, and the digest of the record does not change. To
keep old records readable, do not change the order of fields, give each new field a default, and
add a renamed field to :data:`RENAMED`.
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

from riskwatch.config import existence
from riskwatch.config.config import Config, model_scores
from riskwatch.config.unconfirmed import with_unconfirmed
from riskwatch.contracts.outputs import decode_output
from riskwatch.core.clock import moment
from riskwatch.core.deployment import EMBEDDED, UNBOUND
from riskwatch.core.ids import output_id
from riskwatch.core.names import NamesConfig
from riskwatch.core.operators import Operators
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.core.policy import Policy
from riskwatch.core.reference import LimitsConfig, Reference
from riskwatch.core.rules import RulePack
from riskwatch.errors import ModelError, StoreError
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
    "names": NamesConfig,
}
"""Parts of a configuration, in the order of its digest. Names that there are none are left out."""
Renamed = Mapping[type, Mapping[str, str]]
"""By struct: the present name of a field, by its name in old records."""
RENAMED: Final[dict[type, dict[str, str]]] = {}
"""Fields of the configuration that were renamed."""
MAX_CHANGES: Final = 200
"""Most changes that are listed; of more, only the number follows."""
NAMED: Final = 10
"""Most unknown fields that an error lists; of more, only the number follows."""
MAX_VALUE_LENGTH: Final = 200
"""Most characters of one value in a list of changes."""


@dataclass(frozen=True, slots=True)
class ConfigurationRecorder:
    """Records the configuration of a worker, if it differs from the last recorded one.

    Attributes
    ----------
    worker : str
        Name of the worker.
    config : Config
        Its configuration.
    clock : callable, optional
        Returns the time of a live worker, microseconds. A replay uses the event time reached.
    deployment : str
        Deployment of the database; the record then names it, unless it is a replay in one process.
    signed_by : tuple of str
        Who signed that limits are looser than in the last record; see
        :mod:`riskwatch.config.loosened`.
    policy_diff : str
        Digest of the comparison that is attached to the change; see
        :mod:`riskwatch.config.change`.
    """

    worker: str
    config: Config
    clock: Callable[[], int] | None = None
    deployment: str = EMBEDDED
    signed_by: tuple[str, ...] = ()
    policy_diff: str = ""

    def __call__(self, resumed: ResumePoint) -> list[ConfigurationChanged]:
        """Return the record as the one output, or nothing if the configuration did not change."""
        last, now = decode_record(resumed.configured), config_content(self.config)
        if with_unconfirmed(self.config, last) != self.config:
            raise StoreError(
                f"{self.worker}: the configuration was not held against the recorded one, so new "
                "rules would bind at once"
            )
        before = {} if last is None else _plain(last.content)
        then = as_recorded(before, now)
        same = last is not None and (last.digest == self.config.digest or then == before)
        named = msgspec.UNSET if self.deployment == EMBEDDED else self.deployment
        if last is not None and same and last.engine == ENGINE and last.deployment == named:
            return []
        cause = f"configuration/{self.worker}/{resumed.next_journal}/{self.config.digest[:16]}"
        cause += f"/{named}" if named else ""
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
                deployment=named,
                signed_by=list(self.signed_by) or msgspec.UNSET,
                policy_diff=self.policy_diff or msgspec.UNSET,
            )
        ]


def recorded_deployment(record: ConfigurationChanged, worker: str) -> str:
    """Return the deployment whose commands count under a record of a worker.

    Builds before deployments had ids took commands that name none; a replay in one process, whose
    worker is :data:`EMBEDDED`, still does.
    """
    return record.deployment or (EMBEDDED if worker == EMBEDDED else UNBOUND)


def config_content(config: Config) -> dict[str, Any]:
    """Return the content of a configuration as JSON values."""
    parts = {name: getattr(config, name) for name in PARTS}
    if config.names == NamesConfig():
        del parts["names"]
    return {name: msgspec.to_builtins(part) for name, part in parts.items()}


def as_recorded(
    before: Mapping[str, Any],
    now: dict[str, Any],
    parts: Mapping[str, type[msgspec.Struct]] = PARTS,
    renamed: Renamed = RENAMED,
) -> dict[str, Any]:
    """Return the content of a configuration with the fields of an older record.

    A field that the record does not have is left out if it has its default value, because it did
    not change. A renamed field takes the name of the record.

    Parameters
    ----------
    before : mapping
        Content of the record.
    now : dict
        Content of the configuration, see :func:`config_content`.
    parts, renamed : mapping
        See :func:`restore_config`.
    """
    plain = _plain(now)
    return {
        name: _value_as_recorded(value, before.get(name, _Absent), _type_of(parts[name]), renamed)
        for name, value in plain.items()
    }


def restore_config(
    recorded: ConfigurationChanged,
    parts: Mapping[str, type[msgspec.Struct]] = PARTS,
    renamed: Renamed = RENAMED,
) -> Config:
    """Return the recorded configuration. Fields that the record lacks take their defaults.

    Parameters
    ----------
    recorded : ConfigurationChanged
        The record.
    parts : mapping
        The struct of each part in this build.
    renamed : mapping
        See :data:`Renamed`.

    Raises
    ------
    StoreError
        If the record was changed, or has a field that this build does not know.
    """
    return Config(**restored_parts(recorded, parts, renamed), digest=recorded.digest)


def restored_parts(
    recorded: ConfigurationChanged,
    parts: Mapping[str, type[msgspec.Struct]] = PARTS,
    renamed: Renamed = RENAMED,
) -> dict[str, Any]:
    """Return the parts of the recorded configuration; see :func:`restore_config`."""
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


def unknown_names(recorded: ConfigurationChanged | None) -> list[str]:
    """Say which names in a recorded configuration never existed.

    An earlier release accepted them. Replays use them as they were recorded.

    Parameters
    ----------
    recorded : ConfigurationChanged or None
        What a worker recorded last.
    """
    if recorded is None:
        return []
    try:
        config = restore_config(recorded)
        scores = model_scores(config.policy.models)
    except (StoreError, ModelError) as error:
        return [f"its names cannot be checked: {error}"]
    found = [
        *existence.check_rule_features("rules", config.rules, scores),
        *existence.check_models("models", config.policy.models),
    ]
    return [f"{error}; it never existed, so it was never measured" for error in found]


def config_changes(before: Any, after: Any) -> list[str]:
    """Return the differences between two configurations, at most :data:`MAX_CHANGES` values.

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
    """Return the items of a list by their ids, or by their positions."""
    return {_id_of(item, at): item for at, item in enumerate(items)}


def _id_of(item: Any, at: int) -> str:
    return str(item["id"]) if isinstance(item, dict) and "id" in item else str(at)


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple)


class _Absent:
    """Marks an absent value."""


def _shown(value: Any) -> str:
    if value is _Absent:
        return "absent"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + "..."


class _Reader:
    """Reads recorded values by the types of this build, with fields in the order of their struct.

    The digest uses that order. The recorded JSON is ordered by name.

    Parameters
    ----------
    renamed : mapping
        See :data:`Renamed`.
    now : bool
        Whether a renamed field gets its present name, or keeps the recorded one.

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


def _value_as_recorded(now: Any, before: Any, kind: inspect.Type, renamed: Renamed) -> Any:
    """Return a value with the fields of the recorded value; see :func:`as_recorded`."""
    kind = _matching(now, kind)
    if isinstance(now, dict) and isinstance(before, dict):
        if isinstance(kind, inspect.StructType):
            return _struct_as_recorded(now, before, kind, renamed)
        below = kind.value_type if isinstance(kind, inspect.DictType) else inspect.AnyType()
        return {n: _value_as_recorded(now[n], before.get(n, _Absent), below, renamed) for n in now}
    if isinstance(now, list) and isinstance(before, list):
        old = _by_id(before)
        return [
            _value_as_recorded(
                item, old.get(_id_of(item, at), _Absent), _item_type(kind, at), renamed
            )
            for at, item in enumerate(now)
        ]
    return now


def _struct_as_recorded(
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
            out[name] = _value_as_recorded(value, before.get(name, _Absent), field.type, renamed)
    return out


def _default_of(field: inspect.Field) -> Any:
    """Return the default of a field as a JSON value; :class:`_Absent` if it has none."""
    if field.default is not msgspec.NODEFAULT:
        return _plain(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return _plain(field.default_factory())
    return _Absent


def _matching(value: Any, kind: inspect.Type) -> inspect.Type:
    """Return the member of a union type that describes the content of a value."""
    if not isinstance(kind, inspect.UnionType):
        return kind
    candidates: tuple[type, ...] = ()
    if isinstance(value, dict):
        candidates = (inspect.StructType, inspect.DictType)
    elif isinstance(value, list):
        candidates = (inspect.VarTupleType, inspect.TupleType, inspect.ListType)
    return next((each for each in kind.types if isinstance(each, candidates)), inspect.AnyType())


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
    """Return a value after a round trip through JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


def decode_record(payload: bytes | None) -> ConfigurationChanged | None:
    """Decode the last record of a configuration, as the store gives it; ``None`` if it has none."""
    if payload is None:
        return None
    found = decode_output(payload)
    assert isinstance(found, ConfigurationChanged), "the store was asked for this kind"
    return found
