"""The doctor without servers: findings, advice, and an end in any case."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pydantic import SecretStr
from sqlalchemy import update
from typer.testing import CliRunner

from riskwatch import doctor
from riskwatch.cli import app
from riskwatch.config.config import load
from riskwatch.contracts.topics import TOPICS
from riskwatch.doctor import broker, examine, local, mirror, store
from riskwatch.doctor.finding import Facts, Finding, skew
from riskwatch.store import migrate
from riskwatch.store.engine import open_engine
from riskwatch.store.faults import record_crash, request_quarantine
from riskwatch.store.lease import release_lease
from riskwatch.store.transaction import commit, take_lease
from riskwatch.store.truth import LEASE, REPLAYED
from riskwatch.worker.settings import ProcessSettings
from tests.conftest import ROOT
from tests.support.batches import batches
from tests.support.mirror import heartbeat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Engine

FILLS = "riskwatch.fills"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One migrated database."""
    path = tmp_path_factory.mktemp("doctor") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path.read_bytes()


@pytest.fixture
def url(template: bytes, tmp_path: Path) -> str:
    """Database of its own."""
    path = tmp_path / "risk.db"
    path.write_bytes(template)
    return f"sqlite:///{path}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The same database, to write to."""
    opened = open_engine(url)
    yield opened
    opened.dispose()


def settings(url: str = "sqlite:///nowhere.db", **given: Any) -> ProcessSettings:
    """Environment without a broker, so that nothing is waited for."""
    return ProcessSettings(database=url, kafka="nowhere", **given)


def of_store(url: str, facts: Facts | None = None) -> dict[str, Finding]:
    """What is found in a database."""
    return {x.check: x for x in store.findings(settings(url), facts or Facts())}


def test_a_healthy_database(url: str, engine: Engine) -> None:
    """Each thing that was looked at is told, and leases say who leads."""
    take_lease(engine, "risk", "host/7")
    found = of_store(url)
    assert {x.status for x in found.values()} == {"ok"}
    assert list(found) == [
        "database", "schema", "writing", "dead letters", "stage faults", "notices",
        "lease of risk",
    ]  # fmt: skip
    assert found["lease of risk"].seen.startswith("led by host/7, epoch 1, renewed ")


@pytest.mark.parametrize(
    ("name", "check", "advice"),
    [("missing.db", "database", "RISKWATCH_DATABASE"), ("empty.db", "schema", "db upgrade")],
)
def test_a_database_that_cannot_be_used(tmp_path: Path, name: str, check: str, advice: str) -> None:
    """Says what to do, and looks no further."""
    if name == "empty.db":
        (tmp_path / name).touch()
    *_, last = store.findings(settings(f"sqlite:///{tmp_path / name}"), Facts())
    assert (last.check, last.status) == (check, "fail")
    assert advice in last.do


def test_garbage_for_a_database(tmp_path: Path) -> None:
    """A file that is none, and a URL that is none, are findings."""
    (tmp_path / "x.db").write_bytes(b"garbage" * 1000)
    for url in (f"sqlite:///{tmp_path / 'x.db'}", "mysql://x", "nonsense"):
        (only,) = store.findings(settings(url), Facts())
        assert (only.check, only.status) == ("database", "fail")


def test_what_was_refused_is_counted_by_reason(url: str, engine: Engine) -> None:
    """Without what was sent again since; positions are handed on for the lag."""
    for batch in batches(take_lease(engine, "w", "test").epoch):
        commit(engine, batch)
    facts = Facts()
    found = of_store(url, facts)["dead letters"]
    assert (found.status, found.seen) == ("warn", "5: UTF8_INVALID 5")
    assert "dlq" in found.do
    assert facts.positions == {"fills/0": 50}
    with engine.begin() as conn:
        conn.execute(
            REPLAYED.insert().values(worker="w", stream="fills/0", position=1, person="ann")
        )
    assert of_store(url)["dead letters"].seen == "4: UTF8_INVALID 4"


