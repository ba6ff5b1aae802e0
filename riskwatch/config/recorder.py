"""The configuration as a fact: recorded when a worker begins with another than the last one.

It is an output like any other, and a row of the audit chain. It carries everything that the
configuration says, so that a decision can be derived again from SQL alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.config.config import Config, digest
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
MAX_CHANGES: Final = 200
"""Changes that are written out; how many more there are is said."""
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
        last = _last(resumed.configured)
        if last is not None and (last.digest, last.engine) == (self.config.digest, ENGINE):
            return []
        now = config_content(self.config)
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
                changes=[] if last is None else config_changes(last.content, now),
                content=now,
            )
        ]


def config_content(config: Config) -> dict[str, Any]:
    """All that a configuration says, as JSON holds it."""
    parts = {name: getattr(config, name) for name in PARTS}
    return {name: msgspec.to_builtins(part) for name, part in parts.items()}


def restore_config(recorded: ConfigurationChanged) -> Config:
    """Make the configuration that was recorded.

    Raises
    ------
    StoreError
        If this build understands it otherwise than the one that recorded it.
    """
    try:
        parts = {
            name: msgspec.convert(recorded.content.get(name), type=part, strict=False)
            for name, part in PARTS.items()
        }
    except msgspec.ValidationError as error:
        raise StoreError(f"the configuration of {recorded.id} cannot be read: {error}") from error
    found = digest(*parts.values())
    if found != recorded.digest:
        raise StoreError(
            f"the configuration of {recorded.id} has digest {found[:16]} in this build and "
            f"{recorded.digest[:16]} in the record: engine {recorded.engine} wrote it, this is "
            f"{ENGINE}"
        )
    return Config(**parts, digest=found)  # type: ignore[arg-type]


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
    return {
        str(item["id"]) if isinstance(item, dict) and "id" in item else str(at): item
        for at, item in enumerate(items)
    }


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple)


class _Absent:
    """Says that there is no value."""


def _shown(value: Any) -> str:
    if value is _Absent:
        return "absent"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + "..."


def _last(payload: bytes | None) -> ConfigurationChanged | None:
    if payload is None:
        return None
    found = decode_output(payload)
    assert isinstance(found, ConfigurationChanged), "the store was asked for this kind"
    return found
