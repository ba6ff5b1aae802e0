"""A replay from files to a database: everything opened, and closed again whatever happens."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import inspect

from riskwatch.contracts.codec import decode
from riskwatch.core.clock import MINUTE
from riskwatch.shell.audit_head import read_head, tell
from riskwatch.shell.clockwork import Grid
from riskwatch.shell.configured import Declaration
from riskwatch.shell.embedded import WORKER, Limits, replay
from riskwatch.shell.merge import Merge
from riskwatch.shell.ports import SqlStore
from riskwatch.shell.publish import NullPublisher
from riskwatch.shell.runner import Runner
from riskwatch.store.engine import open_engine
from riskwatch.store.migrate import require_current, upgrade
from riskwatch.store.reference import sync_reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from riskwatch.shell.config import Config
    from riskwatch.shell.embedded import Stop, Summary
    from riskwatch.shell.pipeline import Pipeline
    from riskwatch.shell.ports import Store
    from riskwatch.shell.publish import Publisher


@dataclass(frozen=True, slots=True)
class Replay:
    """What to replay, and how.

    Attributes
    ----------
    files : sequence of Path
        NDJSON files of events; their order decides between events of one time.
    database : str
        URL; a fresh SQLite file is set up.
    tick_us : int
        Width of the event-time grid, microseconds.
    limits : Limits
        When to commit and when to stop.
    publisher : Publisher
        Where outputs go.
    """

    files: Sequence[Path]
    database: str
    tick_us: int = MINUTE
    limits: Limits = field(default_factory=Limits)
    publisher: Publisher = field(default_factory=NullPublisher)


def replay_files(
    what: Replay,
    pipeline: Pipeline,
    *,
    config: Config | None = None,
    wrap: Callable[[Store], Store] | None = None,
    stop: Stop | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Replay files through `pipeline`, from where the database stands.

    Parameters
    ----------
    what : Replay
        Files, database, limits.
    pipeline : Pipeline
        Stages, with their states still empty.
    config : Config, optional
        What the stages were made of: recorded where it is new, and its reference data copied
        into the database, so that look-through is a view.
    wrap : callable, optional
        Puts something around the store, to see what is committed.
    stop : Stop, optional
        Looked at after each record.
    progress : callable, optional
        Called after each batch with bytes done and bytes in all.

    Raises
    ------
    FeedError
        If a file cannot be read.
    StreamIdentityError
        If a file is not the one that was replayed before under its name.
    StoreError
        If the database cannot be used, or another process took it over.
    """
    with Merge(what.files, decode) as source, database(what.database) as engine:
        if config is not None:
            with engine.begin() as conn:
                sync_reference(conn, config.reference)
        store: Store = SqlStore(engine)
        runner = Runner(
            store if wrap is None else wrap(store),
            pipeline,
            what.publisher,
            worker=WORKER,
            holder=f"{socket.gethostname()}/{os.getpid()}",
            grid=Grid(what.tick_us),
            declares=None if config is None else Declaration(WORKER, config),
        )
        summary = replay(runner, source, what.limits, stop=stop, progress=progress)
        if config is not None:
            tell(read_head(engine, WORKER, runner.epoch, summary.reached_us))
        return summary


@contextmanager
def database(url: str) -> Iterator[Engine]:
    """Open a database of this build's schema; a SQLite file without any tables gets it first.

    Raises
    ------
    StoreError
        If it cannot be opened or has another schema; the message says what to run.
    """
    engine = open_engine(url)
    try:
        if engine.dialect.name == "sqlite" and not inspect(engine).get_table_names():
            upgrade(engine)
        with engine.connect() as conn:
            require_current(conn)
        yield engine
    finally:
        engine.dispose()
