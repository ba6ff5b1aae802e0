"""Planned drills: in event time, once each, across restarts and late ticks."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.clock import DAY, HOUR, MINUTE, micros, rfc3339
from riskwatch.core.events import Tick
from riskwatch.core.outputs import DrillSignalled, KillSwitchChanged
from riskwatch.core.risk.config import DrillPlan, RiskConfig
from riskwatch.core.risk.drills import last_due
from riskwatch.core.risk.stage import RiskStage
from tests.support.risk import LIMITS, REFERENCE, RULES, ZERO_US, Desk, NoScorer, of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.core.stage import RowChanges

WEEKLY = DrillPlan(id="weekly", scope="firm", every_s=604_800.0, at="10:00", weekday="mon")
DAILY = DrillPlan(id="daily", scope="asset:USDC", every_s=86_400.0, at="06:30", expect=("desk-1",))


def office(*plans: DrillPlan) -> Desk:
    """Return a risk stage with drill plans."""
    config = RiskConfig(drills=plans)
    return Desk(RiskStage(config, REFERENCE, LIMITS, RULES, NoScorer()))


def ticks(first: int, last: int, every: int = MINUTE) -> Iterable[Tick]:
    """Yield ticks from one time to another."""
    return (Tick(us) for us in range(first, last + 1, every))


@pytest.mark.parametrize(
    ("plan", "at", "due"),
    [
        ({"every_s": 86_400.0}, "2023-03-11T03:00:00", "2023-03-11T00:00:00Z"),
        ({"every_s": 86_400.0, "at": "06:30"}, "2023-03-11T06:29:59", "2023-03-10T06:30:00Z"),
        ({"every_s": 86_400.0, "at": "06:30"}, "2023-03-11T06:30:00", "2023-03-11T06:30:00Z"),
        ({"every_s": 604_800.0, "weekday": "sat"}, "2023-03-11T01:00:00", "2023-03-11T00:00:00Z"),
        ({"every_s": 604_800.0, "weekday": "sun"}, "2023-03-11T01:00:00", "2023-03-05T00:00:00Z"),
        ({"every_s": 3_600.0, "at": "00:05"}, "2023-03-11T01:04:00", "2023-03-11T00:05:00Z"),
    ],
)  # fmt: skip
def test_when_a_plan_is_due(plan: dict[str, Any], at: str, due: str) -> None:
    """Due times follow time of day and weekday, UTC."""
    made = DrillPlan(id="p", scope="firm", **plan)
    assert rfc3339(last_due(made, micros(datetime.fromisoformat(f"{at}+00:00")))) == due


def test_a_new_plan_waits_for_its_moment_and_is_then_followed() -> None:
    """A drill is signalled once at each due time, with its clients; no switch changes."""
    d = office(DAILY)
    d.tell(*ticks(ZERO_US, ZERO_US + 2 * DAY + 7 * HOUR))
    signals = of(d.out, DrillSignalled)
    days = ["2023-03-11T06:30:00Z", "2023-03-12T06:30:00Z", "2023-03-13T06:30:00Z"]
    assert [rfc3339(micros(s.ts)) for s in signals] == days
    first = signals[0]
    assert (first.scope, first.plan, first.person) == ("asset:USDC", "daily", "schedule")
    assert first.expect == ["desk-1"]
    assert len({s.id for s in signals}) == len(signals)
    assert not of(d.out, KillSwitchChanged)


def test_a_restart_repeats_none() -> None:
    """Rows hold the last due time; a drill missed meanwhile is signalled once."""
    d = office(DAILY, WEEKLY)
    rows: RowChanges = {}
    d.tell(*ticks(ZERO_US, ZERO_US + 7 * HOUR))
    rows |= d.state.drain()
    again = office(DAILY, WEEKLY)
    again.state.load({key: row for key, row in rows.items() if row is not None})
    again.tell(*ticks(ZERO_US + 7 * HOUR, ZERO_US + 8 * HOUR))
    assert not of(again.out, DrillSignalled)
    # A silence of three days and a half: one of each, not one for each day.
    again.tell(Tick(ZERO_US + 4 * DAY), Tick(ZERO_US + 4 * DAY + MINUTE))
    made = [(s.plan, rfc3339(micros(s.ts))) for s in of(again.out, DrillSignalled)]
    assert made == [("daily", "2023-03-15T00:00:00Z"), ("weekly", "2023-03-15T00:00:00Z")]


def test_what_is_due_does_not_depend_on_where_it_stopped() -> None:
    """An interruption at any tick gives the same drills with the same ids."""
    whole = office(DAILY)
    steps = list(ticks(ZERO_US, ZERO_US + 2 * DAY, 30 * MINUTE))
    whole.tell(*steps)
    rows: dict[str, bytes] = {}
    out = []
    for step in steps:
        part = office(DAILY)
        part.state.load(rows)
        out += part.tell(step)
        for key, row in part.state.drain().items():
            rows.pop(key, None)
            rows |= {} if row is None else {key: row}
    assert [o.id for o in of(out, DrillSignalled)] == [o.id for o in of(whole.out, DrillSignalled)]


def test_a_plan_that_is_gone_leaves_no_row() -> None:
    """A plan that comes back starts anew."""
    d = office(DAILY)
    d.tell(*ticks(ZERO_US, ZERO_US + MINUTE))
    rows = d.state.drain()
    without = office()
    without.state.load({key: row for key, row in rows.items() if row is not None})
    without.tell(Tick(ZERO_US + DAY))
    assert without.state.drain()["drill/daily"] is None
    assert not of(without.out, DrillSignalled)
