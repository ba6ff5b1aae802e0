"""A stage that raises: the worker stops, stays down the third time, and reports it once."""

from __future__ import annotations

import shutil
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import select

from riskwatch.contracts.outputs import decode_internal, decode_output
from riskwatch.core.clock import MINUTE, SECOND
from riskwatch.core.enums import Cause, Quality
from riskwatch.core.events import LEDGER_EVENTS, Tick
from riskwatch.core.ledger.stage import LedgerStage
from riskwatch.core.ledger.state import LedgerState
from riskwatch.core.outputs import AlertResolved, AssetValued, StageFaulted
from riskwatch.core.readings import CounterpartyReading, PartitionFault
from riskwatch.engine import bootstrap
from riskwatch.engine.clock import TickGrid
from riskwatch.engine.pipeline import Pipeline, StageSlot
from riskwatch.engine.ports import SqlStore
from riskwatch.engine.retry import Retry
from riskwatch.engine.runner import Runner
from riskwatch.errors import StageFaultError
from riskwatch.store import migrate
from riskwatch.store.engine import open_engine
from riskwatch.store.faults import faults, record_crash, request_quarantine, reset_crashes
from riskwatch.store.projections import ALERT
from riskwatch.store.truth import DEAD_LETTER, STREAM_OFFSET, TICKS
from riskwatch.worker.crashes import CrashTracker, owned_counterparties
from riskwatch.worker.merge import InboundMessage, PartitionMetadata
from riskwatch.worker.metrics import Metrics
from riskwatch.worker.unit import Unit, UnitTiming
from tests.support.fakes import ListPublisher
from tests.support.toy import START_S, fill_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.engine import Engine

NAME: Final = "ledger/3"
STREAM: Final = "riskwatch.fills/3"
POISON: Final = "f3"
AT: Final = 3
LINES: Final = [fill_line(n, 60 * n) for n in range(6)]
NOW_US: Final = (START_S + 600) * SECOND
CONFIG: Final = bootstrap.configuration()


class Planted(LedgerStage):
    """A ledger that cannot take one message, or no tick."""

    bug: str = POISON
    harm: str = "raise"

    def step(self, state: LedgerState, event: Any) -> Any:
        """Raise at the planted bug, or put out what cannot be stored."""
        if self.bug != ("tick" if isinstance(event, Tick) else event.event_id):
            return super().step(state, event)
        if self.harm == "raise":
            raise ZeroDivisionError("planted")
        return [*super().step(state, event), unstorable(**HARMS[self.harm][0])]


HARMS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "constraint": ({"price_usd": float("nan")}, "NOT NULL"),
    "number": ({"live": 2**70}, "OverflowError"),
    "time": ({"ts": datetime(2023, 3, 11)}, "ValueError"),  # noqa: DTZ001
}
"""What no database takes, and what is said of it."""


def unstorable(**fields: Any) -> AssetValued:
    """Make an output that cannot be stored."""
    given: dict[str, Any] = {
        "id": "i", "cause_id": "c", "ts": datetime(2023, 3, 11, tzinfo=UTC), "asset": "X",
        "price_usd": 1.0, "deviation_bp": 0.0, "value_bp": 0.0, "direct_bp": None, "sd_bp": 1.0,
        "live": 1, "expected": 1, "cause": Cause.NONE, "quality": Quality.GOOD,
    }  # fmt: skip
    return AssetValued(**(given | fields))


