"""The evaluation of drills: once each, by the answers and by the real table in SQL."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from riskwatch.acks.acknowledgements import Acknowledgements
from riskwatch.acks.drills import (
    ANSWER_TIMEOUT_S,
    DISTURBED,
    FAILED,
    MAX_SIGNAL_AGE_S,
    MISSED_AFTER_S,
    PASSED,
    ClientResponse,
    DrillEvaluator,
    DrillReport,
    RealState,
    drill_report,
    drill_row,
    format_report,
)
from riskwatch.core.clock import micros, moment
from riskwatch.core.enums import State
from riskwatch.core.risk.config import DrillPlan
from riskwatch.core.risk.drills import last_due
from riskwatch.core.risk.state import DrillRow
from riskwatch.core.stage import encode_row
from riskwatch.store import drills as store
from riskwatch.store import migrate
from riskwatch.store.batch import Batch, Counts, SequencedOutput
from riskwatch.store.engine import open_engine
from riskwatch.store.transaction import commit, take_lease
from tests.support.drills import ack, at, drill_ack, signal
from tests.support.mirror import switch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy.engine import Engine

    from riskwatch.core.outputs import Output
    from riskwatch.core.stage import RowChanges

SAME: Final = RealState("digest", "digest")
FINE: Final = ClientResponse("a", 0.1, 0.2, [])
DAILY: Final = DrillPlan(id="daily", scope="firm", every_s=86_400.0)


@pytest.mark.parametrize(
    ("expected", "answers", "real", "outcome", "problem"),
    [
        (["a"], [FINE], SAME, PASSED, ""),
        (["a", "b"], [FINE], SAME, FAILED, "b did not answer"),
        ([], [], SAME, FAILED, "there is no client to exercise"),
        (["a"], [ClientResponse("a", 0.1, 0.2, ["x changed"])], SAME, FAILED, "a: x changed"),
        (["a"], [FINE], RealState("one", "two", ["firm HALT (d)"]), DISTURBED, "firm HALT (d)"),
        (["a"], [FINE], RealState("one", "two"), FAILED, "no decision says why"),
        (["a"], [], RealState("one", "two", ["firm HALT (d)"]), FAILED, "a did not answer"),
        (["a"], [FINE], RealState("one", "one", [], 2), FAILED, "turned 2 real switches"),
        (["a"], [FINE], RealState("", "two"), FAILED, "heard of too late"),
    ],
)
def test_what_comes_of_a_drill(
    expected: list[str], answers: list[ClientResponse], real: RealState, outcome: str, problem: str
) -> None:
    """Passed only if all answered as they must, and nothing real changed."""
    report = drill_report(signal(), expected, answers, real)
    assert report.outcome == outcome
    assert problem in format_report(report)
    assert outcome.upper() in format_report(report)
    assert msgspec.convert(msgspec.to_builtins(report), type=DrillReport) == report


class Firm:
    """A database that a risk worker and a listener write to, and the listener's book."""

    def __init__(self, engine: Engine, *plans: DrillPlan) -> None:
        self.engine = engine
        self.acks = Acknowledgements()
        self.evaluator = DrillEvaluator(self.acks, plans)
        self.lease = take_lease(engine, "clients", "test").epoch
        self.risk = take_lease(engine, "risk", "test")
        self.seq = self.risk.next_seq

    def commit(self, *outputs: Output, rows: RowChanges | None = None) -> None:
        """Make something true, as the risk worker does."""
        made = []
        for output in outputs:
            made.append(SequencedOutput(self.seq, output))
            self.seq += 1
        counts = Counts(self.seq, self.seq)
        stages = {} if rows is None else {"risk": rows}
        commit(
            self.engine, Batch("risk", self.risk.epoch, outputs=made, counts=counts, rows=stages)
        )

    def knows(self, *clients: str, **changes: Any) -> None:
        """Hear clients."""
        for client in clients:
            self.acks.add_ack(ack(client, **changes), changes.get("started", at(-1)))

    def turn(self, now: datetime) -> list[DrillReport]:
        """Take a turn as the listener does."""
        found = self.evaluator.evaluate(self.engine, now)
        for report in found:
            store.write_drill(self.engine, ("clients", self.lease), drill_row(report))
            self.evaluator.mark_evaluated(report)
        return found

    def again(self, *plans: DrillPlan) -> DrillEvaluator:
        """The book of a listener that begins."""
        self.evaluator = DrillEvaluator(self.acks, plans)
        with self.engine.connect() as conn:
            self.evaluator.load(conn, at(60))
        return self.evaluator


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Return a database of one's own."""
    url = f"sqlite:///{tmp_path / 'drills.db'}"
    migrate.upgrade(url)
    opened = open_engine(url)
    yield opened
    opened.dispose()


