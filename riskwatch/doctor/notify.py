"""Checks of notification routes: whether each has an endpoint, and undelivered notifications."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from riskwatch.alerting.routes import NOTIFY, load_notify, resolve_target, unrouted_severities
from riskwatch.config import paths
from riskwatch.doctor.finding import Facts, Finding
from riskwatch.errors import ConfigError
from riskwatch.store.notifications import DEAD, NOTICE, WAITING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sqlalchemy.engine import Connection

    from riskwatch.worker.settings import ProcessSettings

LATE_AFTER: Final = timedelta(minutes=5)
"""Wait of a notification that causes a warning."""
RECENT_DEAD: Final = timedelta(days=1)
"""Age up to which given-up notifications are reported."""
_N: Final = NOTICE.c


def findings(settings: ProcessSettings, facts: Facts) -> Iterator[Finding]:
    """Yield the findings about the routes. Nothing is sent."""
    del facts
    folder = settings.config or paths.rules_folder()
    try:
        config = load_notify(folder)
    except ConfigError as error:
        yield Finding("routes", "fail", str(error), f"mend {NOTIFY} in {folder}")
        return
    if not config.routes:
        yield Finding("routes", "ok", f"there are none in {NOTIFY}: nobody is called")
        return
    for route in config.routes.values():
        try:
            host = resolve_target(route).host
        except ConfigError as error:
            do = "the process of `riskwatch run notify` must have it; this one does not"
            yield Finding(f"route {route.id}", "warn", str(error), do)
        else:
            yield Finding(f"route {route.id}", "ok", f"{route.kind} at {host}")
    for line in unrouted_severities(config):
        yield Finding("routes", "warn", line, f"see `match` in {NOTIFY}")


def undelivered_findings(conn: Connection, now: datetime) -> Finding:
    """Return the finding about notifications that wait for long or were given up."""
    late = select(func.count()).where(_N.status == WAITING, _N.made_ts < now - LATE_AFTER)
    gone = select(func.count()).where(_N.status == DEAD, _N.done_ts >= now - RECENT_DEAD)
    waits, dead = conn.execute(late).scalar_one(), conn.execute(gone).scalar_one()
    if not waits and not dead:
        return Finding("notices", "ok", "none waits for long, none was given up in a day")
    seen = f"{waits} wait for more than 5 minutes, {dead} were given up in a day"
    do = "see why with `riskwatch notify dead`; `riskwatch notify replay` sends them again"
    return Finding("notices", "warn", seen, do)
