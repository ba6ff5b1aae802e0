"""Delays, false alarms, causes and recovery, computed by hand."""

from __future__ import annotations

import pytest

from riskwatch.bench.case import EARLY, Case
from riskwatch.bench.outcome import outcome
from riskwatch.bench.timeline import delay_s, false_alarms, recovery_s, stated_cause
from riskwatch.bench.trial import ENSEMBLE
from riskwatch.core.clock import HOUR, MINUTE
from riskwatch.core.enums import Cause, State
from tests.unit.bench.samples import ONSET, case, change, fact, trial

NORMAL, WATCH, REDUCE, HALT = State


def test_delay_is_signed_and_none_if_it_never_came() -> None:
    """WATCH is half an hour early, HALT an hour late and also counts as REDUCE."""
    made = [
        change(ONSET - 30 * MINUTE, NORMAL, WATCH),
        change(ONSET + 60 * MINUTE, WATCH, HALT),
    ]
    assert [delay_s(made, fact(), s) for s in (WATCH, REDUCE, HALT)] == [-1800, 3600, 3600]
    assert delay_s(made[:1], fact(), HALT) is None


def test_a_state_that_ended_before_the_event_is_not_about_it() -> None:
    """Of two periods of WATCH, the one that ended before the event does not count."""
    made = [
        change(HOUR, NORMAL, WATCH),
        change(2 * HOUR, WATCH, NORMAL),
        change(ONSET + HOUR, NORMAL, WATCH),
    ]
    assert delay_s(made, fact(), WATCH) == 3600


def test_a_state_that_stands_for_days_is_no_long_lead() -> None:
    """It counts as reached at the earliest time that may be due to the event."""
    late = fact(onset=ONSET + EARLY)
    assert delay_s([change(HOUR, NORMAL, WATCH)], late, WATCH) == -EARLY / 1e6


def test_another_scope_is_no_lead() -> None:
    """Another scope counts only if it is given."""
    made = [change(ONSET, NORMAL, WATCH, "counterparty:V")]
    assert delay_s(made, fact(), WATCH) is None
    assert delay_s(made, fact(), WATCH, ("counterparty:V",)) == 0


def test_false_alarms_per_entity_month() -> None:
    """In a month of two entities: one false HALT (which enters all states) and one false WATCH."""
    made = [
        change(HOUR, NORMAL, HALT, "asset:B"),
        change(HOUR, NORMAL, WATCH, "counterparty:V"),
        change(ONSET, NORMAL, HALT),
    ]
    assert false_alarms(made, case()) == {WATCH: 2, REDUCE: 1, HALT: 1}
    scored = outcome(trial(case(), made), ENSEMBLE, 0)
    assert scored.entity_months == 2.0
    assert scored.false[WATCH] / scored.entity_months == 1.0
    assert outcome(trial(case(fact(), fact()), made), ENSEMBLE, 1).entity_months == 0.0


def test_what_goes_beyond_the_right_answer_is_false() -> None:
    """Where REDUCE is correct, HALT is a false alarm and REDUCE is not."""
    of = case(fact(answer=REDUCE))
    made = [change(ONSET, NORMAL, REDUCE), change(ONSET + HOUR, REDUCE, HALT)]
    assert false_alarms(made, of) == {WATCH: 0, REDUCE: 0, HALT: 1}


def test_a_ceiling_allows_and_time_limits_what_is_allowed() -> None:
    """B may be watched; A may not be watched long before its event or long after its end."""
    of = case(fact(over=ONSET + HOUR), B=WATCH)
    assert of.allowed("asset:B", 0) is WATCH
    assert of.allowed("asset:A", ONSET - EARLY - 1) is NORMAL
    assert of.allowed("asset:A", ONSET - EARLY) is HALT
    assert of.allowed("asset:A", ONSET + 13 * HOUR + 1) is NORMAL


def test_going_down_is_no_entry() -> None:
    """A change from HALT to REDUCE is not an entry."""
    assert false_alarms([change(HOUR, HALT, REDUCE, "asset:B")], case()) == {
        WATCH: 0, REDUCE: 0, HALT: 0,
    }  # fmt: skip


def test_back_to_normal_counts_from_the_end() -> None:
    """Recovery is two hours after the end, none while latched, zero if it was earlier."""
    over = fact(over=ONSET + HOUR)
    up = change(ONSET, NORMAL, WATCH)
    assert recovery_s([up, change(ONSET + 3 * HOUR, WATCH, NORMAL)], over) == 7200
    assert recovery_s([up, change(ONSET + MINUTE, WATCH, NORMAL)], over) == 0
    assert recovery_s([up], over) is None
    assert recovery_s([up, change(ONSET + 3 * HOUR, WATCH, NORMAL)], fact()) is None


def test_the_cause_is_that_of_the_strictest_decision() -> None:
    """The cause is that of the strictest decision of the scope, not of the first."""
    made = [
        change(ONSET, NORMAL, WATCH, cause=Cause.UNKNOWN),
        change(ONSET + HOUR, WATCH, HALT, cause=Cause.ISSUER),
        change(ONSET + 2 * HOUR, NORMAL, HALT, "asset:B", Cause.VENUE),
    ]
    assert stated_cause(made, fact()) is Cause.ISSUER


@pytest.mark.parametrize(
    ("feeds", "cause"),
    [(["v:A/USD"], Cause.FEED), (["v:AB/USD"], Cause.NONE), ([], Cause.NONE)],
)
def test_without_a_decision_a_feed_or_nothing_was_to_blame(feeds: list[str], cause: Cause) -> None:
    """Without a decision the cause is ``feed`` only for a feed of that coin."""
    assert stated_cause([], fact(), feeds) is cause


def test_a_cause_that_is_accepted_is_right_and_dollars_are_those_at_halt() -> None:
    """The exposure is that of the change to HALT."""
    made = [change(ONSET, NORMAL, HALT, cause=Cause.UNKNOWN, usd=5.0)]
    of: Case = case(fact(causes=(Cause.ISSUER, Cause.UNKNOWN)))
    scored = outcome(trial(of, made), ENSEMBLE, 0)
    assert (scored.cause_right, scored.exposed_usd, scored.latched) == (True, 5.0, True)
    wrong = outcome(trial(case(), made), ENSEMBLE, 0)
    assert wrong.cause_right is False
