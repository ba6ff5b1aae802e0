"""ADWIN drift detector whose state is plain JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from river import base

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PER_ROW: Final = 5
"""Most buckets of one size; beyond that the two oldest merge into one of twice the size."""
_LEAST: Final = 5
"""Least number of observations on either side of a cut."""
_GRACE: Final = 10
"""Least number of observations before the first cut."""
_ROWS: Final = 24
"""Number of bucket sizes: at most 120 buckets and 84 million observations."""


class JsonADWIN(base.DriftDetector):
    r"""Adaptive windowing [1]_, second version: an exponential histogram of the recent past.

    Whenever the window can be cut in two whose means differ by more than

    .. math:: \sqrt{\tfrac{2}{m} \sigma^2 \ln\tfrac{2 \ln n}{\delta}}
              + \tfrac{2}{3 m} \ln\tfrac{2 \ln n}{\delta},
              \qquad \tfrac{1}{m} = \tfrac{1}{n_0} + \tfrac{1}{n_1},

    the older part is dropped. River's own detector is compiled and does not expose its buckets.
    This one stores them as plain JSON and restores them bit for bit. It searches for cuts at
    every observation, so it suits streams with few observations.

    Parameters
    ----------
    delta : float
        Confidence of a single cut, in (0, 1).

    Attributes
    ----------
    rose : bool
        Whether the last observation showed a drift to a higher mean.

    References
    ----------
    .. [1] Bifet and Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing",
       SIAM International Conference on Data Mining, 2007.

    Examples
    --------
    >>> detector = JsonADWIN()
    >>> for x in [0.1, 0.3] * 100 + [0.8, 0.9] * 20:
    ...     detector.update(x)
    ...     if detector.rose:
    ...         break
    >>> detector.rose, x > 0.5
    (True, True)
    """

    def __init__(self, delta: float = 0.002) -> None:
        if not 0.0 < delta < 1.0:
            raise ValueError(f"delta must be in (0, 1), was {delta}")
        super().__init__()
        self.delta = delta
        self.rose = False
        # By row, the oldest first: sum and sum of squared deviations of 2**row observations.
        self._rows: list[list[list[float]]] = [[]]

    @property
    def width(self) -> int:
        """Observations in the window."""
        return sum(len(row) << size for size, row in enumerate(self._rows))

    @property
    def estimation(self) -> float:
        """Mean of the window; 0 while it is empty."""
        width = self.width
        return sum(total for _, total, _ in self._buckets()) / width if width else 0.0

    def update(self, x: float) -> None:
        """Add an observation within [0, 1].

        Raises
        ------
        ValueError
            If the observation is outside [0, 1].
        """
        if not 0.0 <= x <= 1.0:
            raise ValueError(f"x must be in [0, 1], was {x}")
        self._rows[0].append([x, 0.0])
        self._merge()
        self._drift_detected = self.rose = False
        while self._cut():
            self._drift_detected = True

    def state(self) -> dict[str, Any]:
        """Return the window, as plain JSON."""
        return {"rows": [[list(bucket) for bucket in row] for row in self._rows]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replace the window by `state`; later results are equal bit for bit.

        Raises
        ------
        ValueError
            If `state` is not a state of this detector.
        """
        rows = state["rows"]
        if not 1 <= len(rows) <= _ROWS or any(len(row) > _PER_ROW for row in rows):
            raise ValueError(f"a window has 1 to {_ROWS} rows of at most {_PER_ROW} buckets")
        self._rows = [[[float(total), float(spread)] for total, spread in row] for row in rows]

    def _buckets(self) -> Iterator[tuple[int, float, float]]:
        """Yield count, sum and squared deviations of each bucket, the oldest first."""
        for size in range(len(self._rows) - 1, -1, -1):
            for total, spread in self._rows[size]:
                yield 1 << size, total, spread

    def _merge(self) -> None:
        """Merge buckets until no row is too long."""
        size = 0
        while len(self._rows[size]) > _PER_ROW:
            (one, spread_one), (two, spread_two) = self._rows[size][:2]
            del self._rows[size][:2]
            size += 1
            if size == _ROWS:
                break  # the two oldest buckets are dropped
            if size == len(self._rows):
                self._rows.append([])
            apart = (one - two) ** 2 / (2 << (size - 1))
            self._rows[size].append([one + two, spread_one + spread_two + apart])

    def _cut(self) -> bool:
        """Drop the oldest bucket if any cut shows a change; return whether it was dropped."""
        buckets = list(self._buckets())
        n, total, spread = 0, 0.0, 0.0
        for count, part, within in buckets:
            if n:
                spread += (total / n - part / count) ** 2 * n * count / (n + count)
            spread += within
            n, total = n + count, total + part
        if n < max(_GRACE, 2 * _LEAST):
            return False
        log = math.log(2.0 * math.log(n) / self.delta)
        before, seen = 0, 0.0
        for count, part, _ in buckets:
            before, seen = before + count, seen + part
            after = n - before
            if after < _LEAST:
                return False
            if before < _LEAST:
                continue
            inverse = 1.0 / before + 1.0 / after
            least = math.sqrt(2.0 * inverse * spread / n * log) + 2.0 / 3.0 * inverse * log
            change = (total - seen) / after - seen / before
            if abs(change) > least:
                self.rose = self.rose or change > 0.0
                self._rows[-1].pop(0)
                while len(self._rows) > 1 and not self._rows[-1]:
                    self._rows.pop()
                return True
        return False
