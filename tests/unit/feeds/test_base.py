"""Sorting of bars within a bounded window."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from riskwatch.feeds import Bar, Reason, Tally
from riskwatch.feeds.base import order_bars

ONE = Decimal(1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 2)), max_size=60), st.integers(0, 40))
def test_strictly_increasing_and_conserved(rows: list[tuple[int, int]], window: int) -> None:
    """Times increase strictly, and every bar is yielded or skipped, whatever the order."""
    bars = [Bar(n, at, ONE, ONE, ONE, ONE, Decimal(v)) for n, (at, v) in enumerate(rows)]
    tally = Tally()
    passed = list(order_bars(iter(bars), window, tally))
    times = [bar.open_us for bar in passed]
    assert times == sorted(set(times))
    assert len(passed) + tally.skipped == len(bars)
    first = dict(reversed(rows))
    if window >= len(rows):
        assert {bar.open_us: int(bar.volume) for bar in passed} == first
        assert not tally.skips[Reason.OUT_OF_ORDER]


def test_no_window_holds_nothing_back() -> None:
    """Without a window, bars of an ordered file are yielded one by one."""
    seen: list[int] = []

    def bars() -> list[Bar]:
        return [Bar(n, n, ONE, ONE, ONE, ONE, ONE) for n in range(3)]

    def watched() -> object:
        for bar in bars():
            seen.append(bar.row)
            yield bar

    passed = order_bars(watched(), 0, Tally())  # type: ignore[arg-type] # a generator of bars
    assert next(passed).row == 0
    assert seen == [0]
