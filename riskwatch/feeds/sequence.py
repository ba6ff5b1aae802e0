"""Bars in the order of time, each once, with a bounded number of them held back."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from riskwatch.feeds.record import Bar, Reason, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator


def in_order(bars: Iterator[Bar], window: int, tally: Tally) -> Iterator[Bar]:
    """Yield `bars` by strictly increasing opening time, holding back at most `window`.

    Of two bars with one opening time the first read is kept; the other is skipped as a
    duplicate, or as a conflict where its numbers differ. What comes after a later bar was
    passed on is skipped as out of order.

    Examples
    --------
    >>> from decimal import Decimal
    >>> one = Decimal(1)
    >>> rows = [Bar(n, t, one, one, one, one, one) for n, t in enumerate((3, 1, 2, 2, 5, 0))]
    >>> tally = Tally()
    >>> [bar.open_us for bar in in_order(iter(rows), 2, tally)], dict(tally.skips)
    ([1, 2, 3, 5], {<Reason.DUPLICATE: 'duplicate'>: 1, <Reason.OUT_OF_ORDER: 'out_of_order'>: 1})
    """
    held: dict[int, Bar] = {}
    times: list[int] = []
    last: Bar | None = None
    for bar in bars:
        twin = last if last is not None and last.open_us == bar.open_us else held.get(bar.open_us)
        if twin is not None:
            tally.skip(bar.row, _twins(twin, bar), f"row {twin.row}")
        elif last is not None and bar.open_us < last.open_us:
            tally.skip(bar.row, Reason.OUT_OF_ORDER, f"row {last.row} was passed on")
        else:
            held[bar.open_us] = bar
            heappush(times, bar.open_us)
            if len(times) > window:
                last = held.pop(heappop(times))
                yield last
    while times:
        yield held.pop(heappop(times))


def _twins(first: Bar, second: Bar) -> Reason:
    same = (first.open, first.high, first.low, first.close, first.volume) == (
        second.open,
        second.high,
        second.low,
        second.close,
        second.volume,
    )
    return Reason.DUPLICATE if same else Reason.CONFLICT
