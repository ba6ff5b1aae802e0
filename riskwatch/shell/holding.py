"""When a live worker keeps its publication back: while it works off what it missed.

What was decided in the meantime is history, and in SQL. Published one after the other it would
look like news; so once the worker has caught up, each key's last record goes out, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from riskwatch.core.clock import text
from riskwatch.shell.pace import NEAR_US, OLD_US

if TYPE_CHECKING:
    from collections.abc import Iterable

    from riskwatch.shell.record import Record
    from riskwatch.shell.runner import Runner

log = structlog.get_logger("riskwatch.holding")


class Holding:
    """Holds back what a runner puts out, and lets it go.

    Parameters
    ----------
    runner : Runner
        Whose publication.
    live : bool
        Whether time passes by itself; where it does not, nothing is ever held back.

    Attributes
    ----------
    on : bool
        Whether publication is held back.
    """

    def __init__(self, runner: Runner, *, live: bool) -> None:
        self.on = False
        self._runner = runner
        self._live = live
        self._since_us = 0

    def begin(self, us: int) -> None:
        """Begin with publication held back, if live; `us` is the event time of the last life."""
        self.on, self._since_us = self._live, us

    def saw(self, records: Iterable[Record]) -> None:
        """Note where history began, before ticks bring the time of the moment."""
        self._since_us = self._since_us or next((r.us for r in records if r.us > 0), 0)

    def again(self) -> None:
        """Hold back from now on, if live: something kept the worker from its work."""
        if self._live and not self.on:
            self.on, self._since_us = True, self._runner.us
            self._runner.hold()

    def if_behind(self, now_us: int, *, idle: bool) -> None:
        """Hold back where an outage lies between what was reached and the moment."""
        if self._live and not self.on and not idle and 0 < self._runner.us < now_us - OLD_US:
            log.warning("behind", worker=self._runner.worker, reached=text(self._runner.us))
            self.again()

    def over(self, now_us: int, *, idle: bool) -> bool:
        """Whether it is time to let go: all is done, or the time reached is the moment's."""
        return self.on and (idle or 0 < now_us - self._runner.us < NEAR_US)

    def let_go(self, now_us: int) -> None:
        """Publish what was held back: as it was if it is fresh, else where things stand now."""
        if self.on:
            self.on = False
            self._runner.let_go(latest_only=0 < self._since_us < now_us - OLD_US)
