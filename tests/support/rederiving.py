"""Databases to derive from again: written under one configuration and then another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.rules import RulePack
from riskwatch.shell import bootstrap
from riskwatch.shell.config import Config, digest
from riskwatch.shell.embedded import Limits
from riskwatch.shell.session import Replay, replay_files

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = bootstrap.configuration()
WORKER = "embedded"


def tightened() -> Config:
    """The shipped configuration with every threshold of a rule four per cent lower."""
    rules = tuple(
        msgspec.structs.replace(
            rule, any=tuple(msgspec.structs.replace(c, at=c.at * 0.96) for c in rule.any)
        )
        for rule in CONFIG.rules.rules
    )
    pack = RulePack(rules=rules)
    parts = (CONFIG.reference, CONFIG.limits, pack, CONFIG.policy, CONFIG.operators)
    return msgspec.structs.replace(CONFIG, rules=pack, digest=digest(*parts))


def replay(events: Path, url: str, config: Config, most: int | None, *, keep: bool) -> None:
    """Go on with the events, under a configuration."""
    pipeline = bootstrap.pipeline(config, keep_events=keep)
    replay_files(Replay([events], url, limits=Limits(50, None, most)), pipeline, config=config)
