"""The deployment of a database: its first id, its broker, copies, and the adoption of a new id."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from typer.testing import CliRunner

from riskwatch.cli import app
from riskwatch.core.clock import micros
from riskwatch.core.deployment import EMBEDDED
from riskwatch.engine.replay import open_database
from riskwatch.errors import ConfigError, StoreError
from riskwatch.store import migrate
from riskwatch.store.audit import AUDIT_CHAIN
from riskwatch.store.audit_check import check_database
from riskwatch.store.batch import Batch, Counts
from riskwatch.store.deployment import (
    adopt,
    check_chained,
    current_deployment,
    former_deployments,
    meet_broker,
)
from riskwatch.store.engine import open_engine
from riskwatch.store.lease import release_lease
from riskwatch.store.transaction import commit, take_lease
from riskwatch.store.truth import DEPLOYMENT, LEASE, STREAM_OFFSET
from tests.support.stored import FOLDER, opened

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Engine

NOW = datetime(2026, 5, 6, 9, 0, tzinfo=UTC)
RELEASED = sorted(path.stem for path in FOLDER.glob("*.sql"))


def own(engine: Engine) -> Any:
    """Return the deployment of a database."""
    with engine.connect() as conn:
        return current_deployment(conn)


def adopted(engine: Engine, deployment: str | None, holder: str = "cli") -> Any:
    """Adopt an id."""
    return adopt(
        engine, holder, micros(NOW), deployment=deployment, person="ann", reason="a copy"
    )  # fmt: skip


def test_each_new_database_has_an_id_of_its_own(tmp_path: Path) -> None:
    """It is random, and further upgrades keep it."""
    ids = []
    for name in ("a", "b"):
        engine = open_engine(f"sqlite:///{tmp_path / name}.db")
        migrate.upgrade(engine)
        ids.append(own(engine).id)
        migrate.upgrade(engine)
        assert own(engine).id == ids[-1]
        engine.dispose()
    assert ids[0] != ids[1]
    assert EMBEDDED not in ids


def test_a_database_that_has_lost_its_id_gets_one(engine: Engine) -> None:
    """Until then it cannot be used, and the message says what to do."""
    with engine.begin() as conn:
        conn.execute(delete(DEPLOYMENT))
    with pytest.raises(StoreError, match="no deployment id: run `riskwatch db upgrade`"):
        own(engine)
    migrate.upgrade(engine)
    assert own(engine).number == 1


@pytest.mark.parametrize("name", RELEASED)
def test_databases_of_released_builds_get_an_id(name: str, tmp_path: Path) -> None:
    """At their upgrade; nothing else of them changes."""
    desk = opened(name, tmp_path)
    said = desk.run("db", "upgrade").stdout
    engine = open_engine(desk.url)
    found = own(engine)
    assert f"deployment {found.id}" in said
    assert (found.number, found.cluster, found.prefix) == (1, "", None)
    with engine.connect() as conn:
        assert check_chained(conn, "embedded") is None
    engine.dispose()


def test_an_upgrade_takes_the_broker_from_the_offsets(tmp_path: Path) -> None:
    """A database whose workers have read a broker belongs to it from the first moment."""
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    migrate.upgrade(engine)
    with engine.begin() as conn:
        conn.execute(delete(DEPLOYMENT))
        for n, identity in enumerate(("cluster=c1;topic=t;partitions=1", "a digest of a file")):
            row = {"worker": "risk", "stream": f"s/{n}", "identity": identity}
            conn.execute(insert(STREAM_OFFSET).values(**row, position=1, records=1))
    migrate.upgrade(engine)
    assert own(engine).cluster == "c1"
    meet_broker(engine, "c1", "uat.", "here:9092")
    with pytest.raises(StoreError, match="cluster c1"):
        meet_broker(engine, "c2", "uat.", "there:9092")
    engine.dispose()


def test_a_worker_refuses_a_broker_that_is_not_its_own(engine: Engine) -> None:
    """In one line that names both clusters and the ways out; the first broker is remembered."""
    name = own(engine).id
    found, first = meet_broker(engine, "c1", "", "here:9092")
    assert (found.id, found.cluster, found.prefix, first) == (name, "c1", "", True)
    assert meet_broker(engine, "c1", "", "other-name:9092")[1] is False
    for cluster, prefix in (("c2", ""), ("c1", "uat."), ("c2", "uat.")):
        with pytest.raises(StoreError) as raised:
            meet_broker(engine, cluster, prefix, "there:9092")
        said = str(raised.value)
        assert "\n" not in said
        for words in (
            name, "cluster c1", f"there:9092 is cluster {cluster}", repr(prefix), "RISKWATCH_KAFKA",
            "`riskwatch db adopt --deployment NEW`", "--moved",
        ):  # fmt: skip
            assert words in said


def test_no_worker_runs_on_a_database_of_replays(tmp_path: Path) -> None:
    """The id of replays in one process is reserved; such a database may adopt another one."""
    with open_database(f"sqlite:///{tmp_path / 'x.db'}") as engine:
        assert own(engine).id == EMBEDDED
        with pytest.raises(StoreError, match=r"deployment embedded.*db adopt"):
            meet_broker(engine, "c1", "", "here:9092")
        with pytest.raises(StoreError, match="needs a new id"):
            adopted(engine, None)
        adopted(engine, "prod")
        assert meet_broker(engine, "c1", "", "here:9092")[0].id == "prod"


def test_a_copy_is_noticed_and_adopts_an_id(engine: Engine, tmp_path: Path) -> None:
    """The copy meets another broker; its new id is a row of the chain, and the original's stays."""
    meet_broker(engine, "c1", "", "here:9092")
    before = own(engine)
    source = sqlite3.connect(engine.url.database or "")
    source.execute("VACUUM INTO ?", (str(tmp_path / "c.db"),))
    source.close()
    copied = open_engine(f"sqlite:///{tmp_path / 'c.db'}")
    with pytest.raises(StoreError, match="if the database is a copy"):
        meet_broker(copied, "c2", "", "there:9092")
    adopted(copied, "staging")
    assert own(copied).id == "staging"
    assert meet_broker(copied, "c2", "", "there:9092")[1]
    with pytest.raises(StoreError, match="cluster c2"):
        meet_broker(copied, "c1", "", "here:9092")
    with copied.connect() as conn:
        chain = conn.execute(select(AUDIT_CHAIN)).all()
        assert [(row.worker, row.kind, row.key) for row in chain] == [
            ("risk", "DeploymentAdopted", "staging")
        ]
        for words in (before.id, '"cluster":"c1"', '"person":"ann"', '"reason":"a copy"'):
            assert words in chain[0].payload
        assert check_database(conn, "risk")[1] == []
        assert former_deployments(conn) == [before.id]
        assert check_chained(conn, "risk") is None
    copied.dispose()
    assert own(engine) == before