def test_all_that_are_known_must_answer(engine: Engine) -> None:
    """The report waits for the slowest, names the silent, and leaves out who was not there."""
    firm = Firm(engine)
    firm.knows("a", "silent")
    firm.knows("gone", ended=True)
    firm.knows("young", started=at(0.5))
    firm.commit(signal(expect=["named"]))
    firm.evaluator.add_signal(signal(expect=["named"]), at(0.05))
    assert firm.turn(at(0.1)) == []
    firm.evaluator.add_answer(drill_ack("a"), at(0.3))
    firm.evaluator.add_answer(drill_ack("a", refused=False), at(0.4))  # the first word counts
    firm.evaluator.add_answer(drill_ack("other", number=2), at(0.4))
    assert firm.turn(at(ANSWER_TIMEOUT_S - 0.1)) == []
    (report,) = firm.turn(at(0.1 + ANSWER_TIMEOUT_S))
    assert report.expected == ["a", "named", "silent"]
    assert report.silent == ["named", "silent"]
    assert [(each.client, each.round_trip_s) for each in report.answered] == [("a", 0.3)]
    assert report.real.before == report.real.after != ""
    assert firm.turn(at(60)) == []
    with engine.connect() as conn:
        (kept,) = store.drills(conn, 5)
    assert (kept["outcome"], kept["expected"], kept["answered"]) == (FAILED, 3, 1)
    assert list(firm.evaluator.due_alerts()) == ["drill:firm"]


def test_a_drill_that_all_answered_is_over_at_once(engine: Engine) -> None:
    """And ends the alert about the one before it on the same scope."""
    firm = Firm(engine)
    firm.knows("a")
    firm.evaluator.add_signal(signal(), at(0))
    assert firm.turn(at(ANSWER_TIMEOUT_S))[0].outcome == FAILED
    assert firm.evaluator.due_alerts()
    firm.evaluator.add_signal(signal(2, 20), at(20))
    firm.evaluator.add_answer(drill_ack("a", 2), at(20.2))
    assert firm.turn(at(20.3))[0].outcome == PASSED
    assert not firm.evaluator.due_alerts()


def test_a_real_decision_meanwhile_disturbs_it(engine: Engine) -> None:
    """What stood before and after is read from SQL, and the decision is named."""
    firm = Firm(engine)
    firm.knows("a")
    firm.evaluator.add_signal(signal(), at(0))
    firm.turn(at(0.1))
    made = msgspec.structs.replace(switch("asset:USDC", State.HALT, 7), ts=at(0.2))
    firm.commit(made)
    firm.evaluator.add_answer(drill_ack("a"), at(0.3))
    (report,) = firm.turn(at(0.4))
    assert report.outcome == DISTURBED
    assert "asset:USDC HALT" in report.problems[0]


def test_a_drill_that_turned_a_switch_failed(engine: Engine) -> None:
    """Whatever has the drill's cause and is a real switch is found."""
    firm = Firm(engine)
    firm.knows("a")
    cause = msgspec.structs.replace(switch("asset:USDC", State.HALT, 7), ts=at(0), cause_id="cli/1")
    firm.commit(signal(), cause)
    firm.evaluator.add_signal(signal(), at(0))
    firm.evaluator.add_answer(drill_ack("a"), at(0.3))
    (report,) = firm.turn(at(0.4))
    assert (report.outcome, report.real.caused) == (FAILED, 1)


def test_a_listener_that_begins_judges_none_twice(engine: Engine) -> None:
    """What is in SQL is known; what nobody judged is, without a word about what was before."""
    firm = Firm(engine)
    firm.knows("a")
    firm.evaluator.add_signal(signal(), at(0))
    firm.turn(at(ANSWER_TIMEOUT_S))
    book = firm.again()
    assert list(book.due_alerts()) == ["drill:firm"]
    book.add_signal(signal(), at(60))
    book.add_signal(signal(2, 1), at(MAX_SIGNAL_AGE_S + 60))
    book.add_answer(drill_ack("a", 2), at(1.2))
    (report,) = firm.turn(at(MAX_SIGNAL_AGE_S + 61))
    assert (report.id, report.outcome) == ("drill-2", FAILED)
    assert report.problems == ["heard of too late to say whether anything real changed"]


def test_a_drill_that_was_due_and_not_run_is_told(engine: Engine) -> None:
    """From five minutes after its moment, with what is known of why; a drill ends it."""
    firm = Firm(engine, DAILY)
    now = at(0)
    due = moment(last_due(DAILY, micros(now)))
    before = micros(due - timedelta(days=1))
    firm.commit(rows={"drill/daily": encode_row(DrillRow(before, before))})
    firm.turn(due + timedelta(seconds=MISSED_AFTER_S - 1))
    assert not firm.evaluator.due_alerts()
    firm.turn(due + timedelta(seconds=MISSED_AFTER_S + 10))
    (alert,) = firm.evaluator.due_alerts().values()
    assert alert.title == "the drill of firm is overdue"
    assert alert.reasons[1] == "it was not signalled"
    firm.knows("a")
    firm.evaluator.add_signal(signal(), now)
    firm.evaluator.add_answer(drill_ack("a"), at(0.3))
    firm.turn(at(0.4))
    firm.turn(at(10))
    assert not firm.evaluator.due_alerts()


def test_a_plan_that_is_new_is_not_overdue(engine: Engine) -> None:
    """It counts from when the risk worker followed it; one that it does not know is told."""
    firm = Firm(engine, DAILY)
    now = at(0)
    firm.commit(
        rows={"drill/daily": encode_row(DrillRow(micros(now), last_due(DAILY, micros(now))))}
    )
    firm.turn(now)
    assert not firm.evaluator.due_alerts()
    unknown = Firm(engine, msgspec.structs.replace(DAILY, id="else"))
    unknown.turn(now)
    assert not unknown.evaluator.due_alerts()
    unknown.turn(now + timedelta(days=1, minutes=10))
    (alert,) = unknown.evaluator.due_alerts().values()
    assert "does not know the plan" in alert.reasons[1]