def test_a_stage_that_failed(url: str, engine: Engine) -> None:
    """Once is a warning, three times is down, and what two people set aside is settled."""
    record_crash(engine, "risk", ("f/0", 7), "ZeroDivisionError:\n division by zero")
    found = of_store(url)["stage faults"]
    assert (found.status, "division" in found.seen, "\n" in found.seen) == ("warn", True, False)
    record_crash(engine, "risk", ("f/0", 7), "x")
    record_crash(engine, "risk", ("f/0", 7), "x")
    found = of_store(url)["stage faults"]
    assert (found.status, "dlq quarantine" in found.do) == ("fail", True)
    request_quarantine(engine, "risk", ("f/0", 7), "ann", "bad")
    assert of_store(url)["stage faults"].status == "fail"
    request_quarantine(engine, "risk", ("f/0", 7), "bob", "bad")
    assert of_store(url)["stage faults"].status == "ok"


def test_leases_that_nobody_holds(url: str, engine: Engine) -> None:
    """One that ran out, and one that was let go; a replay's is no lease to watch."""
    assert of_store(url)["leases"].status == "warn"
    take_lease(engine, "embedded", "x")
    epoch = take_lease(engine, "ledger-0", "x").epoch
    release_lease(engine, "ledger-0", epoch)
    take_lease(engine, "risk", "y")
    past = datetime.now(UTC) - timedelta(seconds=40)
    with engine.begin() as conn:
        conn.execute(update(LEASE).where(LEASE.c.worker == "risk").values(renewed_at=past))
    found = of_store(url)
    assert "lease of embedded" not in found
    assert found["lease of ledger-0"].seen == "nobody leads; last x, epoch 1, it was let go"
    assert "not renewed for 40 s" in found["lease of risk"].seen
    assert {found["lease of ledger-0"].status, found["lease of risk"].status} == {"warn"}


@pytest.mark.parametrize(
    ("theirs", "status"),
    [(100.5, "ok"), (101.9, "ok"), (102.5, "warn"), (98.5, "warn"), (106.5, "fail"), (90, "fail")],
)
def test_clocks(theirs: float, status: str) -> None:
    """Only what the time of the question cannot explain is a difference: 1 s warns, 5 s fails."""
    found = skew("clock", theirs, 100.0, 101.0)
    assert found.status == status
    assert bool(found.do) is (status != "ok")


def lag(position: int | None, first: int, end: int) -> Finding:
    """Finding about a topic of which one partition has something."""
    facts = Facts(positions={} if position is None else {f"{FILLS}/3": position})
    facts.bounds = {
        (t.name, n): (0, 0) for t in broker.CONSUMED_TOPICS for n in range(t.partitions)
    }
    facts.bounds[FILLS, 3] = (first, end)
    return {x.check: x for x in broker.lag_findings(facts)}[f"lag of {FILLS}"]


@pytest.mark.parametrize(
    ("place", "status", "seen"),
    [
        ((5, 0, 5), "ok", "0 records behind"),
        ((5, 5, 9), "ok", "4 records behind"),
        ((None, 5, 9), "ok", "4 records behind"),
        ((0, 0, 20_000), "warn", "20000 records behind"),
        ((2, 5, 9), "fail", "3 records expired before they were applied"),
        ((9, 0, 5), "fail", "the database is 4 records ahead of the broker"),
    ],
)
def test_lag(place: tuple[int | None, int, int], status: str, seen: str) -> None:
    """Behind, behind what is gone, and ahead of what there is."""
    found = lag(*place)
    assert (found.status, found.seen) == (status, seen)


def test_no_lag_is_told_where_one_side_is_unknown() -> None:
    """A number that was not measured is not shown."""
    assert list(broker.lag_findings(Facts())) == []
    assert list(broker.lag_findings(Facts(positions={}))) == []


def test_many_differences_of_topics_are_cut() -> None:
    """One line, without the same advice in each part."""
    found = broker.topic_finding(
        [f"{name} is missing: run `riskwatch topics create`" for name in TOPICS]
    )
    assert found.seen.endswith(f"is missing; and {len(TOPICS) - 5} more")
    assert found.seen.count("create") == 0