def test_a_moved_deployment_keeps_its_id(engine: Engine) -> None:
    """Where the broker was replaced, the next one counts; that is a row of the chain, too."""
    meet_broker(engine, "c1", "", "here:9092")
    name = own(engine).id
    made = adopted(engine, None)
    assert (made.deployment, made.previous, made.cluster) == (name, name, "c1")
    assert own(engine).id == name
    meet_broker(engine, "c2", "x.", "there:9092")
    with engine.connect() as conn:
        assert former_deployments(conn) == []


@pytest.mark.parametrize("bad", ["", "Prod", "prod eu", "-a", "a-", "x" * 41, "prod\n", EMBEDDED])
def test_an_id_that_cannot_be_adopted(engine: Engine, bad: str) -> None:
    """It is refused with what an id must be."""
    with pytest.raises(StoreError, match="must be"):
        adopted(engine, bad)


def test_an_id_is_adopted_once(engine: Engine) -> None:
    """Neither the present nor a former id comes back: its messages would count again."""
    first = own(engine).id
    adopted(engine, "staging")
    for known in (first, "staging"):
        with pytest.raises(StoreError, match="choose a new id"):
            adopted(engine, known)


def test_nothing_is_adopted_under_a_running_worker(engine: Engine) -> None:
    """Of any kind; once it has released its lease, or left it for long, the adoption goes on."""
    kept = take_lease(engine, "ledger/3", "host/1/x")
    before = own(engine)
    with pytest.raises(StoreError, match=r"worker ledger/3 runs \(host/1/x.*stop"):
        adopted(engine, "staging")
    assert own(engine) == before
    release_lease(engine, "ledger/3", kept.epoch)
    adopted(engine, "staging")
    assert own(engine).id == "staging"


def test_an_adoption_fences_a_sleeping_leader(engine: Engine) -> None:
    """A leader that slept through it cannot commit under the old id."""
    kept = take_lease(engine, "risk", "host/1/x")
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    with engine.begin() as conn:
        conn.execute(update(LEASE).values(renewed_at=long_ago))
    adopted(engine, "staging")
    with pytest.raises(StoreError, match="epoch"):
        commit(engine, Batch("risk", kept.epoch, counts=Counts()))


def test_an_id_that_was_changed_by_hand_is_told(engine: Engine) -> None:
    """The chain names the id that was adopted."""
    adopted(engine, "staging")
    with engine.begin() as conn:
        conn.execute(text("UPDATE deployment SET id = 'prod' WHERE number = 2"))
        assert "deployment prod, and its audit chain staging" in (check_chained(conn, "risk") or "")
    done = CliRunner().invoke(app, ["audit", "verify"], env={"RISKWATCH_DATABASE": str(engine.url)})
    assert done.exit_code == 1
    assert "changed by something other than `riskwatch db adopt`" in done.stdout


def test_the_command_line_adopts(engine: Engine) -> None:
    """It needs a reason and one of two options, and says what the id was and is."""
    env = {"RISKWATCH_DATABASE": str(engine.url), "COLUMNS": "250"}

    def run(*args: str) -> Any:
        return CliRunner().invoke(app, ["db", "adopt", *args], env=env)

    first = own(engine).id
    for wrong in (("--reason", "r"), ("--reason", "r", "--moved", "--deployment", "x"),
                  ("--reason", " ", "--moved")):  # fmt: skip
        assert isinstance(run(*wrong).exception, ConfigError)
    done = run("--deployment", "staging", "--reason", "a copy for tests", "--person", "ann")
    assert done.stdout == f"deployment {first} is deployment staging from here on\n"
    done = run("--moved", "--reason", "new broker")
    assert done.stdout == "deployment staging accepts the next broker that a worker meets\n"
    shown = CliRunner().invoke(app, ["db", "current"], env=env).stdout
    assert shown.endswith(", deployment staging\n")
