"""The event-time grid: when ticks come, when they become rare, and stops that change nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskwatch.core.clock import DAY, HOUR, MINUTE, SECOND
from riskwatch.engine.clock import FINE_TICKS, HOURLY_TICKS, TickGrid
from riskwatch.errors import StoreError


def ticks(grid: TickGrid, *seconds: float) -> list[float]:
    """Ticks, in seconds, that events at these seconds bring."""
    return [t / SECOND for s in seconds for t in grid.before(round(s * SECOND))]


def test_a_tick_comes_after_all_events_up_to_it_and_before_the_next() -> None:
    """An event on a grid point goes before the tick of that point."""
    grid = TickGrid(MINUTE)
    assert ticks(grid, 60) == []
    assert ticks(grid, 60) == []
    assert ticks(grid, 60.000001) == [60]
    assert ticks(grid, 120) == []
    assert ticks(grid, 241) == [120, 180, 240]


def test_late_events_move_nothing() -> None:
    """Neither ticks nor the time reached go back."""
    grid = TickGrid(MINUTE)
    assert ticks(grid, 130, 10, 130, 181) == [180]
    assert grid.reached == 181 * SECOND


def test_a_long_silence_thins_out() -> None:
    """Each point 120 times, then on the hour for 31 days, then on the day."""
    grid = TickGrid(MINUTE)
    start = 90 * MINUTE
    found = [*grid.before(start), *grid.before(start + 40 * DAY + 1)]
    assert found[:FINE_TICKS] == [start + n * MINUTE for n in range(FINE_TICKS)]
    hourly = found[FINE_TICKS : FINE_TICKS + HOURLY_TICKS]
    assert hourly[0] == 4 * HOUR
    assert hourly == [hourly[0] + n * HOUR for n in range(HOURLY_TICKS)]
    daily = found[FINE_TICKS + HOURLY_TICKS :]
    assert daily == [n * DAY for n in range(32, 41)]
    assert grid.due == start + 40 * DAY + MINUTE, "an event ends the silence"


def test_hours_are_rounded_up_to_the_grid() -> None:
    """With a width that does not divide the hour, ticks stay on the grid."""
    grid = TickGrid(7 * MINUTE)
    found = [*grid.before(0), *grid.before(2 * DAY)]
    assert all(t % (7 * MINUTE) == 0 for t in found)
    assert {b - a for a, b in zip(found[FINE_TICKS:], found[FINE_TICKS + 1 :], strict=False)} == {
        56 * MINUTE, 63 * MINUTE
    }  # fmt: skip


def test_the_last_tick_is_at_or_after_the_last_event() -> None:
    """It comes once, and not at all where there was no event."""
    grid = TickGrid(MINUTE)
    assert list(grid.closing()) == []
    assert ticks(grid, 61) == []
    assert list(grid.closing()) == [2 * MINUTE]
    assert list(grid.closing()) == []
    assert ticks(grid, 119) == [], "time does not go back behind the last tick"
    assert list(grid.closing()) == []


def test_until_brings_the_ticks_up_to_it() -> None:
    """A tick on the very end is among them; none comes before the first event."""
    grid = TickGrid(MINUTE)
    assert list(grid.through(10 * MINUTE)) == []
    assert ticks(grid, 61) == []
    assert list(grid.through(4 * MINUTE)) == [2 * MINUTE, 3 * MINUTE, 4 * MINUTE]


def restarted(grid: TickGrid, rows: dict[str, bytes]) -> TickGrid:
    """Store a grid and load it into another."""
    rows |= {key: row for key, row in grid.drain().items() if row is not None}
    other = TickGrid(grid.tick_us)
    other.load(rows)
    return other


@given(st.lists(st.integers(0, 400 * HOUR), max_size=12), st.sets(st.integers(0, 11)))
def test_stops_change_no_tick(times: list[int], cuts: set[int]) -> None:
    """Stopping with `until` just before an event, and restarting, gives the same ticks."""
    whole, broken, rows = TickGrid(MINUTE), TickGrid(MINUTE), dict[str, bytes]()
    expected, found = [], []
    for n, us in enumerate(times):
        expected += list(whole.before(us))
        if n in cuts:
            if us > broken.reached:
                found += list(broken.through((broken.reached + us) // 2))
            broken = restarted(broken, rows)
        found += list(broken.before(us))
    assert found == expected
    assert (broken.reached, broken.due, broken.silent) == (
        whole.reached, whole.due, whole.silent
    )  # fmt: skip


def test_only_changes_are_stored() -> None:
    """Nothing before the first event, nothing for a late one, nothing after a restart."""
    grid, rows = TickGrid(MINUTE), dict[str, bytes]()
    assert grid.drain() == {}
    ticks(grid, 61)
    other = restarted(grid, rows)
    assert list(rows) == ["grid"]
    ticks(other, 30)
    assert other.drain() == {}


def test_one_history_has_one_width() -> None:
    """Going on with another width is refused, and the message says what to do."""
    grid, rows = TickGrid(MINUTE), dict[str, bytes]()
    ticks(grid, 61)
    restarted(grid, rows)
    with pytest.raises(StoreError, match=r"tick of 60 s, it cannot go on with one of 5 s: use"):
        TickGrid(5 * SECOND).load(rows)


def test_a_grid_has_a_width() -> None:
    """Zero would be an endless loop."""
    with pytest.raises(ValueError, match="tick must be > 0 us, was 0"):
        TickGrid(0)


def test_something_urgent_brings_a_tick_between_two() -> None:
    """At the moment itself, after those that were due; none before the first event."""
    grid = TickGrid(MINUTE)
    assert list(grid.now(70 * SECOND)) == []
    assert list(grid.before(10 * SECOND)) == []
    assert [us // SECOND for us in grid.now(70 * SECOND)] == [60, 70]
    assert list(grid.now(70 * SECOND)) == []
    assert [us // SECOND for us in grid.through(120 * SECOND)] == [120]


def test_live_ticks_do_not_thin_out() -> None:
    """What was missed does; the grid point of the moment always comes, and once."""
    grid = TickGrid(SECOND)
    assert list(grid.live(5 * SECOND)) == []
    assert list(grid.before(0)) == []
    found = [us for half in range(1, 2000) for us in grid.live(half * SECOND // 2)]
    assert found == [second * SECOND for second in range(1000)]
    missed = list(grid.live(3 * HOUR + 5))
    assert missed == [HOUR, 2 * HOUR, 3 * HOUR]
    assert list(grid.live(3 * HOUR + SECOND)) == [3 * HOUR + SECOND]