def test_a_heartbeat_is_judged_by_what_it_says() -> None:
    """None, garbage, one that is over and one that is valid."""
    now = datetime.now(UTC)
    row = {b"value": heartbeat(3, 9, valid_s=30)}
    assert mirror.heartbeat_finding({}, now).status == "warn"
    assert mirror.heartbeat_finding({b"value": b"{"}, now).status == "fail"
    valid = mirror.heartbeat_finding(row, now)
    assert (valid.status, valid.seen) == ("ok", "of risk, epoch 3, valid for 30 s")
    over = mirror.heartbeat_finding(row, now + timedelta(seconds=40))
    assert (over.status, "not valid since 10 s" in over.seen) == ("warn", True)


def test_a_wrong_configuration_is_shown_with_its_key(tmp_path: Path) -> None:
    """As every command that reads it would."""
    *_, last = local.findings(settings(config=tmp_path), Facts())
    assert (last.check, last.status) == ("configuration", "fail")
    assert ".toml" in last.seen


def test_a_library_that_is_missing() -> None:
    """It is named."""
    found = local.library_finding(("msgspec", "no-such-library"))
    assert (found.status, found.seen) == ("fail", "not installed: no-such-library")


def test_servers_that_never_answer_do_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told to be silent, within the time that it is given."""
    monkeypatch.setattr(doctor, "ANSWER_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        given = ProcessSettings(
            database=f"postgresql://u:secret@127.0.0.1:{port}/x",
            kafka="nowhere",
            redis=SecretStr(f"redis://:secret@127.0.0.1:{port}/0"),
        )
        started = time.monotonic()
        found = list(examine(given))
        took = time.monotonic() - started
    failed = {x.check: x.seen for x in found if x.status == "fail"}
    assert set(failed) == {"database", "broker", "mirror"}
    assert failed["database"] == "no answer within 1 s"
    assert "secret" not in str(found)
    assert took < 5


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was found before it is not lost."""

    def broken(given: ProcessSettings, facts: Facts) -> Iterator[Finding]:
        del given, facts
        yield Finding("first", "ok", "x")
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(doctor, "GROUPS", (("broken", broken),))
    first, second = examine(settings())
    assert first.check == "first"
    assert (second.status, "ZeroDivisionError" in second.seen) == ("fail", True)


@pytest.mark.parametrize("args", [["doctor"], ["doctor", "--json"]])
def test_the_command(args: list[str], url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 with something to do, one object per line for machines, no traceback."""
    environment = {"RISKWATCH_DATABASE": url, "RISKWATCH_KAFKA": "nowhere", "RISKWATCH_REDIS": ""}
    ran = CliRunner().invoke(app, args, env=environment)
    assert ran.exit_code == 1
    assert ran.stderr == capsys.readouterr().err == ""
    if "--json" in args:
        rows = [json.loads(line) for line in ran.stdout.splitlines()]
        assert [row["check"] for row in rows if row["status"] == "fail"] == ["broker"]
        assert all(set(row) == {"check", "status", "seen", "do"} for row in rows)
    else:
        assert "fail  broker" in ran.stdout
        assert "-> mend the RISKWATCH_KAFKA variables" in ran.stdout


def test_names_that_nothing_protects_are_shown() -> None:
    """As shipped, sources of full weight and clients have no proof; keys end the warnings."""
    made = load(ROOT / "rules")
    found = [local.source_finding(made), local.client_finding(made)]
    assert [each.status for each in found] == ["warn", "warn"]
    assert found[0].seen == "nothing protects the weight of court, regulator, desk"
    assert "topic_sources" in found[0].do
    names = ("court", "regulator", "desk")
    risk = msgspec.structs.replace(
        made.policy.risk, topic_sources=names, client_keys={"desk-1": "00"}
    )
    policy = msgspec.structs.replace(made.policy, risk=risk)
    safe = msgspec.structs.replace(made, policy=policy)
    found = [local.source_finding(safe), local.client_finding(safe)]
    assert [each.status for each in found] == ["ok", "ok"]
