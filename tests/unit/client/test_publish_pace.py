"""Pacing by event time, on a test clock."""

from __future__ import annotations

import pytest

from riskwatch.client import Pace
from riskwatch.core.clock import SECOND


class Clock:
    """Time that passes by sleep or by work."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance the time."""
        self.slept.append(seconds)
        self.now += seconds


@pytest.mark.parametrize(("speed", "slept"), [(1.0, [10.0, 20.0]), (10.0, [1.0, 2.0]), (0.0, [])])
def test_events_wait_for_their_turn(speed: float, slept: list[float]) -> None:
    """The first event is sent at once, each other one at its distance divided by the speed."""
    clock = Clock()
    pace = Pace(speed, clock=clock, sleep=clock.sleep)
    for second in (1000, 1010, 1010, 1030):
        pace.wait(second * SECOND)
    assert clock.slept == slept


def test_lost_time_is_made_up() -> None:
    """Work between events shortens the waits, and an old event does not wait."""
    clock = Clock()
    pace = Pace(1.0, clock=clock, sleep=clock.sleep)
    pace.wait(0)
    clock.now += 4
    for second in (5, 3, 10):
        pace.wait(second * SECOND)
    assert clock.slept == [1.0, 5.0]
