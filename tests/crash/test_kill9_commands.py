"""SIGKILL with people's commands among the events, at each phase of each command's commit.

After each kill the next process continues. At the end, the database (journal, decisions, switches,
audit chain, ids), the journal alone and the published lines equal those of a run that was never
killed, byte for byte. The HALT in force is the one of that run at every restart, too.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from itertools import product
from typing import TYPE_CHECKING, Final, get_args

import pytest

from riskwatch.core.events import CommandAction
from tests.crash.history import HALTS, History, write_history
from tests.crash.lives import life, outcome, published, running
from tests.crash.worker import PHASES, POINTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.crash.lives import Workers

KILLS: Final = int(os.environ.get("RISKWATCH_KILLS", "160"))
"""Kills in all, at least; those of every command at every phase come first."""
STATEMENTS: Final = 24
"""A transaction of a command has about as many statements."""
BETWEEN: Final = 0.1
"""Share of the kills that must fall between a HALT and its release."""
PASSES: Final = {
    "apply": 120, "before_commit": 12, "in_commit": 200, "after_commit": 12, "after_publish": 12,
}  # fmt: skip
"""How often a point may be passed before the kill, at most."""
QUERY: Final = "SELECT kind, payload FROM risk_journal ORDER BY worker, seq"
Journal = list[tuple[str, bytes]]
Outcome = tuple[str, list[bytes], Journal]


@pytest.fixture(scope="module")
def workers(root: Path) -> Iterator[Workers]:
    """One process that has imported everything and forks for each life."""
    with running(root) as made:
        yield made


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the history is."""
    return tmp_path_factory.mktemp("history") / "events.ndjson"


@pytest.fixture(scope="module")
def told(path: Path) -> History:
    """The history, written."""
    return write_history(path)


def journal(folder: Path) -> Journal:
    """Return the journal of a database, in order; nothing before there is one."""
    if not (folder / "r.db").exists():
        return []
    with closing(sqlite3.connect(folder / "r.db")) as conn:
        try:
            return conn.execute(
                "SELECT kind, payload FROM risk_journal ORDER BY worker, seq"
            ).fetchall()
        except sqlite3.OperationalError:  # it was killed before the schema was there
            return []


def ended(folder: Path) -> Outcome:
    """Return what a database and its consumers know in the end."""
    digest, lines = outcome(folder)
    return digest, lines, journal(folder)