class Life:
    """One life of the process: a unit on the database, with what the broker has."""

    def __init__(
        self,
        engine: Engine,
        publisher: ListPublisher,
        bug: str = POISON,
        clock: Any = "event",
        harm: str = "raise",
        batch: int = 2,
    ) -> None:
        stage = Planted(CONFIG.policy.ledger)
        stage.bug, stage.harm = bug, harm
        self.metrics = Metrics()
        self.runner = Runner(
            SqlStore(engine), Pipeline([StageSlot(stage, LedgerState(), (*LEDGER_EVENTS, Tick))]),
            publisher, worker=NAME, holder="test", grid=TickGrid(MINUTE),
        )  # fmt: skip
        crashes = CrashTracker(engine, Retry(threading.Event(), self.metrics))
        pace = UnitTiming(clock=clock, batch=batch, renew_us=0)
        self.unit = Unit(self.runner, crashes, self.metrics, pace)

    def live(self, now_us: int = NOW_US) -> Unit:
        """Open, take in everything, and work until there is nothing to do."""
        start = self.unit.open({STREAM: PartitionMetadata("id", 1, 0, len(LINES))}, now_us)[STREAM]
        found = [InboundMessage(n, 0, b"kraken", line, ()) for n, line in enumerate(LINES)]
        self.unit.put(STREAM, found[start:], len(LINES), now_us)
        self.work(now_us)
        return self.unit

    def work(self, now_us: int = NOW_US) -> None:
        """Work until there is nothing to do; then let a silence end the last step."""
        while self.unit.work(now_us):
            pass
        self.unit.work(now_us + 2 * SECOND)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One migrated database, to copy."""
    path = tmp_path_factory.mktemp("fault") / "template.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def engine(template: Path, tmp_path: Path) -> Iterator[Engine]:
    """A database of its own."""
    opened = open_engine(f"sqlite:///{shutil.copy(template, tmp_path / 'r.db')}")
    yield opened
    opened.dispose()


@pytest.fixture
def published() -> ListPublisher:
    """What is published, over all lives."""
    return ListPublisher(dead_letters=True)


def crash(engine: Engine, published: ListPublisher, times: int = 3, **settings: Any) -> None:
    """Live and crash so many times."""
    for time in range(1, times + 1):
        with pytest.raises(StageFaultError, match=f"for time {time}: ZeroDivisionError: planted"):
            Life(engine, published, **settings).live()


def until_it_stays(
    engine: Engine, published: ListPublisher, **settings: Any
) -> tuple[Life, list[str]]:
    """Live until a life does not crash; returns it, and how the others ended."""
    ends: list[str] = []
    while len(ends) < 9:
        life = Life(engine, published, **settings)
        try:
            life.live()
        except StageFaultError as error:
            ends.append(str(error))
        else:
            return life, ends
    raise AssertionError(ends)


def told(published: ListPublisher, kind: type) -> list[Any]:
    """Outputs, or forwarded readings, of a kind, in the order of publication."""
    out: list[Any] = []
    for _, topic, _, value in published.lines:
        if topic == "riskwatch.alerts":
            out.append(decode_output(value))
        elif topic == "riskwatch.readings":
            out.append(decode_internal(value))
    return [x for x in out if isinstance(x, kind)]


def alert(engine: Engine) -> Any:
    """The one alert."""
    with engine.connect() as conn:
        return conn.execute(select(ALERT)).one()


def taken(engine: Engine) -> int:
    """Offset behind what is done."""
    with engine.connect() as conn:
        return int(conn.execute(select(STREAM_OFFSET.c.position)).scalar_one())


def letters(engine: Engine) -> list[Any]:
    """Position and reason of the dead letters."""
    with engine.connect() as conn:
        return [
            tuple(x) for x in conn.execute(select(DEAD_LETTER.c.position, DEAD_LETTER.c.reason))
        ]


def test_it_stays_down_the_third_time_and_says_so_once(
    engine: Engine, published: ListPublisher
) -> None:
    """An open alert of severity REDUCE, one message, one reading; no restart repeats them."""
    crash(engine, published)
    assert told(published, StageFaulted) == []
    for _ in range(3):
        life = Life(engine, published)
        unit = life.live()
        assert unit.fault is not None
        assert "two people" in unit.fault
        assert (unit.position(STREAM), unit.is_caught_up) == (AT - 1, False)
    (fault,) = told(published, StageFaulted)
    assert (fault.worker, fault.stream, fault.position, fault.crashes) == (NAME, STREAM, AT, 3)
    assert (fault.error, fault.counterparties) == ("ZeroDivisionError: planted", ["kraken"])
    (reading,) = told(published, PartitionFault)
    assert (reading.worker, reading.counterparties) == (NAME, ["kraken"])
    row = alert(engine)
    assert (row.id, row.alert, row.severity) == (fault.id, f"worker:{NAME}|fault", "REDUCE")
    assert (row.scope, row.resolved_ts, row.raised) == (f"worker:{NAME}", None, 1)
    assert "riskwatch.fills/3 3" in row.title
    assert (taken(engine), letters(engine)) == (AT - 1, [])
    up = life.metrics.registry.get_sample_value("riskwatch_stage_fault", {"worker": NAME})
    assert up == 1


def test_two_people_make_it_go_on(engine: Engine, published: ListPublisher) -> None:
    """Not one; the message is kept, all others are applied, and everybody is told."""
    crash(engine, published)
    life = Life(engine, published)
    life.live()
    request_quarantine(engine, NAME, (STREAM, AT), "ann", "bug 7")
    life.work()
    assert (life.unit.fault is not None, taken(engine)) == (True, AT - 1)
    request_quarantine(engine, NAME, (STREAM, AT), "bob", "bug 7")
    life.work()
    life.work()
    assert (life.unit.fault, taken(engine)) == (None, len(LINES))
    assert letters(engine) == [(AT, "QUARANTINED")]
    assert life.runner.counts.applied == len(LINES) - 1
    (resolved,) = told(published, AlertResolved)
    assert resolved.alert == alert(engine).alert
    assert alert(engine).resolved_id == resolved.id
    begun, ended = told(published, PartitionFault)
    assert (begun.fault, ended.counterparties) == (ended.fault, [])
    assert faults(engine, NAME) == []
    assert life.metrics.registry.get_sample_value("riskwatch_stage_fault", {"worker": NAME}) == 0
    Life(engine, published).live()
    assert len(told(published, AlertResolved)) == 1


def test_another_build_goes_on_without_losing_anything(
    engine: Engine, published: ListPublisher
) -> None:
    """The message is applied in its place, and the alert ends."""
    crash(engine, published)
    Life(engine, published).live()
    assert Life(engine, published, bug="none").live().fault is not None
    reset_crashes(engine, NAME)
    life = Life(engine, published, bug="none")
    assert life.live().fault is None
    assert (taken(engine), letters(engine)) == (len(LINES), [])
    assert life.runner.counts.applied == len(LINES)
    assert alert(engine).resolved_ts is not None
    assert faults(engine, NAME) == []


def test_a_retry_in_vain_is_the_same_fault(engine: Engine, published: ListPublisher) -> None:
    """Three crashes more, and nothing is told twice."""
    crash(engine, published)
    Life(engine, published).live()
    reset_crashes(engine, NAME)
    crash(engine, published)
    Life(engine, published).live()
    assert len(told(published, StageFaulted)) == 1
    assert alert(engine).raised == 1


def test_what_was_true_and_not_published_is_published_once(
    engine: Engine, published: ListPublisher
) -> None:
    """A crash between the transaction and the broker neither loses nor doubles it."""
    crash(engine, published)
    published.fail_at = published.calls + 1
    with pytest.raises(BrokenPipeError):
        Life(engine, published).live()
    assert alert(engine).raised == 1
    for _ in range(2):
        Life(engine, published).live()
    assert len(told(published, StageFaulted)) == 1
    assert len(told(published, PartitionFault)) == 1


def test_live_it_tells_at_once_and_holds_back_while_it_catches_up(
    engine: Engine, published: ListPublisher
) -> None:
    """By the wall clock: numbers only grow, and the readings of the past are not news."""
    crash(engine, published, clock="wall")
    life = Life(engine, published, clock="wall")
    life.live()
    (fault,) = told(published, StageFaulted)
    assert fault.ts.timestamp() * SECOND == NOW_US
    for person in ("ann", "bob"):
        request_quarantine(engine, NAME, (STREAM, AT), person, "bug 7")
    before, later = len(published.lines), NOW_US + 10 * SECOND
    life.unit.work(later)
    assert (life.unit.fault, life.unit.is_caught_up) == (None, False)
    assert life.unit.work(later) == 2
    assert (life.unit.is_caught_up, len(published.lines)) == (False, before)
    life.work(later)
    assert life.unit.is_caught_up
    assert told(published, PartitionFault)[-1].counterparties == []
    assert len(told(published, CounterpartyReading)) == 2  # the last of each time, of five
    seqs = [seq for seq, *_ in published.lines]
    assert seqs == sorted(dict.fromkeys(seqs))


def test_a_tick_that_raises_is_counted_until_one_goes_well(
    engine: Engine, published: ListPublisher
) -> None:
    """Messages that go well in between clear nothing; a tick that does, does."""
    record_crash(engine, NAME, (TICKS, 0), "ZeroDivisionError: planted")
    life = Life(engine, published, bug="none", clock="wall")
    life.unit.open({STREAM: PartitionMetadata("id", 1, 0, 9)}, NOW_US)
    life.unit.put(STREAM, [InboundMessage(0, 0, b"kraken", LINES[0], ())], 9, NOW_US)
    assert life.unit.work(NOW_US) == 1
    assert [f.crashes for f in faults(engine, NAME)] == [1]
    Life(engine, published, bug="none").live()
    assert faults(engine, NAME) == []


def test_ticks_that_raise_keep_it_down(engine: Engine, published: ListPublisher) -> None:
    """And what is said names what helps: there is no message to set aside."""
    for _ in range(3):
        record_crash(engine, NAME, (TICKS, 0), "x")
    unit = Life(engine, published).live()
    assert unit.fault is not None
    assert "two people skip the tick" in unit.fault
    assert told(published, StageFaulted)[0].stream == TICKS


def test_two_people_skip_a_tick_once(engine: Engine, published: ListPublisher) -> None:
    """A dead letter says so, the alert ends; the next tick that raises is another place."""
    for times in (1, 2, 3):
        with pytest.raises(StageFaultError, match=f"at tick 0 for time {times}: ZeroDivision"):
            Life(engine, published, bug="tick").live()
    life = Life(engine, published, bug="tick")
    life.live()
    (fault,) = told(published, StageFaulted)
    assert (fault.stream, fault.position, fault.crashes) == (TICKS, 0, 3)
    for person in ("ann", "bob"):
        request_quarantine(engine, NAME, (TICKS, 0), person, "bug 8")
    life.work()  # it looks
    with pytest.raises(StageFaultError, match="at tick 1 for time 1: ZeroDivision"):
        life.work()
    healed = Life(engine, published, bug="none")
    healed.live()
    assert (taken(engine), healed.runner.counts.applied) == (len(LINES), len(LINES))
    with engine.connect() as conn:
        (letter,) = conn.execute(select(DEAD_LETTER)).all()
    assert (letter.stream, letter.position, letter.reason) == (TICKS, 0, "QUARANTINED")
    assert letter.detail.startswith("the tick at 2023-03-11T02:0")
    assert letter.detail.endswith("is skipped: ann: bug 8; bob: bug 8")
    assert (faults(engine, NAME), len(told(published, StageFaulted))) == ([], 1)
    assert alert(engine).resolved_ts is not None
    ticks = [r.us for r in told(published, CounterpartyReading)]
    assert ticks == sorted(dict.fromkeys(ticks))


@pytest.mark.parametrize("harm", list(HARMS))
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_what_cannot_be_stored_is_found_and_set_aside(
    engine: Engine, published: ListPublisher, harm: str, batch: int
) -> None:
    """A batch is refused; then each input has its own commit, until one is known to be guilty."""
    kind = {"harm": harm, "batch": batch}
    life, ends = until_it_stays(engine, published, **kind)
    assert 3 <= len(ends) <= 4
    assert all("a commit failed at" in end for end in ends)
    assert life.unit.fault is not None
    (fault,) = told(published, StageFaulted)
    assert (fault.stream, fault.position, fault.crashes) == (STREAM, AT, 3)
    assert HARMS[harm][1] in fault.error
    assert (taken(engine), letters(engine)) == (AT, [])
    for person in ("ann", "bob"):
        request_quarantine(engine, NAME, (STREAM, AT), person, "bug 9")
    life.work()
    life.work()
    assert (taken(engine), letters(engine)) == (len(LINES), [(AT, "QUARANTINED")])
    assert life.runner.counts.applied == len(LINES) - 1
    assert faults(engine, NAME) == []
    assert alert(engine).resolved_ts is not None


@pytest.mark.parametrize("batch", [1, 100])
def test_a_tick_that_cannot_be_stored_is_found_and_skipped(
    engine: Engine, published: ListPublisher, batch: int
) -> None:
    """The same for what a tick brings about."""
    kind: dict[str, Any] = {"harm": "constraint", "bug": "tick", "batch": batch}
    life, ends = until_it_stays(engine, published, **kind)
    assert 3 <= len(ends) <= 4
    (fault,) = told(published, StageFaulted)
    assert (fault.stream, fault.position, fault.crashes) == (TICKS, 0, 3)
    for person in ("ann", "bob"):
        request_quarantine(engine, NAME, (TICKS, 0), person, "bug 9")
    life.work()  # it looks
    with pytest.raises(StageFaultError, match="a commit failed at"):
        life.work()
    Life(engine, published, bug="none").live()
    assert (taken(engine), faults(engine, NAME)) == (len(LINES), [])
    assert letters(engine) == [(0, "QUARANTINED")]


def test_only_a_ledger_answers_for_counterparties() -> None:
    """The risk worker hears of others; it answers for none."""
    assert owned_counterparties(bootstrap.risk_pipeline(CONFIG)) == []
