"""Runs replays in processes that can be killed: imported once, then one fork for each life.

Reads one JSON object per line from stdin, forks a process that lives it, and answers with its
pid, then with how it ended. What can be asked of a life is :class:`Life`.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from sqlalchemy import Engine, event

from riskwatch.engine import bootstrap
from riskwatch.engine.publish import NdjsonPublisher
from riskwatch.engine.replay import ReplayJob, ReplayLimits, replay_files
from riskwatch.worker import logs
from tests.crash import history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from riskwatch.config.config import Config
    from riskwatch.engine.pipeline import Effects, Pipeline
    from riskwatch.engine.ports import Store
    from riskwatch.store.batch import Batch, OutboxRecord, ResumePoint

POINTS = ("apply", "before_commit", "in_commit", "after_commit", "after_publish")
"""Where a life can end itself; ``in_commit`` is between two statements of SQL."""
PHASES = ("before_commit", "in_commit", "after_commit", "after_publish", "in_next_commit")
"""Where a life can end itself about one command.

``after_publish`` is before anything notes the publication, ``in_next_commit`` is in the transaction
that notes it.
"""


class Life(msgspec.Struct, kw_only=True):
    """One replay.

    Attributes
    ----------
    file, url, out : str
        Events, database, and where published lines are appended.
    batch : int
        Events per transaction.
    point : str or None
        Where to die by SIGKILL, one of :data:`POINTS`.
    nth : int
        The how-manieth time that point is passed.
    about : str
        Id of a command: only the commit of its journal entry counts, and `point` is one of
        :data:`PHASES`. In a transaction, the life ends before statement `nth`, or right before
        ``COMMIT`` if there are fewer.
    torn : bool
        A planted fault: offsets and effects in two transactions.
    forgetful : bool
        A planted fault: the outbox is not published when a process starts again.
    people : bool
        Operators are configured, whose keys the tests have.
    """

    file: str
    url: str
    out: str
    batch: int = 50
    point: str | None = None
    nth: int = 0
    about: str = ""
    torn: bool = False
    forgetful: bool = False
    people: bool = False


@cache
def configuration(*, people: bool) -> Config:
    """Return the shipped configuration; with operators, if `people`."""
    return history.configuration() if people else bootstrap.configuration()


class Fate:
    """Counts how often points are passed, and ends the process when it is time."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.passed = 0
        self.point = life.point
        self.armed = not life.about

    def at(self, point: str, *, last: bool = False) -> None:
        """Pass a point (the `last` of its kind); perhaps never return."""
        if self.armed and point == self.point:
            self.passed += 1
            if self.passed > self.life.nth or (last and self.life.about):
                os.kill(os.getpid(), signal.SIGKILL)

    def begins(self, batch: Batch) -> None:
        """Arm itself at the commit of the command that it is about."""
        if self.armed and self.life.point == "in_next_commit":
            self.point = "in_commit"
        about = self.life.about.encode()
        if about and any(about in entry.payload for entry in batch.journal):
            self.armed = True


class MortalStore:
    """The store, with places to die at."""

    def __init__(self, store: Store, fate: Fate) -> None:
        self.store = store
        self.fate = fate

    def take_lease(self, worker: str, holder: str) -> ResumePoint:
        """As the store does."""
        return self.store.take_lease(worker, holder)

    def commit(self, batch: Batch) -> None:
        """Commit, or die on the way."""
        self.fate.begins(batch)
        self.fate.at("before_commit")
        if self.fate.life.torn:
            self.store.commit(
                replace(batch, rows={}, journal=[], outputs=[], forwards=[], dead_letters=[])
            )
            self.fate.at("in_commit")
            self.store.commit(replace(batch, offsets=[]))
        else:
            self.store.commit(batch)
        self.fate.at("after_commit")

    def pending(self, worker: str, limit: int, *, latest_only: bool = False) -> list[OutboxRecord]:
        """As the store does, unless it is forgetful."""
        if self.fate.life.forgetful:
            return []
        return self.store.pending(worker, limit, latest_only=latest_only)


class MortalPublisher(NdjsonPublisher):
    """Appends lines to a file, and may die right after."""

    def __init__(self, path: Path, fate: Fate) -> None:
        _drop_torn_line(path)
        super().__init__(path.open("ab"))
        self.fate = fate

    def publish(self, records: Sequence[OutboxRecord]) -> None:
        """Publish, and perhaps die before anybody notes that it was done."""
        super().publish(records)
        self.fate.at("after_publish")


def _drop_torn_line(path: Path) -> None:
    """Cut off what a kill left of a line, as whoever reads a stream of lines does.

    In one step: a kill in here must not take whole lines with it.
    """
    data = path.read_bytes() if path.exists() else b""
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


def _mortal(pipeline: Pipeline, fate: Fate) -> Pipeline:
    """Let a pipeline die in the middle of a batch."""
    lives = pipeline.apply

    def apply(event: Any, effects: Effects) -> None:
        lives(event, effects)
        fate.at("apply")

    pipeline.apply = apply  # type: ignore[method-assign] # readings pass through it, too
    return pipeline


def _die_in_sql(fate: Fate) -> None:
    """Let the process die before a statement: within a transaction, as a rule."""

    def before(*args: object) -> None:
        del args
        fate.at("in_commit")

    def before_commit(*args: object) -> None:
        del args
        fate.at("in_commit", last=True)

    event.listen(Engine, "before_cursor_execute", before)
    if fate.life.about:
        event.listen(Engine, "commit", before_commit)


def live(life: Life) -> None:
    """Live one life to its end, whichever it is."""
    fate = Fate(life)
    if not life.torn:
        _die_in_sql(fate)
    what = ReplayJob(
        [Path(life.file)],
        life.url,
        limits=ReplayLimits(batch=life.batch),
        publisher=MortalPublisher(Path(life.out), fate),
    )
    config = configuration(people=life.people)

    def wrap(store: Store) -> Store:
        return MortalStore(store, fate)

    pipeline = _mortal(bootstrap.pipeline(config, keep_events=True), fate)
    replay_files(what, pipeline, config=config, wrap=wrap)


def _answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> NoReturn:
    """Serve lives until stdin ends."""
    logs.configure_logging("warning", "json")
    for line in sys.stdin.buffer:
        life = msgspec.json.decode(line, type=Life)
        configuration(people=life.people)  # once, and not in each life
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                live(life)
                code = 0
            finally:
                os._exit(code)
        _answer(pid)
        _, status = os.waitpid(pid, 0)
        _answer(os.waitstatus_to_exitcode(status))
    raise SystemExit(0)


if __name__ == "__main__":
    main()
