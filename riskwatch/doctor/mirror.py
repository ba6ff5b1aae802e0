"""Checks of the Redis mirror: whether it answers, its clock, its eviction and its heartbeat."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from redis import RedisError

from riskwatch.contracts import mirror as layout
from riskwatch.doctor.finding import Facts, Finding, skew
from riskwatch.errors import ConfigError
from riskwatch.worker.mirror import SETTING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.worker.settings import ProcessSettings

EVICTION_POLICY: Final = "noeviction"
_MIRROR: Final = "mirror"


def findings(settings: ProcessSettings, facts: Facts) -> Iterator[Finding]:
    """Yield the findings about Redis, if a mirror is configured."""
    del facts
    if settings.redis is None:
        yield Finding(_MIRROR, "ok", "none is wanted: RISKWATCH_REDIS is not set")
        return
    try:
        client = layout.connect_redis(settings.redis.get_secret_value(), *SETTING)
    except ConfigError as error:
        yield Finding(_MIRROR, "fail", str(error), "mend RISKWATCH_REDIS")
        return
    try:
        about = client.info()
        yield Finding(_MIRROR, "ok", f"Redis {about.get('redis_version', 'of unknown version')}")
        before = time.time()
        seconds, us = client.time()
        yield skew("clock of the mirror", seconds + us / 1_000_000, before, time.time())
        policy = str(about.get("maxmemory_policy", EVICTION_POLICY))
        if policy != EVICTION_POLICY:
            do = f"set maxmemory-policy to {EVICTION_POLICY}, or give the mirror a Redis of its own"
            yield Finding("mirror's memory", "warn", f"{policy}: rows may be evicted", do)
        row: Any = client.hgetall(layout.heartbeat_key(settings.topic_prefix))
        yield heartbeat_finding(row, datetime.now(UTC))
    except RedisError as error:
        do = "start it, or name another by RISKWATCH_REDIS; workers go on without it"
        yield Finding(_MIRROR, "fail", " ".join(str(error).split()), do)
    finally:
        client.close()


def heartbeat_finding(row: dict[bytes, bytes], now: datetime) -> Finding:
    """Return the finding about the heartbeat of the mirror."""
    check = "mirror's heartbeat"
    if not row:
        do = "see whether `riskwatch run risk` leads, and what it logs about the mirror"
        return Finding(check, "warn", "none: readers see HALT", do)
    heartbeat = layout.decode_field(row.get(layout.VALUE.encode()), layout.MirrorHeartbeat)
    if heartbeat is None:
        return Finding(check, "fail", "it cannot be read", "see who else writes to this Redis")
    left = (heartbeat.valid_until - now).total_seconds()
    who = f"of {heartbeat.worker}, epoch {heartbeat.epoch}"
    if left <= 0:
        do = "see whether `riskwatch run risk` leads, and whether clocks agree"
        return Finding(check, "warn", f"{who}, not valid since {-left:.0f} s: readers see HALT", do)
    return Finding(check, "ok", f"{who}, valid for {left:.0f} s")
