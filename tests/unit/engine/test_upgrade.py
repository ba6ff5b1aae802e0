"""Upgrades: stored databases of released row formats work under this build and the next."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text

from riskwatch.audit.rederivation import Rederivation
from riskwatch.audit.verify import DIFFERS, SAME, verify
from riskwatch.contracts.codec import encode
from riskwatch.contracts.outputs import encode_output
from riskwatch.core.enums import State
from riskwatch.core.migration import MIGRATIONS, OLDEST, ROW_FORMAT, RowFormat
from riskwatch.core.outputs import ConfigurationChanged
from riskwatch.core.risk.state import RiskState
from riskwatch.core.stage import FORMAT
from riskwatch.engine import bootstrap
from riskwatch.engine.pipeline import Pipeline, StageSlot
from riskwatch.engine.ports import SqlStore
from riskwatch.engine.replay import WORKER, ReplayJob, replay_files
from riskwatch.errors import RowFormatError, StoreError
from riskwatch.store.audit import AUDIT_CHAIN, audit_rows
from riskwatch.store.checkpoints import checkpoint_rows, checkpoints, usable_checkpoints
from riskwatch.store.content import content_digest
from riskwatch.store.engine import open_engine
from riskwatch.store.notifications import NotificationBatch, commit_notifications
from riskwatch.store.queries import open_reader
from riskwatch.store.reference import sync_reference
from riskwatch.store.state_rows import current_row, load_rows
from riskwatch.store.transaction import take_lease
from riskwatch.store.truth import STATE_ROW
from riskwatch.version import ENGINE
from tests.support.stored import (
    FOLDER,
    HARD_USD,
    LIMIT,
    MINUTES,
    SCOPE,
    at,
    balance,
    named,
    opened,
    quote,
)
from tests.support.stored import Desk as Stored

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from riskwatch.config.config import Config
    from riskwatch.core.stage import Row, RowChanges
    from riskwatch.engine.ports import Store

RELEASED = sorted(path.stem for path in FOLDER.glob("*.sql"))
OLD, NEW = "hard/", "limit_in_force/"


def renamed(rows: Mapping[str, Row]) -> dict[str, Row]:
    """A migration of the risk stage's rows, as the next format could need one."""
    return {NEW + k.removeprefix(OLD) if k.startswith(OLD) else k: rows[k] for k in rows}


KILLED = """
import os
import signal
import sys

from riskwatch.core.migration import MIGRATIONS, RowFormat
from riskwatch.core.stage import FORMAT
from riskwatch.store.engine import open_engine
from riskwatch.store.transaction import take_lease

steps = {**MIGRATIONS, FORMAT: {"risk": lambda rows: {f"x/{key}": rows[key] for key in rows}}}
kept = take_lease(open_engine(sys.argv[1]), "embedded", "killed", RowFormat(FORMAT + 1, steps))
assert kept.migrated
os.kill(os.getpid(), signal.SIGKILL)
"""

NEXT = RowFormat(FORMAT + 1, {**MIGRATIONS, FORMAT: {"risk": renamed}})
"""A format after this build's."""


class NextState(RiskState):
    """State of a risk stage that reads and writes rows of the next format."""

    def load(self, rows: dict[str, Row]) -> None:
        """Become the state that these rows describe."""
        assert not any(key.startswith(OLD) for key in rows)
        super().load({OLD + k.removeprefix(NEW) if k.startswith(NEW) else k: rows[k] for k in rows})

    def drain(self) -> RowChanges:
        """Rows that changed, under their new names."""
        found = super().drain()
        return {NEW + k.removeprefix(OLD) if k.startswith(OLD) else k: found[k] for k in found}


def next_pipeline(config: Config) -> Pipeline:
    """All stages in one process, of which one has rows of the next format."""
    slot = bootstrap.risk_slot(config)
    state = NextState(slot.state.scorer)  # type: ignore[attr-defined]
    risk = StageSlot(slot.stage, state, slot.takes, journal=True)
    return Pipeline((bootstrap.ledger_slot(config), bootstrap.market_slot(config), risk))


