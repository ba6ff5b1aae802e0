"""The heartbeat: its content, and that only a ready leader publishes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from riskwatch.config.recorder import ConfigurationRecorder
from riskwatch.contracts.audit import decode_head
from riskwatch.contracts.heartbeat import decode_heartbeat
from riskwatch.core.clock import SECOND, moment
from riskwatch.engine import audit_head
from riskwatch.engine.clock import LiveClock
from riskwatch.errors import ConfigError, FencedError
from riskwatch.store.audit import chain_tail
from riskwatch.store.audit_check import check_database
from riskwatch.store.batch import Batch, Counts, ResumePoint, SequencedOutput
from riskwatch.store.deployment import Deployment
from riskwatch.store.queries import confirmed_until
from riskwatch.store.scope_table import ScopeTable
from riskwatch.store.transaction import commit, take_lease
from riskwatch.worker import worker
from riskwatch.worker.settings import ProcessSettings
from riskwatch.worker.worker import (
    HEARTBEAT_INTERVAL_US,
    HEARTBEAT_VALID_US,
    RISK,
    RiskWorker,
    heartbeat_record,
    make_heartbeat,
)
from tests.support.audit import fill_chain
from tests.support.desks import ZERO, LocalPartitions
from tests.support.producer import FakeKafka, Local
from tests.support.units import START_US

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

TABLE = ScopeTable({"firm": "HALT", "asset:USDC": "WATCH"}, {"firm": "1", "asset:USDC": "2"}, 41)


def test_a_heartbeat_says_who_vouches_for_what_and_until_when() -> None:
    """Valid for a minute from when it was made, not from when it is sent."""
    beat = make_heartbeat("risk", 3, TABLE, START_US, "prod")
    record = heartbeat_record(beat)
    assert (record.topic, record.key, record.seq) == ("riskwatch.heartbeat", "firm", 41)
    told = json.loads(record.value)
    assert told["type"] == "heartbeat"
    assert (told["worker"], told["epoch"], told["seq"], told["scopes"]) == ("risk", 3, 41, 2)
    assert told["deployment"] == "prod"
    assert told["digest"] == TABLE.digest
    assert beat.valid_until == moment(START_US + HEARTBEAT_VALID_US)
    assert HEARTBEAT_VALID_US >= 3 * HEARTBEAT_INTERVAL_US


class Leader(RiskWorker):
    """A risk worker whose desk, producer and clock are local."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(ProcessSettings(http="off"))
        self.now_us = START_US
        self.kafka = FakeKafka(clock=lambda: self.now_us)
        self.ahead_us = 0
        self.clock = LiveClock(SECOND, lambda: self.now_us + self.ahead_us, lambda: self.now_us)
        monkeypatch.setattr(worker, "wall_us", lambda: self.now_us)
        self._engine = engine
        self._deployment = Deployment(1, "prod", "c1", "")
        self._producer = Local(self.kafka, note_broker=self.clock.note_confirmed)
        self.local = self.partitions = LocalPartitions(lambda _: RISK, live=self.clock)
        self.standby_reason = None

    def later(self) -> int:
        """Let the time of a heartbeat pass, and do a turn; returns how many there were."""
        self.now_us += HEARTBEAT_INTERVAL_US
        self.local.now_us = self.now_us
        self.run_once()
        return len(self.sent("heartbeat"))

    def sent(self, topic: str) -> list[tuple[str, bytes | None, bytes, list[tuple[str, bytes]]]]:
        """What was sent to a topic."""
        return [sent for sent in self.kafka.sent if sent[0] == f"p.riskwatch.{topic}"]


