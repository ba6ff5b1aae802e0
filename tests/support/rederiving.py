"""Databases for re-derivation, written under one configuration and then another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import msgspec

from riskwatch import scenarios
from riskwatch.audit.checkpoints import keep_checkpoints
from riskwatch.config.config import Config, digest
from riskwatch.core.rules import RulePack
from riskwatch.engine import bootstrap
from riskwatch.engine.replay import ReplayJob, ReplayLimits, replay_files
from riskwatch.store.engine import open_engine
from riskwatch.store.queries import open_reader

if TYPE_CHECKING:
    from pathlib import Path

    from riskwatch.store.checkpoints import Checkpoint

BEGIN = datetime(2023, 3, 11, 2, 40, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TO_MIDNIGHT = timedelta(hours=20, minutes=40)
NIGHTS = 2
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
    return msgspec.structs.replace(CONFIG, rules=pack, digest=digest(*parts, names=CONFIG.names))


def replay(events: Path, url: str, config: Config, most: int | None, *, keep: bool) -> None:
    """Continue the replay of events under a configuration."""
    pipeline = bootstrap.pipeline(config, keep_events=keep)
    replay_files(
        ReplayJob([events], url, limits=ReplayLimits(50, None, most)), pipeline, config=config
    )


def write_nights(folder: Path, url: str = "", *, keep: bool = False) -> Path:
    """Replay two nights under changing configurations, before and after midnight.

    In the hour around the first midnight USDC goes to HALT. There is no checkpoint yet.

    Returns
    -------
    Path
        The database, if `url` names no other.
    """
    path, nights = folder / "bare.db", folder / "nights.ndjson"
    early = takewhile(lambda e: e.ts < BEGIN + HOUR, scenarios.events("usdc_2023"))
    hour = [e for e in early if e.ts >= BEGIN]
    with nights.open("wb") as sink:
        for night in range(NIGHTS):
            for event in hour:
                moved = msgspec.structs.replace(
                    event,
                    ts=event.ts + TO_MIDNIGHT + night * DAY,
                    event_id=f"{night}-{event.event_id}",
                )
                sink.write(msgspec.json.encode(moved) + b"\n")
    for config, most in ((CONFIG, 200), (tightened(), 500), (CONFIG, None)):
        replay(nights, url or f"sqlite:///{path}", config, most, keep=keep)
    return path


def kept(url: str, **options: Any) -> list[Checkpoint]:
    """Write the due checkpoints, and return the new ones."""
    engine = open_engine(url)
    with open_reader(url) as conn:
        made = keep_checkpoints(conn, engine, WORKER, **options)
    engine.dispose()
    return made
