"""Rules, limits and asks that are new to a deployment: they are advisory until confirmed.

A shipped rule, limit or ask of a later release names that release (``since``). The last
configuration that a worker recorded shows what its deployment has. An item with a ``since`` that
is not in that record is unconfirmed: it is advisory until ``binding`` in ``[risk]`` names it. A
fresh database has no record, so every item binds. The worker records the unconfirmed items with
its configuration, so that a decision is derived again under the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.core.risk.config import ALL, ask_rule_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from riskwatch.config.config import Config
    from riskwatch.core.enums import Mode
    from riskwatch.core.outputs import ConfigurationChanged

NAMED: Final = 10
"""Maximum number of ids in one log line; the line also states how many more there are."""


@dataclass(frozen=True, slots=True)
class ConfiguredItem:
    """A rule, a limit or an ask, with the fields that decide whether it binds.

    Attributes
    ----------
    kind, id : str
        ``rule``, ``limit`` or ``ask``, and which.
    mode : Mode or unset
        Its own ``mode``.
    since : str
        Release that shipped it first; empty if none is named.
    """

    kind: str
    id: str
    mode: Mode | msgspec.UnsetType
    since: str


def configured_items(config: Config) -> Iterator[ConfiguredItem]:
    """Rules, limits and asks of a configuration, in the order of its files."""
    for rule in config.rules.rules:
        yield ConfiguredItem("rule", rule.id, rule.mode, rule.since or "")
    for limit in config.limits.limits:
        yield ConfiguredItem("limit", limit.id, limit.mode, limit.since or "")
    for ask in config.policy.risk.asks:
        yield ConfiguredItem("ask", ask.rule_id, ask.mode, ask.since or "")


def with_unconfirmed(config: Config, last: ConfigurationChanged | None) -> Config:
    """Return the configuration that a worker runs after `last` was recorded.

    Parameters
    ----------
    config : Config
        As it was read.
    last : ConfigurationChanged or None
        The last record of the worker.
    """
    risk = config.policy.risk
    unconfirmed = tuple(_unconfirmed(config, {} if last is None else last.content))
    if unconfirmed == (risk.unconfirmed or ()):
        return config
    risk = msgspec.structs.replace(risk, unconfirmed=unconfirmed or msgspec.UNSET)
    return config.with_policy(msgspec.structs.replace(config.policy, risk=risk))


def _unconfirmed(config: Config, content: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids that are advisory because the deployment is older than they are."""
    if not content:
        return
    known = {
        "rule": _ids(content, "rules", "rules"),
        "limit": _ids(content, "limits", "limits"),
        "ask": {
            ask_rule_id(ask["generation"], ask["target"], ask["state"]): None
            for ask in content.get("policy", {}).get("risk", {}).get("asks", ())
        },
    }
    waiting = content.get("policy", {}).get("risk", {}).get("unconfirmed", ())
    binding = config.policy.risk.binding or ()
    for item in configured_items(config):
        new = item.id not in known[item.kind] or item.id in waiting
        if item.since and new and item.id not in binding and ALL not in binding:
            yield item.id


def _ids(content: Mapping[str, Any], part: str, field: str) -> dict[str, None]:
    return {str(each["id"]): None for each in content.get(part, {}).get(field, ())}


def advisory_lines(config: Config) -> list[str]:
    """Return one line for each advisory item of a configuration, with the reason."""
    risk = config.policy.risk
    return [
        f"{item.kind} {item.id} is advisory: {_why(item, config)}"
        for item in configured_items(config)
        if risk.is_advisory(item.id, item.mode)
    ]


def _why(item: ConfiguredItem, config: Config) -> str:
    risk = config.policy.risk
    if item.id in (risk.advisory or ()) or ALL in (risk.advisory or ()):
        return "[risk] advisory in policy.toml names it"
    if item.id in (risk.unconfirmed or ()):
        return (
            f"it came with {item.since}, and this deployment is older: name it in [risk] binding "
            "to let it decide"
        )
    return 'it says mode = "advisory"'
