"""Drills from end to end: command or plan, risk worker, broker, order paths, report."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select

from riskwatch.client import KillSwitch
from riskwatch.contracts.connection import KafkaConnection
from riskwatch.contracts.outputs import decode_output
from riskwatch.core.enums import CommandRefusal as No
from riskwatch.core.enums import State
from riskwatch.core.outputs import DrillSignalled
from riskwatch.errors import RiskwatchError
from riskwatch.store.audit import AUDIT_CHAIN
from riskwatch.store.drills import DRILL, DRILL_SIGNAL
from riskwatch.store.projections import ALERT
from tests.support.gateway import wait
from tests.support.office import Office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COIN: Final = "asset:USDC"
ORDER: Final[dict[str, Any]] = {"counterparty": "kraken", "asset": "USDC"}
PLAN: Final = """
[[risk.drills]]
id = "often"
scope = "firm"
every_s = "10s"
expect = ["desk-1"]
"""


@pytest.fixture
def office(
    request: pytest.FixtureRequest, mirror_template: bytes, tmp_path: Path, kafka_broker: str,
    kafka_prefix: str,
) -> Iterator[Office]:  # fmt: skip
    """Return an office on the shared broker; a parameter is added to its policy."""
    path = tmp_path / "office.db"
    path.write_bytes(mirror_template)
    connection = KafkaConnection(servers=kafka_broker, prefix=kafka_prefix)
    made = Office(tmp_path, f"sqlite:///{path}", connection, getattr(request, "param", ""))
    yield made
    made.close()


def signals(office: Office) -> list[Any]:
    """Drills that were signalled, the oldest first."""
    return office.rows(select(DRILL_SIGNAL).order_by(DRILL_SIGNAL.c.ts))


def test_a_drill_from_end_to_end(office: Office, tmp_path: Path) -> None:
    """Signed, signalled, rehearsed by each client, judged; nothing real changes; all is kept."""
    c = office.connection
    drill = ("killswitch", "drill", "--scope", COIN, "--reason", "monthly", "--wait", "30")
    with office.worker(), office.worker("clients"), KillSwitch("one", kafka=c) as one:
        assert one.wait_ready(30), one.allows().reason
        assert office.turn("halt", "book:x", "--reason", "some state").exit_code == 0
        with KillSwitch("two", kafka=c) as two:
            assert two.wait_ready(30), two.allows().reason
            real = office.cluster.read("riskwatch.killswitch")
            done = office.run(*drill, "--report", str(tmp_path / "r"), name="rita")
            assert done.exit_code == 0, (done.output, done.exception)
            assert "PASSED" in done.stdout
            assert one.allows(**ORDER).state is State.NORMAL
            assert len(office.cluster.read("riskwatch.killswitch")) == len(real)
        (kept,) = office.rows(select(DRILL))
        assert (kept.outcome, kept.person, kept.expected, kept.answered) == (
            "passed", "rita", 2, 2,
        )  # fmt: skip
        assert kept.digest_before == kept.digest_after != ""
        assert {found["client"] for found in kept.report["answered"]} == {"one", "two"}
        assert all(found["round_trip_s"] > 0 for found in kept.report["answered"])
        written = json.loads((tmp_path / "r" / f"{kept.id}.json").read_text())
        assert written["outcome"] == "passed"
        assert (tmp_path / "r" / f"{kept.id}.txt").read_text() in done.stdout

        (record,) = office.cluster.read("riskwatch.drills")
        said = decode_output(record.value)
        assert isinstance(said, DrillSignalled)
        assert dict(record.headers)["rw-worker"] == b"risk"
        assert [row.id for row in signals(office)] == [said.id] == [kept.id]
        chain = office.rows(select(AUDIT_CHAIN.c.kind).order_by(AUDIT_CHAIN.c.seq))
        assert [row.kind for row in chain][-2:] == ["CommandApplied", "DrillSignalled"]

        # One that is expected and not there; the other has ended in order.
        missing = office.run(*drill, "--expect", "three", "--timeout", "40", name="rita")
        assert isinstance(missing.exception, RiskwatchError)
        assert "three did not answer" in str(missing.exception)
        assert "two did not answer" not in str(missing.exception)
        alert = wait(lambda: office.rows(select(ALERT).where(ALERT.c.alert == f"drill:{COIN}")), "")
        assert alert[0].title == f"the drill of {COIN} failed"
        forbidden = office.run(*drill, name="vic")
        assert No.ROLE_FORBIDDEN in str(forbidden.exception)
    assert len(signals(office)) == 2
    shown = office.run("killswitch", "drills", "--json").stdout.splitlines()
    assert [json.loads(line)["outcome"] for line in shown] == ["failed", "passed"]
    assert "failed" in office.run("killswitch", "drills").stdout


@pytest.mark.parametrize("office", [PLAN], indirect=True, ids=["often"])
def test_a_planned_drill_is_run_once_whatever_restarts(office: Office) -> None:
    """It needs nobody; who does not answer is alerted; a restart repeats none of its moments."""
    with office.worker("clients"):
        with office.worker():
            # Time begins with the first event.
            assert office.turn("halt", "book:x", "--reason", "begin").exit_code == 0
            wait(lambda: signals(office), "it is not signalled", time.monotonic() + 60)
            failed = wait(lambda: office.rows(select(DRILL)), "it is not judged")[0]
            assert failed.report["silent"] == ["desk-1"]
            of_drills = ALERT.c.alert.startswith("drill:")
            open_now = select(ALERT).where(ALERT.c.resolved_ts.is_(None), of_drills)
            wait(lambda: office.rows(open_now), "it is not alerted")
            assert office.rows(open_now)[0].alert == "drill:firm"
        with office.worker(), KillSwitch("desk-1", kafka=office.connection) as guard:
            assert guard.wait_ready(30), guard.allows().reason
            passed = select(DRILL).where(DRILL.c.outcome == "passed")
            wait(lambda: office.rows(passed), "none passes", time.monotonic() + 60)
            wait(lambda: not office.rows(open_now), "the alert stays")
    causes = [row.cause_id for row in signals(office)]
    assert len(set(causes)) == len(causes)
    assert {(row.person, row.plan) for row in signals(office)} == {("schedule", "often")}
