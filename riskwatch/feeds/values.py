"""Conversion of the cells of a recording into exact numbers and times."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from riskwatch.core.clock import DAY, HOUR, MINUTE, SECOND, micros
from riskwatch.core.money import MAX_ABS, MAX_SCALE, canonical
from riskwatch.errors import FeedError
from riskwatch.feeds.record import Reason

_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_EPOCH: Final = re.compile(r"(\d{9,20})(?:\.(\d*))?", re.ASCII)
_STEP: Final = re.compile(r"([1-9]\d{0,5})([smhd])", re.ASCII)
_ZONE: Final = re.compile(r"(?:UTC|GMT|Z)?(?:([+-])(\d{1,2})(?::?(\d\d))?)?", re.ASCII)
_UTC: Final = frozenset({"UTC", "GMT", "Z"})
_UNITS: Final = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_NOT_FINITE: Final = frozenset({"nan", "inf", "infinity"})
_FROM: Final = micros(datetime(1990, 1, 1, tzinfo=UTC))
_TO: Final = micros(datetime(2100, 1, 1, tzinfo=UTC))
_MAX_GAPS: Final = 10_000

Cell = str | int | None
"""A cell of a table: text, or microseconds where the file has a time type."""


class BadCellError(ValueError):
    """A cell cannot be used. The reader catches this error and skips the row for `reason`."""

    def __init__(self, reason: Reason, detail: object) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail!r}")


def number(cell: Cell) -> Decimal:
    """Return the exact number in the text of a cell.

    Raises
    ------
    BadCellError
        If it is empty, not a finite number, or outside the range of the wire contract.

    Examples
    --------
    >>> number("0.99970000"), number("1e-07")
    (Decimal('0.9997'), Decimal('1E-7'))
    >>> number("NaN")
    Traceback (most recent call last):
    riskwatch.feeds.values.BadCellError: not_finite: 'NaN'
    """
    text = "" if cell is None else str(cell).strip()
    if _NUMBER.fullmatch(text) is None:
        if not text:
            raise BadCellError(Reason.MISSING, text)
        finite = text.lstrip("+-").lower() not in _NOT_FINITE
        raise BadCellError(Reason.NOT_A_NUMBER if finite else Reason.NOT_FINITE, text)
    value = Decimal(text)
    if abs(value) >= MAX_ABS:
        raise BadCellError(Reason.TOO_LARGE, text)
    value = canonical(value)
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -MAX_SCALE:
        raise BadCellError(Reason.TOO_LARGE, text)
    return value


def time_us(cell: Cell) -> int:
    """Return a cell in microseconds since 1970: a time value, epoch text, or ISO 8601 text.

    The size of an epoch determines its unit, value by value, because some venues changed from
    milliseconds to microseconds within one archive. Text without a zone is taken as UTC.

    Raises
    ------
    BadCellError
        If it is not a time between 1990 and 2100.

    Examples
    --------
    >>> time_us("1677628800") == time_us("1677628800000") == time_us("2023-03-01 00:00:00")
    True
    """
    if isinstance(cell, int):
        us = cell
    else:
        text = (cell or "").strip()
        epoch = _EPOCH.fullmatch(text)
        us = _epoch(epoch[1], epoch[2] or "") if epoch else _iso(text)
    if not _FROM <= us < _TO:
        raise BadCellError(Reason.BAD_TIME, cell)
    return us


def _epoch(whole: str, fraction: str) -> int:
    scale = next(s for s, size in ((6, 11), (3, 14), (0, 17), (-3, 99)) if len(whole) <= size)
    if scale < 0:
        return int(whole) // 1000
    return int(whole + (fraction + "000000")[:scale])


def _iso(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadCellError(Reason.BAD_TIME, text) from None
    return micros(at if at.tzinfo else at.replace(tzinfo=UTC))


def parse_step(text: str) -> int:
    """Return the microseconds of a step such as ``30s``, ``1m``, ``15m``, ``1h``, ``1d``.

    Raises
    ------
    FeedError
        If it has another form.

    Examples
    --------
    >>> parse_step("15m") // SECOND
    900
    """
    match = _STEP.fullmatch(text)
    if match is None:
        raise FeedError(f"--step must be a whole number with s, m, h or d, was {text!r}")
    return int(match[1]) * _UNITS[match[2]]


def parse_zone(text: str) -> int:
    """Return what a clock of a zone such as ``UTC+8`` is ahead of UTC, microseconds.

    Raises
    ------
    FeedError
        If it has another form.

    Examples
    --------
    >>> parse_zone("UTC+8") // HOUR, parse_zone("-05:30") // MINUTE, parse_zone("UTC")
    (8, -330, 0)
    """
    match = _ZONE.fullmatch(text.strip().upper())
    if match is None or (match[1] is None and match[2] is None and match[0] not in _UTC):
        raise FeedError(f"--zone must be UTC with an offset, such as UTC+8, was {text!r}")
    ahead = int(match[2] or 0) * HOUR + int(match[3] or 0) * MINUTE
    return -ahead if match[1] == "-" else ahead


def step_text(us: int) -> str:
    """Return a duration in its largest whole unit, the inverse of :func:`parse_step`.

    Examples
    --------
    >>> step_text(900 * SECOND), step_text(1_500_000)
    ('15m', '1.5s')
    """
    for unit in "dhms":
        if us and us % _UNITS[unit] == 0:
            return f"{us // _UNITS[unit]}{unit}"
    return f"{us / SECOND:g}s"


class StepEstimator:
    """Estimates the step of a column of times, and checks whether they are in order.

    Examples
    --------
    >>> steps = StepEstimator()
    >>> for t in (0, 60, 120, 300):
    ...     steps.add(t * SECOND)
    >>> step_text(steps.step(name="x.csv")), steps.ordered
    ('1m', True)
    """

    def __init__(self) -> None:
        self.ordered = True
        self._gaps: Counter[int] = Counter()
        self._last: int | None = None

    def add(self, us: int) -> None:
        """Add the next row's time."""
        if self._last is not None:
            gap = us - self._last
            self.ordered = self.ordered and gap >= 0
            if gap and (abs(gap) in self._gaps or len(self._gaps) < _MAX_GAPS):
                self._gaps[abs(gap)] += 1
        self._last = us

    def mode(self) -> int | None:
        """Return the most common distance between rows; the shortest of several."""
        if not self._gaps:
            return None
        return min(self._gaps, key=lambda gap: (-self._gaps[gap], gap))

    def step(self, *, name: str, given: int | None = None) -> int:
        """Return the step: `given`, or the most common distance between rows.

        Raises
        ------
        FeedError
            If it cannot be inferred, or bars of the given step would overlap.
        """
        mode = self.mode()
        if given is not None:
            if mode is not None and given > mode:
                raise FeedError(
                    f"{name}: --step {step_text(given)} is longer than the commonest distance "
                    f"between rows, {step_text(mode)}: bars would overlap"
                )
            return given
        if mode is None:
            raise FeedError(f"{name}: fewer than two usable times: give the bar length by --step")
        shorter = sum(n for gap, n in self._gaps.items() if gap < mode)
        if mode < SECOND or shorter > self._gaps.total() // 100:
            raise FeedError(
                f"{name}: no clear step: rows are most often {step_text(mode)} apart, {shorter} "
                "are closer: give the bar length by --step"
            )
        return mode