def next_replay(desk: Stored, *files: Path) -> None:
    """Replay files with a build of the next format; without files, one that is empty."""
    if not files:
        files = (desk.folder / "empty.ndjson",)
        files[0].touch()
    config = bootstrap.configuration(desk.rules)

    def wrap(store: Store) -> Store:
        assert isinstance(store, SqlStore)
        return SqlStore(store.engine, NEXT)

    replay_files(ReplayJob(list(files), desk.url), next_pipeline, config=config, wrap=wrap)


def asked(desk: Stored, query: str) -> list[Any]:
    """Rows of the database."""
    conn = sqlite3.connect(desk.folder / "stored.db")
    try:
        return conn.execute(query).fetchall()
    finally:
        conn.close()


def scope(desk: Stored, name: str = SCOPE) -> dict[str, Any]:
    """Where a scope stands, as the command line says it."""
    rows = map(json.loads, desk.run("killswitch", "status", "--json").stdout.splitlines())
    found: dict[str, Any] = {"effective": "NORMAL", "people": {}}
    return next((row for row in rows if row["scope"] == name), found)


def approval(desk: Stored) -> Path:
    """The second person's approval of the release, signed and in a file."""
    return desk.command(MINUTES + 5, "approve", SCOPE, "--yes", name="bob")


def deposit(desk: Stored) -> Path:
    """A balance above the lowered limit and far below the shipped one, in a file."""
    path = desk.folder / "deposit.ndjson"
    common = {"v": 1, "event_id": "after", "ts": at(MINUTES + 8), "source": "desk"}
    events = (
        balance("70000", MINUTES + 7, "kraken"),
        quote("kraken", "USDC", Decimal("0.9999"), common),
    )
    path.write_bytes(b"".join(encode(event) + b"\n" for event in events))
    return path


@pytest.fixture(params=RELEASED)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    """A database of a released format, with today's schema."""
    desk = opened(request.param, tmp_path)
    desk.run("db", "upgrade")
    return desk


def assert_survived(desk: Stored) -> None:
    """The HALT and the request are there."""
    found = scope(desk)
    assert found["effective"] == "HALT"
    assert found["people"]["request_by"] == "ann"


def assert_acted(desk: Stored) -> None:
    """The HALT was released by two, and the lowered limit binds."""
    assert scope(desk)["effective"] != "HALT"
    newest = desk.run("killswitch", "history", "--json").stdout.splitlines()[0]
    assert json.loads(newest)["outcome"] == "approved"
    (found,) = asked(
        desk, f"SELECT hard_usd, used_usd, status FROM limit_state WHERE limit_id = '{LIMIT}'"
    )
    assert (float(found[0]), found[2]) == (HARD_USD, "breach")
    assert float(found[1]) > HARD_USD
    assert scope(desk, f"counterparty:{LIMIT}")["effective"] in {"REDUCE", "HALT"}


def assert_true_to_record(desk: Stored) -> None:
    """The chain is intact, and no decision is called wrong."""
    assert "intact" in desk.run("audit", "verify").stdout
    with open_reader(desk.url) as conn:
        query = select(AUDIT_CHAIN.c.id, AUDIT_CHAIN.c.engine).order_by(AUDIT_CHAIN.c.seq)
        engines = dict(conn.execute(query.where(AUDIT_CHAIN.c.kind == "DecisionMade")).all())
        for whole in (False, True):
            for verdict in verify(conn, list(engines), whole=whole):
                own = engines[verdict.id] == ENGINE
                assert verdict.status == SAME if own else verdict.status != DIFFERS, verdict


def progress(desk: Stored) -> tuple[Any, ...]:
    """Engine and format that the worker wrote last."""
    (found,) = asked(desk, "SELECT engine, state_format FROM worker_progress")
    return tuple(found)


def test_every_released_format_has_a_stored_database() -> None:
    """And every format but the last has a step to the next: a missing one is a mistake of ours."""
    every = list(range(OLDEST, FORMAT + 1))
    assert sorted({int(name.split("-")[1]) for name in RELEASED}) == every
    assert sorted(MIGRATIONS) == every[:-1]
    assert (ROW_FORMAT.number, ROW_FORMAT.steps) == (FORMAT, MIGRATIONS)


