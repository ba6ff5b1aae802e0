"""Checks of the database: schema, write access, clock, leases, dead letters and faults."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select, text

from riskwatch.doctor.finding import Facts, Finding, skew
from riskwatch.doctor.notify import undelivered_findings
from riskwatch.engine.replay import WORKER as EMBEDDED
from riskwatch.errors import StoreError
from riskwatch.store.deployment import current_deployment
from riskwatch.store.engine import open_engine, translate_errors
from riskwatch.store.faults import faults, quarantines
from riskwatch.store.lease import lease_state
from riskwatch.store.migrate import head_revision, require_current
from riskwatch.store.truth import DEAD_LETTER, LEASE, REPLAYED, STAGE_FAULT, STREAM_OFFSET
from riskwatch.worker.crashes import MAX_CRASHES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Connection, Engine

    from riskwatch.worker.settings import ProcessSettings

_YEAR_S: Final = 365 * 86_400
_SHOWN: Final = 3
_DATABASE: Final = "database"


def findings(settings: ProcessSettings, facts: Facts) -> Iterator[Finding]:
    """Yield the findings about the database, as far as it can be read."""
    try:
        engine = open_engine(settings.database, readonly=True)
    except StoreError as error:
        do = "start it, or name another by RISKWATCH_DATABASE"
        yield Finding(_DATABASE, "fail", str(error), do)
        return
    try:
        with translate_errors(engine.url.render_as_string(hide_password=True)):
            yield from _opened(engine, settings, facts)
    except StoreError as error:
        yield Finding(_DATABASE, "fail", str(error), "see the log of the database")
    finally:
        engine.dispose()


def _opened(engine: Engine, settings: ProcessSettings, facts: Facts) -> Iterator[Finding]:
    with engine.connect() as conn:
        yield Finding(_DATABASE, "ok", engine.url.render_as_string(hide_password=True))
        if engine.dialect.name != "sqlite":
            yield _clock(conn)
        try:
            require_current(conn)
        except StoreError as error:
            yield Finding("schema", "fail", str(error), "run `riskwatch db upgrade`")
            return
        yield Finding("schema", "ok", f"at revision {head_revision()}")
        facts.deployment = current_deployment(conn)
        yield _writable(engine, settings)
        yield _dead_letters(conn)
        yield _faults(engine, conn)
        yield undelivered_findings(conn, datetime.now(UTC))
        offset = STREAM_OFFSET.c
        rows = conn.execute(select(offset.stream, offset.position))
        facts.positions = {row.stream: row.position for row in rows}
        workers = list(conn.execute(select(LEASE.c.worker).order_by(LEASE.c.worker)).scalars())
    yield from _leases(engine, [w for w in workers if w != EMBEDDED], settings.lease)


def _clock(conn: Connection) -> Finding:
    before = time.time()
    theirs = conn.execute(select(func.clock_timestamp())).scalar_one().timestamp()
    return skew("clock of the database", theirs, before, time.time())


def _writable(engine: Engine, settings: ProcessSettings) -> Finding:
    do = "workers need a database and a user that may write; readers do not"
    refused = _refuses(engine, settings)
    if refused:
        return Finding("writing", "warn", f"read-only: {refused}", do)
    return Finding("writing", "ok", "workers may write")


def _refuses(engine: Engine, settings: ProcessSettings) -> str:
    """Return why the database cannot be written; empty if it can. Nothing is written."""
    if engine.dialect.name == "sqlite":
        file = Path(engine.url.database or "").resolve()
        closed = [str(path) for path in (file, file.parent) if not os.access(path, os.W_OK)]
        return f"{closed[0]} may not be written by this user" if closed else ""
    writer = open_engine(settings.database)
    try:
        with writer.connect() as conn:
            if conn.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
                return "this server is a standby"
            if conn.execute(text("SHOW transaction_read_only")).scalar_one() != "off":
                return "this database or user has default_transaction_read_only"
            may = "SELECT has_table_privilege('lease', 'INSERT, UPDATE')"
            return "" if conn.execute(text(may)).scalar_one() else "this user may not write"
    finally:
        writer.dispose()


def _dead_letters(conn: Connection) -> Finding:
    d, r = DEAD_LETTER.c, REPLAYED.c
    sent = (r.worker == d.worker) & (r.stream == d.stream) & (r.position == d.position)
    count = func.count().label("n")
    query = (
        select(d.reason, count)
        .select_from(DEAD_LETTER.outerjoin(REPLAYED, sent))
        .where(r.worker.is_(None))
        .group_by(d.reason)
        .order_by(count.desc(), d.reason)
    )
    rows = conn.execute(query).all()
    if not rows:
        return Finding("dead letters", "ok", "none")
    most = ", ".join(f"{reason} {n}" for reason, n in rows[:_SHOWN])
    more = ", ..." if len(rows) > _SHOWN else ""
    do = "look at them with `riskwatch dlq list`"
    return Finding("dead letters", "warn", f"{sum(n for _, n in rows)}: {most}{more}", do)


def _faults(engine: Engine, conn: Connection) -> Finding:
    check, f = "stage faults", STAGE_FAULT.c
    found = []
    for worker in conn.execute(select(f.worker).distinct().order_by(f.worker)).scalars():
        quarantined = quarantines(engine, worker)
        found += [
            (x, worker) for x in faults(engine, worker) if (x.stream, x.position) not in quarantined
        ]
    if not found:
        return Finding(check, "ok", "none")
    worst, worker = max(found, key=lambda pair: pair[0].crashes)
    seen = (
        f"{len(found)}; {worker} failed {worst.crashes} times at {worst.stream} {worst.position}: "
        f"{' '.join(worst.error.split())[:200]}"
    )
    if worst.crashes < MAX_CRASHES:
        return Finding(check, "warn", seen, "watch whether it comes again")
    do = (
        "report the bug; a build without it goes on after `riskwatch dlq retry`, or two people "
        "set the message aside with `riskwatch dlq quarantine`"
    )
    return Finding(check, "fail", seen, do)


def _leases(engine: Engine, workers: list[str], lease_s: float) -> Iterator[Finding]:
    if not workers:
        do = "start `riskwatch run ledger` and `riskwatch run risk`"
        yield Finding("leases", "warn", "no worker was ever started", do)
    for worker in workers:
        found = lease_state(engine, worker)
        if found is None:
            continue
        who = f"{found.holder}, epoch {found.epoch}"
        if found.idle_s <= lease_s:
            seen = f"led by {who}, renewed {max(found.idle_s, 0.0):.1f} s ago"
            yield Finding(f"lease of {worker}", "ok", seen)
            continue
        released = found.idle_s > _YEAR_S  # a released lease has a date long ago
        since = "it was let go" if released else f"not renewed for {found.idle_s:.0f} s"
        do = "see why no process of this worker runs"
        yield Finding(f"lease of {worker}", "warn", f"nobody leads; last {who}, {since}", do)
