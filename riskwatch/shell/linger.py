"""When a batch waits for company: a transaction costs as much for one record as for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.shell.pace import URGENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.shell.pace import Pace
    from riskwatch.shell.record import Record


class Linger:
    """Says whether the next batch may wait.

    Parameters
    ----------
    pace : Pace
        For how long at most, and how many records fill a batch.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._urgent = False
        self._began_us = 0

    def saw(self, records: Iterable[Record]) -> None:
        """Take note of what came in."""
        self._urgent = self._urgent or any(isinstance(r.event, URGENT) for r in records)

    def waits(self, now_us: int, waiting: int) -> bool:
        """Whether the last batch was just now, and nothing is urgent, nor the next one full."""
        return (
            not self._urgent
            and waiting < self._pace.batch
            and 0 <= now_us - self._began_us < self._pace.linger_us
        )

    def began(self, now_us: int, left: int) -> None:
        """Take note that a batch was begun, and how many records were left for another."""
        self._began_us = now_us
        self._urgent = self._urgent and left > 0