def test_the_engine_is_the_version_of_the_package(root: Path) -> None:
    """So that a message that names an engine names what to install."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["version"] == ENGINE


def test_this_build_gives_what_its_engine_gave(tmp_path: Path) -> None:
    """Of the same journal the same rows and the same chain; what gives others is another engine.

    If this fails after a change that means to decide otherwise, raise ``ENGINE``, and make the
    stored database of the new engine: ``python -m tests.stored``.
    """
    assert named() in RELEASED, f"no stored database of engine {ENGINE}: `python -m tests.stored`"
    desk = opened(named(), tmp_path)
    desk.run("db", "upgrade")
    with open_reader(desk.url) as conn:
        (found,) = checkpoints(conn, WORKER)
        replay = Rederivation(conn, WORKER)
        outputs = {output.id: encode_output(output).decode() for output in replay.outputs()}
        chain = {
            link.id: link.payload
            for link in audit_rows(conn, WORKER)
            if link.kind != ConfigurationChanged.__name__  # a worker tells it, the journal does not
        }
        assert replay.rows() == checkpoint_rows(conn, found), (
            "raise ENGINE: old events give other rows"
        )
    assert len(chain) >= 6
    derived = {key: outputs.get(key) for key in chain}
    assert derived == chain, "raise ENGINE: old events mean something else"


def test_a_worker_that_is_killed_after_its_load_leaves_all_as_it_was(stored: Stored) -> None:
    """By SIGKILL, with rows migrated in its memory: nothing of them is in the database."""
    engine = open_engine(stored.url)
    before = content_digest(engine)
    done = subprocess.run([sys.executable, "-c", KILLED, stored.url], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert content_digest(engine) == before
    engine.dispose()


def test_a_stored_database_goes_on(stored: Stored) -> None:
    """HALT, request and lowered limit of it survive an upgrade, and act."""
    assert_survived(stored)
    assert_true_to_record(stored)
    stored.run("replay", str(approval(stored)))
    stored.run("replay", str(deposit(stored)))
    assert_acted(stored)
    assert progress(stored) == (ENGINE, FORMAT)
    assert_true_to_record(stored)


def test_a_stored_database_goes_on_under_the_next_format(stored: Stored) -> None:
    """Rows are migrated in the transaction of the first batch; this build then refuses them."""
    old = asked(stored, f"SELECT body FROM state_row WHERE key = '{OLD}{LIMIT}'")
    assert len(old) == 1
    before = asked(stored, "SELECT stage, key, body FROM state_row ORDER BY 1, 2")
    _, number = progress(stored)
    next_replay(stored, approval(stored))
    assert asked(stored, f"SELECT body FROM state_row WHERE key = '{NEW}{LIMIT}'") == old
    assert asked(stored, f"SELECT body FROM state_row WHERE key LIKE '{OLD}%'") == []
    assert progress(stored) == (ENGINE, NEXT.number)
    kept = [key.replace(NEW, OLD) for (key,) in asked(stored, "SELECT key FROM state_row")]
    rows: dict[str, dict[str, Row]] = {}
    for stage, key, body in before:
        rows.setdefault(stage, {})[key] = body
    ours = ROW_FORMAT.migrate(rows, number)
    lost = {key for bodies in ours.values() for key in bodies if key not in kept}
    # The approval ends the request, and the HALT whose effect was measured.
    assert lost <= {"control/asset:USDC", "effect/asset:USDC"}
    next_replay(stored, deposit(stored))
    # What asks by the command line is of this build, which does not read these rows.
    (found,) = asked(stored, f"SELECT hard_usd, status FROM limit_state WHERE limit_id = '{LIMIT}'")
    assert (float(found[0]), found[1]) == (HARD_USD, "breach")
    assert scope(stored)["effective"] != State.HALT.value
    assert_true_to_record(stored)
    refused = stored.run("replay", str(deposit(stored)), fails=True)
    assert isinstance(refused.exception, RowFormatError)
    assert f"format {NEXT.number}, written by engine {ENGINE}" in str(refused.exception)
    assert f"reads formats up to {FORMAT}" in str(refused.exception)


def test_a_load_changes_nothing_until_the_first_commit(stored: Stored) -> None:
    """Killed in between, or refused by the database, a worker leaves all as it was."""
    engine = open_engine(stored.url)
    with engine.begin() as conn:  # each start copies the reference data of its own build first
        sync_reference(conn, bootstrap.configuration().reference)
    before = content_digest(engine)
    first = take_lease(engine, WORKER, "one", NEXT)
    # The first format has other keys of holdings, too.
    assert set(first.migrated) == {"risk"} | ({"ledger"} if progress(stored)[1] == 1 else set())
    assert first.migrated["risk"][f"{OLD}{LIMIT}"] is None
    assert content_digest(engine) == before
    with engine.begin() as conn:
        conn.execute(
            text(
                "CREATE TRIGGER fault BEFORE UPDATE ON worker_progress "
                "BEGIN SELECT RAISE(ABORT, 'disk on fire'); END"
            )
        )
    files = [approval(stored)]
    with pytest.raises(StoreError, match="disk on fire"):
        next_replay(stored, *files)
    assert content_digest(engine) == before
    with engine.begin() as conn:
        conn.execute(text("DROP TRIGGER fault"))
    second = take_lease(engine, WORKER, "two", NEXT)
    assert (second.rows, second.migrated) == (first.rows, first.migrated)
    engine.dispose()
    next_replay(stored, *files)
    assert progress(stored) == (ENGINE, NEXT.number)


def test_a_batch_without_news_stores_the_migrated_rows(stored: Stored) -> None:
    """A worker that has nothing to apply writes them as well; a second time there are none."""
    next_replay(stored)
    assert progress(stored) == (ENGINE, NEXT.number)
    engine = open_engine(stored.url)
    again = take_lease(engine, WORKER, "two", NEXT)
    assert again.migrated == {}
    assert f"{NEW}{LIMIT}" in again.rows["risk"]
    engine.dispose()


def test_what_reads_single_rows_reads_migrated_ones(stored: Stored) -> None:
    """Before the worker has written anything, and after."""
    for _ in range(2):
        with open_reader(stored.url) as conn:
            found = current_row(conn, "risk", f"{NEW}{LIMIT}", NEXT)
            assert found is not None
            assert b"60000" in found
            assert current_row(conn, "risk", f"{OLD}{LIMIT}", NEXT) is None
            assert current_row(conn, "risk", "hard/none", NEXT) is None
        next_replay(stored)


@pytest.mark.parametrize("stored", [named()], indirect=True)
def test_a_checkpoint_of_an_older_format_is_migrated(stored: Stored) -> None:
    """Its digest is checked over what is stored, and what is derived goes on from new rows.

    Only the engine that wrote a checkpoint uses it in the midst of its own journal.
    """
    with open_reader(stored.url) as conn:
        (found,) = usable_checkpoints(conn, WORKER)
        assert f"{OLD}{LIMIT}" in checkpoint_rows(conn, found)["risk"]
        rows = checkpoint_rows(conn, found, NEXT)["risk"]
        assert f"{NEW}{LIMIT}" in rows
        assert f"{OLD}{LIMIT}" not in rows
        assert rows.keys() - {f"{NEW}{LIMIT}"} == load_rows(conn, WORKER)[0]["risk"].keys() - {
            f"{OLD}{LIMIT}"
        }
        assert list(Rederivation(conn, WORKER, found).outputs()) == []


def test_a_worker_that_notes_no_progress_has_the_first_format(stored: Stored) -> None:
    """The first release wrote rows of the worker `notify` without a format beside them."""
    engine = open_engine(stored.url)
    with engine.begin() as conn:
        conn.execute(STATE_ROW.insert().values(worker="notify", stage="notify", key="a", body=b"1"))
    steps = {1: {"notify": lambda rows: {f"x/{key}": rows[key] for key in rows}}}
    kept = take_lease(engine, "notify", "test", RowFormat(2, steps))
    assert kept.rows == {"notify": {"x/a": b"1"}}
    told = NotificationBatch(rows=kept.migrated["notify"])
    commit_notifications(engine, kept.epoch, told, RowFormat(2, steps))
    again = take_lease(engine, "notify", "test", RowFormat(2, steps))
    assert (again.rows, again.migrated) == (kept.rows, {})
    engine.dispose()
