"""Static rules, and choices that leave the scored event out."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from riskwatch.bench import leave_one_out
from riskwatch.bench.case import Case
from riskwatch.bench.criteria import FAIL, PASS, compare_with_static, controls, deadlines
from riskwatch.bench.leave_one_out import OptionScore, best_static, fastest_within_alarms
from riskwatch.bench.static import PLAIN, DeviationReading, StaticRule, alarms
from riskwatch.bench.trial import Prediction, generation_changes, warnings
from riskwatch.core.clock import HOUR, MINUTE
from riskwatch.core.enums import State
from riskwatch.scenarios.episode import load
from tests.unit.bench.samples import ONSET, case, change, fact, seen, trial

NORMAL, WATCH, REDUCE, HALT = State


def test_a_static_rule_waits_for_its_dwell_and_lets_go_after_an_hour() -> None:
    """The alarm starts after five minutes beyond 20 bp, and ends after an hour below."""
    series = seen(0.0, *[-25.0] * 7, *[0.0] * 70)
    made = alarms(PLAIN, {"A": series}, WATCH)
    assert [(c.us // MINUTE, c.state) for c in made] == [(6, WATCH), (68, NORMAL)]


def test_one_reading_below_begins_the_dwell_again() -> None:
    """A reading below the level restarts the dwell; a premium counts like a discount."""
    series = seen(*[30.0] * 4, 0.0, *[-30.0] * 6)
    assert [c.us // MINUTE for c in alarms(PLAIN, {"A": series}, WATCH)] == [10]


def test_what_cannot_be_trusted_is_not_seen() -> None:
    """Readings that are not trusted do not start an alarm."""
    series = [DeviationReading(n * MINUTE, -50.0, trusted=False) for n in range(60)]
    assert alarms(StaticRule(20.0, 0), {"A": series}, WATCH) == []


MARKS = {
    "slow": [
        OptionScore("a", (600.0,), 0),
        OptionScore("b", (600.0,), 0),
        OptionScore("c", (600.0,), 0),
    ],
    "fast": [
        OptionScore("a", (60.0,), 0),
        OptionScore("b", (60.0,), 0),
        OptionScore("c", (60.0,), 5),
    ],
    "blind": [
        OptionScore("a", (inf,), 0),
        OptionScore("b", (inf,), 0),
        OptionScore("c", (0.0,), 0),
    ],
}


@pytest.mark.parametrize(("kin", "chosen"), [("a", "slow"), ("b", "slow"), ("c", "fast")])
def test_the_scored_event_has_no_say(kin: str, chosen: str) -> None:
    """`fast` is noisy on c only, so it is chosen only when c is scored."""
    ensemble = [OptionScore(k, (60.0,), 0) for k in "abc"]
    assert best_static(MARKS, ensemble, kin) == chosen


def test_who_raises_more_false_alarms_than_the_ladder_is_no_opponent() -> None:
    """A rule with more false alarms than the ensemble is not chosen."""
    noisy = [OptionScore(k, (60.0,), 5) for k in "abc"]
    assert best_static(MARKS, noisy, "a") == "fast"
    assert fastest_within_alarms({"fast": MARKS["fast"]}, "a", 4) is None


def test_seeds_of_one_event_are_left_out_together() -> None:
    """Two trials of one event are both left out."""
    marks = [OptionScore("a", (1.0,), 0), OptionScore("a", (2.0,), 0), OptionScore("b", (3.0,), 0)]
    assert [m.kin for m in leave_one_out.exclude_event(marks, "a")] == ["b"]


def test_a_miss_counts_as_never() -> None:
    """With two of three missed, the median is never."""
    marks = [OptionScore("a", (1.0,), 0), OptionScore("b", (inf, inf), 0)]
    assert leave_one_out.median_delay(marks) == inf


def test_a_ladder_that_is_later_is_told() -> None:
    """Of two events, the criterion lists the one on which the ensemble takes an hour longer."""
    broken = {"A": seen(*[0.0] * 600, *[-100.0] * 600)}
    soon = [change(ONSET, NORMAL, WATCH)]
    late = [change(ONSET + HOUR, NORMAL, WATCH)]
    days = 1.0
    trials = [
        trial(case(name="one", days=days), soon, series=broken),
        trial(case(name="two", days=days), late, series=broken),
    ]
    alarms = leave_one_out.static_alarms(trials)
    found = compare_with_static(trials, alarms, WATCH)
    assert found.verdict == FAIL
    assert "two asset:A 60 min after" in found.said
    both = [trials[0], trial(case(name="two", days=days), soon, series=broken)]
    assert compare_with_static(both, alarms, WATCH).verdict == PASS


def test_a_control_that_is_halted_is_told() -> None:
    """The criterion lists a halted control, and not a reduced one."""
    calm = case(fact(control=True, answer=REDUCE))
    assert controls([trial(calm, [change(ONSET, NORMAL, REDUCE)])]).verdict == PASS
    halted = controls([trial(calm, [change(ONSET, NORMAL, HALT, "counterparty:V")])])
    assert halted.verdict == FAIL
    assert "counterparty:V" in halted.said


def test_a_deadline_that_is_missed_is_told() -> None:
    """The criterion lists a late and a missing state, and not one in time."""
    of = case()
    due = (("asset:A", WATCH, ONSET), ("asset:A", HALT, ONSET))
    late = replace(of, deadlines=due[:1])
    made = [change(ONSET + HOUR, NORMAL, WATCH)]
    assert "WATCH 60 min late" in deadlines([trial(late, made)]).said
    assert deadlines([trial(late, [change(ONSET, NORMAL, REDUCE)])]).verdict == PASS
    never = deadlines([trial(replace(of, deadlines=due), [change(ONSET, NORMAL, WATCH)])])
    assert never.verdict == FAIL
    assert "1 of 2" in never.said
    assert "HALT never" in never.said


def test_an_episode_brings_its_deadlines_and_ceilings() -> None:
    """A case has the deadlines and ceilings of the episode's labels."""
    of = Case.of(load("ust_2022"))
    assert [(scope, state) for scope, state, _ in of.deadlines] == [
        ("asset:UST", REDUCE), ("asset:UST", HALT),
    ]  # fmt: skip
    assert of.ceilings["asset:USDT"] is WATCH


LOW, HIGH = "depeg(discount 50bp, 1h)", "depeg(discount 200bp, 1h, from 50bp)"


def scores(target: str, *probabilities: float) -> list[Prediction]:
    """Return scores of one generation every five minutes."""
    return [
        Prediction(5 * n * MINUTE, "asset:A", target, "g", p) for n, p in enumerate(probabilities)
    ]


def test_a_probability_warns_when_it_is_held() -> None:
    """One score above the threshold is not enough, two are."""
    made = warnings(scores(LOW, 0.9, 0.1, 0.9, 0.9), "g", LOW, 0.5, WATCH)
    assert [c.us // MINUTE for c in made] == [15]


def test_a_generation_alone_climbs_and_latches() -> None:
    """The onset gives WATCH, the escalation HALT, and HALT latches."""
    both = sorted(scores(LOW, *[0.9] * 40) + scores(HIGH, 0.1, 0.1, 0.95, 0.95, *[0.0] * 36))
    made = generation_changes(both, "g")
    assert [(c.us // MINUTE, c.state) for c in made] == [(5, WATCH), (15, HALT)]
