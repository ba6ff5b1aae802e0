"""Formatting of numbers and moments for a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = "_.-~^"


def money(x: Decimal) -> str:
    """Return US dollars, with thousands separators and without cents.

    Examples
    --------
    >>> from decimal import Decimal
    >>> money(Decimal("1234567.89")), money(Decimal("-5.4"))
    ('1,234,568', '-5')
    """
    return f"{x:,.0f}"


def price(x: float) -> str:
    """Return a price with four decimals below 100, else with two.

    Examples
    --------
    >>> price(0.99341), price(20123.456)
    ('0.9934', '20,123.46')
    """
    return f"{x:.4f}" if x < 100.0 else f"{x:,.2f}"


def bp(x: float) -> str:
    """Return signed basis points.

    Examples
    --------
    >>> bp(-187.4), bp(3.0), bp(-0.001)
    ('-187.4', '+3.0', '+0.0')
    """
    return f"{round(x, 1) + 0.0:+.1f}"


def clock(ts: datetime) -> str:
    """Return day, hour and minute, UTC.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> clock(datetime(2023, 3, 11, 3, 13, tzinfo=UTC))
    '11 Mar 03:13'
    """
    return ts.strftime("%d %b %H:%M")


def sparkline(samples: Mapping[int, float], upto: int, width: int, *, ascii_only: bool) -> str:
    """Return samples per bucket as bars in one line, the newest on the right.

    The scale covers at least -10 to +10 (bp), so that calm series look calm. A bucket without a
    sample repeats the previous one.

    Parameters
    ----------
    samples : mapping of int to float
        Value by bucket.
    upto : int
        The newest bucket.
    width : int
        Characters.
    ascii_only : bool
        Whether to avoid block characters.

    Examples
    --------
    >>> sparkline({0: 0.0, 1: 10.0, 2: -10.0}, 3, 4, ascii_only=False)
    '▅█▁▁'
    >>> sparkline({}, 3, 4, ascii_only=False)
    '    '
    """
    marks = _ASCII if ascii_only else _BLOCKS
    low = min((-10.0, *samples.values()))
    high = max((10.0, *samples.values()))
    drawn = []
    mark = " "
    for bucket in range(min(samples, default=upto), upto + 1):
        if bucket in samples:
            share = (samples[bucket] - low) / (high - low)
            mark = marks[min(len(marks) - 1, int(share * len(marks)))]
        drawn.append(mark)
    return "".join(drawn)[-width:].rjust(width)