@pytest.fixture(scope="module")
def clean(
    workers: Workers, path: Path, told: History, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """What a life without any kill comes to."""
    folder = tmp_path_factory.mktemp("clean")
    assert told.answers
    assert workers.live(life(folder, path, people=True)) == 0
    return ended(folder)


def test_the_history_has_every_action_and_answer(told: History, clean: Outcome) -> None:
    """Each action is done at least once, some commands are refused or repeated, all journalled."""
    done = {
        action
        for action, answer in told.answers.values()
        if answer in ("applied", "approved", "requested")
    }
    assert done == set(get_args(CommandAction))
    refused = {"SIGNATURE_INVALID", "BOOK_FORBIDDEN", "SAME_PERSON", "REPLAYED", "STALE"}
    assert {"repeated", *refused} <= set(told.said)
    assert reached(clean[2], told) == list(told.answers)
    assert {*HALTS, *HALTS.values()} <= set(told.answers)


def reached(entries: Journal, told: History) -> list[str]:
    """Return the commands that a journal has, in the order of the history."""
    text = b"\n".join(payload for kind, payload in entries if kind == "command")
    return [name for name in told.answers if f'"{name}"'.encode() in text]


class Campaign:
    """Kills one life after another, and compares what is left with a run that was never killed."""

    def __init__(
        self, workers: Workers, path: Path, folder: Path, told: History, clean: Outcome
    ) -> None:
        self.workers = workers
        self.path = path
        self.folder = folder
        self.told = told
        self.clean = clean
        self.rng = random.Random(11)
        self.kills = self.runs = self.between = 0
        self.phases: Counter[tuple[str, str]] = Counter()

    def live(self, kill_after_s: float | None = None, **settings: object) -> bool:
        """Live once; return whether it was killed, and check what it left."""
        run = self.folder / str(self.runs)
        made = life(run, self.path, people=True, **settings)
        code = self.workers.live(made, kill_after_s=kill_after_s)
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            return False
        self.kills += 1
        entries = journal(run)
        assert entries == self.clean[2][: len(entries)], self.label
        lines = published(run / "out.ndjson")
        assert lines == self.clean[1][: len(lines)], self.label
        known = set(reached(entries, self.told))
        self.between += any(halt in known and lifted not in known for halt, lifted in HALTS.items())
        return True

    @property
    def label(self) -> str:
        """Where the campaign is, for a failure."""
        return f"after {self.kills} kills, run {self.runs}"

    def end(self) -> None:
        """Let the run go to its end, and compare everything."""
        assert not self.live()
        assert ended(self.folder / str(self.runs)) == self.clean, self.label
        self.runs += 1

    def systematic(self) -> None:
        """Kill at every phase of the commit of every command: one phase of each in a run."""
        for shift in range(len(PHASES)):
            for n, (name, (action, _)) in enumerate(self.told.answers.items()):
                phase = PHASES[(n + shift) % len(PHASES)]
                nth = self.rng.randrange(STATEMENTS) if phase.startswith("in_") else 0
                assert self.live(batch=1, about=name, point=phase, nth=nth), (name, phase)
                known = reached(journal(self.folder / str(self.runs)), self.told)
                assert (name in known) == (phase not in ("before_commit", "in_commit"))
                self.phases[action, phase] += 1
            self.end()

    def by_chance(self) -> None:
        """Kill at seeded places: of a command, of any record, or at a moment of chance."""
        rng, kills = self.rng, 0
        while kills < 2 * len(self.told.answers):
            batch, where = rng.choice((1, 5, 20, 60)), rng.random()
            if where < 0.2:
                died = self.live(rng.uniform(0.0, 0.4), batch=batch)
            elif where < 0.5:
                point = rng.choice(POINTS)
                died = self.live(batch=batch, point=point, nth=rng.randrange(PASSES[point]))
            else:
                known = reached(journal(self.folder / str(self.runs)), self.told)
                left = list(self.told.answers)[len(known) :]
                if not left:
                    break
                name, phase = rng.choice(left[:6]), rng.choice(PHASES)
                nth = rng.randrange(STATEMENTS) if phase.startswith("in_") else 0
                died = self.live(batch=batch, about=name, point=phase, nth=nth)
                self.phases[self.told.answers[name][0], phase] += died
            if not died:
                break
            kills += 1
        self.end()


def test_kills_about_commands_lose_nothing_and_repeat_nothing(
    workers: Workers, path: Path, told: History, clean: Outcome, tmp_path: Path
) -> None:
    """Every command is killed at every phase of its commit, then by chance; all ends are equal."""
    campaign = Campaign(workers, path, tmp_path, told, clean)
    campaign.systematic()
    while campaign.kills < KILLS:
        campaign.by_chance()
    sys.stdout.write(
        f"{campaign.kills} kills in {campaign.runs} runs, {campaign.between} between a HALT and "
        f"its release, {sum(campaign.phases.values())} about a command\n"
    )
    assert set(campaign.phases) == set(product(get_args(CommandAction), PHASES))
    assert campaign.between >= BETWEEN * campaign.kills


def killed(workers: Workers, path: Path, folder: Path, **settings: object) -> None:
    """Be killed about the HALT, in a folder."""
    made = life(folder, path, people=True, batch=1, about="e-rita-halt-3.5", **settings)
    assert workers.live(made) == -signal.SIGKILL


def test_a_halt_that_is_lost_by_a_torn_transaction_is_caught(
    workers: Workers, path: Path, clean: Outcome, tmp_path: Path
) -> None:
    """Offsets in one transaction, effects in the next: the HALT is lost, and each part tells."""
    killed(workers, path, tmp_path, torn=True, point="in_commit")
    assert workers.live(life(tmp_path, path, people=True)) == 0
    found = ended(tmp_path)
    assert [a == b for a, b in zip(found, clean, strict=True)] == [False, False, False]


def test_a_halt_that_is_never_published_is_caught(
    workers: Workers, path: Path, clean: Outcome, tmp_path: Path
) -> None:
    """Killed between commit and publication, and the outbox is forgotten: the lines tell."""
    killed(workers, path, tmp_path, point="after_commit")
    assert workers.live(life(tmp_path, path, people=True, forgetful=True)) == 0
    found = ended(tmp_path)
    assert found[1] != clean[1]
    assert found[2] == clean[2]
