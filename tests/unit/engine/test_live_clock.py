"""The time of a live worker: bounded by the broker's time, steady when the wall clock is not."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from riskwatch.core.clock import DAY, HOUR, SECOND
from riskwatch.engine.clock import LiveClock, steady_us

START = 1_678_500_000 * SECOND
BOUND = SECOND


@dataclass
class Clocks:
    """A steady clock and a wall clock, which the test sets."""

    steady: int = 5 * SECOND
    wall: int = START

    def made(self) -> LiveClock:
        """Make the clock under test."""
        return LiveClock(BOUND, lambda: self.wall, lambda: self.steady)

    def later(self, us: int) -> None:
        """Let time pass on both."""
        self.steady += us
        self.wall += us


def test_nothing_is_known_before_the_broker_was_heard() -> None:
    """Timestamps of a backlog are old: they open nothing until all is read."""
    clocks = Clocks()
    clock = clocks.made()
    assert clock.now() == 0
    clock.note_caught_up()
    assert clock.now() == 0
    clock.note_broker(START - 3 * HOUR)
    assert (clock.now(), clock.ahead_us()) == (0, 0)
    clock.note_broker(0)
    clock.note_broker(START)
    clock.note_caught_up()
    assert clock.now() == START


def test_a_confirmation_is_as_new_as_can_be() -> None:
    """One record that the broker confirmed tells its time, unless it has none."""
    clock = Clocks().made()
    clock.note_confirmed(0)
    assert clock.now() == 0
    clock.note_confirmed(START)
    assert clock.now() == START


def test_a_wall_clock_ahead_is_bounded_and_said() -> None:
    """It passes the broker's time by the bound, however quiet the broker is."""
    clocks = Clocks()
    clock = clocks.made()
    clock.note_confirmed(START)
    clocks.wall += 2 * HOUR
    assert (clock.now(), clock.ahead_us()) == (START + BOUND, 2 * HOUR)
    clocks.later(HOUR)
    assert clock.now() == START + HOUR + BOUND
    clocks.wall -= 2 * HOUR
    assert clock.now() == START + HOUR


def test_a_wall_clock_that_is_set_back_does_not_stop_the_time() -> None:
    """The steady clock continues it, but not beyond the broker's time."""
    clocks = Clocks()
    clock = clocks.made()
    clock.note_confirmed(START)
    assert clock.now() == START
    clocks.wall -= DAY
    clocks.later(10 * SECOND)
    assert clock.now() == START + 10 * SECOND
    assert clock.process_us() == START + 10 * SECOND


def test_a_wall_clock_that_was_behind_from_the_start_is_taken() -> None:
    """Nothing raises the time to the broker's: that clock may be the wrong one."""
    clocks = Clocks()
    clock = clocks.made()
    clock.note_confirmed(START + 2 * HOUR)
    assert clock.now() == START


@given(
    st.lists(
        st.tuples(st.sampled_from(["pass", "wall", "broker"]), st.integers(-2 * DAY, 2 * DAY)),
        max_size=30,
    )
)
def test_the_time_is_never_ahead_of_the_broker_by_more_than_the_bound(
    steps: list[tuple[str, int]],
) -> None:
    """Whatever the wall clock does, and whatever old timestamps come."""
    clocks = Clocks()
    clock = clocks.made()
    clock.note_confirmed(START)
    broker, at = START, clocks.steady
    for what, us in steps:
        if what == "pass":
            clocks.later(abs(us))
        elif what == "wall":
            clocks.wall += us
        else:
            now = broker + clocks.steady - at
            clock.note_broker(now + us)
            broker, at = max(now, now + us), clocks.steady
        assert clock.now() <= broker + clocks.steady - at + BOUND


def test_the_steady_clock_grows() -> None:
    """It is real, in microseconds."""
    first = steady_us()
    assert first <= steady_us() < first + HOUR
