"""Rules, limits and asks that a deployment has not seen before: they only advise at first.

A shipped rule, limit or ask that came with a later release says so (``since``). The last
configuration that a worker recorded says what its deployment knows. What has a ``since`` and is
not in that record is unconfirmed: it advises until ``binding`` in ``[risk]`` names it. Without a
record, in a fresh database, everything binds. The worker records the answer with its
configuration, so that a decision is derived again under the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.config.config import Config, digest
from riskwatch.core.risk.config import ALL, ask_rule_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from riskwatch.core.enums import Mode
    from riskwatch.core.outputs import ConfigurationChanged

NAMED: Final = 10
"""Ids that one line of a log names; how many more there are is said."""


@dataclass(frozen=True, slots=True)
class ConfiguredItem:
    """A rule, a limit or an ask, as far as it matters whether it binds.

    Attributes
    ----------
    kind, id : str
        ``rule``, ``limit`` or ``ask``, and which.
    mode : Mode or unset
        What it says of itself.
    since : str
        Release that shipped it first; empty if it does not say.
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
    """Give the configuration that a worker runs, where `last` was recorded last.

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
    policy = msgspec.structs.replace(config.policy, risk=risk)
    parts = (config.reference, config.limits, config.rules, policy, config.operators)
    return msgspec.structs.replace(config, policy=policy, digest=digest(*parts))


def _unconfirmed(config: Config, content: Mapping[str, Any]) -> Iterator[str]:
    """Ids of what only advises because the deployment is older."""
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
    """Say what only advises under a configuration, and why, one line each."""
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
