"""A route's thread: delivers what waits, the most urgent first, until it arrives or is given up.

Each route has its own, so an endpoint that is slow or dead holds up nobody else. Within a group
notices keep their order: nobody reads that something is over before it began.
"""

from __future__ import annotations

import random
import threading
import time
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import structlog

from riskwatch.errors import FencedError, RiskwatchError, StoppedError
from riskwatch.shell.notify.post import RETRY_AFTER_MAX_S
from riskwatch.shell.wall import wall
from riskwatch.store import notices

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from riskwatch.shell.notify.post import Answer
    from riskwatch.shell.notify.routes import Target
    from riskwatch.shell.waiting import Patience
    from riskwatch.store.notices import Head

    Post = Callable[[Target, str, bytes, datetime], Answer]

IDLE_S: Final = 1.0
"""Longest pause between two looks at what waits, seconds."""
BREATH_S: Final = 1.0
"""Longest pause of a whole route after a try that failed, seconds."""
T = TypeVar("T")

log = structlog.get_logger("riskwatch.notify")


class Meter(Protocol):
    """What of the metrics a courier needs."""

    def notice(self, route: str, outcome: str, seconds: float | None = None) -> None:
        """Count a try: ``sent``, ``retried`` or ``dead``."""
        ...


class Courier:
    """Delivers the notices of one route.

    Parameters
    ----------
    target : Target
        Where to.
    engine : Engine
        The database.
    epoch : int
        Of the lease under which it works.
    patience : Patience
        How the database is waited for.
    meter : Meter
        Where tries are counted.
    post : callable
        One try.
    now : callable
        The time.
    share : callable
        A number from 0 to 1 by chance, so that many senders do not come at the same moment.
    """

    def __init__(
        self,
        target: Target,
        engine: Engine,
        epoch: int,
        patience: Patience,
        meter: Meter,
        post: Post,
        now: Callable[[], datetime] = wall,
        share: Callable[[], float] = random.random,
    ) -> None:
        self.target = target
        self.route = target.route
        self.failure: Exception | None = None
        self.wake = threading.Event()
        self._engine = engine
        self._epoch = epoch
        self._patience = patience
        self._meter = meter
        self._post = post
        self._now = now
        self._share = share
        self._not_before = 0.0
        self._thread = threading.Thread(
            target=self.run, name=f"notify-{self.route.id}", daemon=True
        )

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, which the process's end asks for."""
        self.wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def run(self) -> None:
        """Deliver until the process is asked to stop."""
        try:
            while not self._patience.stop.is_set():
                self.wake.clear()
                pause = self.round()
                if pause > 0:
                    self.wake.wait(min(pause, IDLE_S))
        except StoppedError:
            return
        except RiskwatchError as error:
            self.failure = error
            level = log.warning if isinstance(error, FencedError) else log.error
            level("courier", route=self.route.id, error=str(error))
        except Exception as error:
            self.failure = error
            log.exception("courier", route=self.route.id)

    def round(self) -> float:
        """Make one try, if one is due; returns for how long there is nothing to do, seconds."""
        breath = self._not_before - time.monotonic()
        if breath > 0:
            return breath
        now = self._now()
        found = self._wait(partial(notices.heads, self._engine, self.route.id))
        # A time that no pause reaches was written before a clock was set back.
        beyond = now + timedelta(seconds=max(self.route.backoff_max_s, RETRY_AFTER_MAX_S))
        due = [head for head in found if not now < head.due_ts <= beyond]
        if not due:
            next_ = min((head.due_ts for head in found), default=None)
            return IDLE_S if next_ is None else (next_ - now).total_seconds()
        self._try(min(due, key=lambda head: (-head.urgency, head.place)))
        return 0.0

    def _try(self, head: Head) -> None:
        body = self._wait(partial(notices.body_of, self._engine, head.id))
        began = time.monotonic()
        answer = self._post(self.target, head.id, body, self._now())
        took, now = time.monotonic() - began, self._now()
        said = {"route": self.route.id, "host": self.target.host, "notice": head.id}
        mine = (self._engine, self._epoch, head.id)
        if not answer.failure:
            self._wait(partial(notices.delivered, *mine, now))
            self._meter.notice(self.route.id, "sent", took)
            log.info("sent", **said)
            return
        tries = head.tries + 1
        pause = self.pause(tries, answer.retry_after_s)
        # What failed once is likely to fail again: the route takes a breath, and no more.
        breath = pause if answer.retry_after_s else min(pause, BREATH_S)
        self._not_before = time.monotonic() + breath
        if tries >= self.route.tries:
            reason = f"{answer.failure}, at try {tries} of {self.route.tries}"
            self._wait(partial(notices.given_up, *mine, now, reason))
            self._meter.notice(self.route.id, "dead", took)
            log.error("dead letter", tries=tries, why=answer.failure, **said)
            return
        due = now + timedelta(seconds=pause)
        self._wait(partial(notices.postponed, *mine, due, answer.failure))
        self._meter.notice(self.route.id, "retried", took)
        log.warning("not sent", tries=tries, why=answer.failure, again=due.isoformat(), **said)

    def pause(self, tries: int, retry_after_s: float | None) -> float:
        """Seconds until the next try: doubling, by chance up to half less, never before asked.

        Parameters
        ----------
        tries : int
            That failed.
        retry_after_s : float or None
            What the endpoint asked for.
        """
        longest = min(self.route.backoff_s * 2.0 ** (tries - 1), self.route.backoff_max_s)
        return max(longest * (0.5 + 0.5 * self._share()), retry_after_s or 0.0)

    def _wait(self, act: Callable[[], T]) -> T:
        return self._patience.ask_store("notices", act)
