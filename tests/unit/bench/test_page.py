"""The report of a run: every case is shown, and criteria that were not evaluated are named."""

from __future__ import annotations

from dataclasses import replace

from riskwatch.bench.page import page
from riskwatch.bench.scoreboard import Scoreboard
from riskwatch.core.clock import DAY
from riskwatch.core.enums import State
from tests.unit.bench.samples import ONSET, case, change, fact, trial


def test_a_case_in_which_nothing_happened_has_a_page() -> None:
    """A recording without an event is drawn like any other."""
    twice = case(fact(over=ONSET + DAY), fact(onset=ONSET + 10 * DAY))
    assert page(Scoreboard.of([trial(case(fact()), []), trial(twice, [])]), "").count("<svg") == 1


def test_causes_of_recordings_are_shown_and_not_judged() -> None:
    """Causes on recordings do not count, because a price does not show why a venue fails."""
    halted = [change(ONSET, State.NORMAL, State.HALT)]
    known, unknown = (
        trial(case(name="a"), halted),
        trial(replace(case(name="b"), recorded=True), []),
    )
    (line,) = [c.line for c in Scoreboard.of([known, unknown]).criteria if "cause" in c.name]
    assert line.startswith("PASS ")
    assert "1 of 1 runs; recordings 0 of 1 runs; b asset:A seed 1 none" in line