@pytest.fixture
def leader(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Leader:
    """Return a leader with one partition, that holds its lease."""
    take_lease(engine, RISK, "test")
    found = Leader(engine, monkeypatch)
    found.clock.note_confirmed(START_US)
    found.partitions.assign([ZERO])
    return found


def test_a_leader_that_works_vouches_now_and_then(leader: Leader) -> None:
    """Every fifteen seconds, under its epoch."""
    assert [leader.later() for _ in range(3)] == [1, 2, 3]
    leader.run_once()
    assert len(leader.sent("heartbeat")) == 3
    topic, key, _, headers = leader.sent("heartbeat")[0]
    assert (topic, key) == ("p.riskwatch.heartbeat", b"firm")
    assert dict(headers) == {
        "rw-worker": b"risk", "rw-epoch": b"1", "rw-deployment": b"prod", "rw-seq": b"0",
    }  # fmt: skip


def test_what_was_published_is_in_sql(leader: Leader) -> None:
    """`killswitch_now` says until when the last heartbeat confirms it."""
    with leader._engine.connect() as conn:
        assert confirmed_until(conn) is None
    leader.later()
    leader.later()
    with leader._engine.connect() as conn:
        assert confirmed_until(conn) == moment(leader.now_us + HEARTBEAT_VALID_US)


def test_a_leader_does_not_begin_with_looser_limits_that_nobody_signed(leader: Leader) -> None:
    """It names them; a replay through the workers decides nothing that anybody obeys."""
    leader._require_signed_limits()
    shipped = leader._config
    stricter = tuple(replace(each, hard_usd=each.hard_usd / 2) for each in shipped.limits.limits)
    before = replace(shipped, limits=replace(shipped.limits, limits=stricter), digest="d" * 64)
    (made,) = ConfigurationRecorder(RISK, before, lambda: START_US, "prod")(
        ResumePoint(1, {}, {}, Counts(), 0, 1, 1)
    )
    batch = Batch(RISK, 1, relay=True)
    batch.outputs.append(SequencedOutput(1, made))
    commit(leader._engine, batch)
    with pytest.raises(ConfigError, match=r"limit firm hard_usd.*nobody signed"):
        leader._require_signed_limits()
    leader.settings = leader.settings.model_copy(update={"clock": "event"})
    leader._require_signed_limits()


def test_who_does_not_work_does_not_vouch(leader: Leader) -> None:
    """While it catches up, while a stage keeps it down, while its partitions move."""
    unit = leader.partitions.unit(RISK)
    assert unit is not None
    leader.local.ends[ZERO] = 3
    leader.partitions.suspend()
    assert leader.later() == 0
    leader.partitions.assign([ZERO])
    assert leader.later() == 0
    leader.local.bring(ZERO, 0, 3)
    assert leader.later() == 1
    unit.fault = "t 1"
    assert leader.later() == 1
    unit.fault = None
    assert leader.later() == 2
    leader.partitions.suspend()
    assert leader.later() == 2


def test_a_heartbeat_says_how_far_the_ticks_got(leader: Leader) -> None:
    """The time of the last tick; none is published while ticks lag or the clock is wrong."""
    leader.local.ends[ZERO] = 3
    leader.partitions.assign([ZERO])
    leader.local.bring(ZERO, 0, 3)
    assert leader.later() == 1
    beat = decode_heartbeat(leader.sent("heartbeat")[-1][2])
    assert beat.reached == beat.ts == moment(leader.now_us)
    leader.ahead_us = 11 * SECOND
    assert leader.later() == 1
    leader.ahead_us = 0
    assert leader.later() == 2


def test_a_heartbeat_waits_for_the_brokers_time(engine: Engine, monkeypatch: Any) -> None:
    """The head of the audit chain is confirmed first, and tells it."""
    take_lease(engine, RISK, "test")
    found = Leader(engine, monkeypatch)
    found.partitions.assign([ZERO])
    assert [found.later(), found.later()] == [0, 1]
    assert found.sent("audit")


def test_who_lost_the_lease_does_not_vouch(leader: Leader, engine: Engine) -> None:
    """The table is read under the lease."""
    take_lease(engine, RISK, "standby")
    with pytest.raises(FencedError):
        leader.later()
    assert leader.kafka.sent == []


def test_a_leader_tells_how_far_the_audit_chain_reaches(
    leader: Leader, engine: Engine, logged: list[Any]
) -> None:
    """Every minute, to the topic and to the log, whether or not it grew."""
    fill_chain(engine, 2)
    unit = leader.partitions.unit(RISK)
    assert unit is not None
    leader.partitions.assign([ZERO])
    for n in (1, 2, 3):
        leader.now_us += audit_head.HEAD_INTERVAL_US - 1
        leader._publish_audit_head()
        leader.now_us += 1
        leader._publish_audit_head()
        assert len(leader.sent("audit")) == n
    topic, key, value, headers = leader.sent("audit")[-1]
    head = decode_head(value)
    assert (topic, key) == ("p.riskwatch.audit", b"risk")
    assert dict(headers)["rw-seq"] == b"4"
    with engine.connect() as conn:
        assert (head.seq, head.digest) == chain_tail(conn, RISK)
        assert check_database(conn, RISK, [head])[1] == []
    told = [line for line in logged if line["event"] == "audit head"]
    assert [line["digest"] for line in told] == [head.digest] * 3


def test_a_signal_ends_it(leader: Leader) -> None:
    """Closing gives the lease back, and lets go of the broker."""
    leader.later()
    leader.close()
    assert leader.stop.is_set()
    assert leader.kafka.closed == [0]
    assert leader.local.benches[RISK].book.released == [1]
