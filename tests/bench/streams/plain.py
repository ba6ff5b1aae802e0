"""The ledger as a plain Faust app: one event at a time, state in a table with its changelog.

The logic is the product's (decode, step, rows that changed); what differs is everything around
it. The table is in memory and its changelog on the broker; only rows that changed are put into
it. ``bare`` leaves the table out: such an app forgets everything when it ends. ``sql`` is a plain
app that has its truth in SQL instead: one transaction per event, with rows and offset in it.

``python -m tests.bench.streams.plain COUNT {bare,table,sql}``
"""

from __future__ import annotations

import os
import sys
import tempfile
from time import perf_counter
from typing import TYPE_CHECKING, Any

import faust
import psycopg

from riskwatch.contracts.codec import decode
from riskwatch.contracts.refusal import Refusal
from riskwatch.contracts.topics import TOPICS
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.worker.settings import ProcessSettings
from tests.bench.streams.load import FILLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.core.stage import RowChanges

WARM: int = 500
"""Events before the clock starts."""
_UPSERT = "INSERT INTO plain VALUES (%s, %s) ON CONFLICT (key) DO UPDATE SET body = excluded.body"


def committed(database: str) -> Callable[[str, int, RowChanges], None]:
    """One transaction per event."""
    conn = psycopg.connect(database)
    conn.execute("CREATE TABLE IF NOT EXISTS plain (key text PRIMARY KEY, body bytea)")
    conn.commit()

    def commit(stream: str, offset: int, rows: RowChanges) -> None:
        with conn.cursor() as cursor:
            written = [*rows.items(), (stream, str(offset).encode())]
            cursor.executemany(_UPSERT, written)
        conn.commit()

    return commit


def make(count: int, keep: str) -> faust.App:
    """Make the app; it ends the process after `count` events."""
    settings = ProcessSettings.read()
    topics = settings.connection
    app = faust.App(
        f"{settings.topic_prefix}plain-{keep}",
        broker=f"kafka://{topics.servers}",
        consumer_auto_offset_reset="earliest",
        datadir=tempfile.gettempdir(),
        store="memory://",
        topic_disable_leader=True,
        web_enabled=False,
        key_serializer="raw",
        value_serializer="raw",
    )
    partitions = TOPICS[FILLS].partitions
    source = app.topic(topics.topic(FILLS), key_type=bytes, value_type=bytes)
    table: Any = None
    if keep == "table":
        table = app.Table("ledger", default=bytes, partitions=partitions, key_type=str)
    commit = committed(settings.database) if keep == "sql" else None
    stage, state = LedgerStage(), LedgerState()

    async def ledger(stream: Any) -> None:
        done, began = 0, 0.0
        async for event in stream.events():
            fact = decode(event.value)
            assert not isinstance(fact, Refusal)
            stage.step(state, fact)  # type: ignore[arg-type]  # fills alone are on this topic
            rows = state.drain()
            if table is not None:
                for key, row in rows.items():
                    table[key] = row
            if commit is not None:
                commit(str(event.message.partition), event.message.offset, rows)
            done += 1
            if done == WARM:
                began = perf_counter()
            if done == count:
                print((done - WARM) / (perf_counter() - began), flush=True)  # noqa: T201
                os._exit(0)  # Faust takes long to end

    app.agent(source)(ledger)
    return app


if __name__ == "__main__":
    made = make(int(sys.argv[1]), sys.argv[2])
    host = faust.Worker(made, quiet=True, loglevel="error", redirect_stdouts=False)
    host.spinner = None
    host.execute_from_commandline()
