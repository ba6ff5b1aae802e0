"""Delivery of notifications: the thread of a route sends them, most urgent first, with retries.

Each route has its own thread, so a slow or dead endpoint does not delay other routes. Within a
group notifications keep their order: a resolution never arrives before its alert.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import httpx
import structlog

from riskwatch.contracts.notifications import WEBHOOK
from riskwatch.contracts.webhook import IDEMPOTENCY, SIGNATURE, TIMESTAMP, sign
from riskwatch.engine.clock import wall
from riskwatch.errors import FencedError, RiskwatchError, StoppedError
from riskwatch.store import notifications
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

    from riskwatch.alerting.routes import DeliveryTarget
    from riskwatch.engine.retry import Retry
    from riskwatch.store.notifications import DueNotification

    Post = Callable[[DeliveryTarget, str, bytes, datetime], "DeliveryResult"]


# One attempt is signed, limited in time and never redirected. The URL is secret and never logged.
#
# Every answer but 2xx is a temporary failure: a proxy answers 404 while its backend starts, and a
# page that is given up at the first attempt would be lost.

RETRY_AFTER_MAX_S: Final = 3_600.0
"""Longest pause that an endpoint may ask for, seconds."""
_CONNECT_S: Final = 3.0
_WORDS: Final = 200

# At lower levels they log the whole URL of each request, which is secret.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The result of one attempt.

    Attributes
    ----------
    failure : str
        Why it failed; empty if the notification arrived.
    retry_after_s : float or None
        Pause that the endpoint asks for, seconds.
    """

    failure: str = ""
    retry_after_s: float | None = None


def post_notification(
    target: DeliveryTarget, notice_id: str, body: bytes, now: datetime
) -> DeliveryResult:
    """Send a notification once. Failures of the network or the endpoint are returned, not raised.

    Parameters
    ----------
    target : DeliveryTarget
        URL, key and route.
    notice_id : str
        Id of the notification, by which the endpoint drops repeats.
    body : bytes
        Body of the request, the same at each attempt.
    now : datetime
        Time that is signed.
    """
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"riskwatch/{ENGINE}",
        IDEMPOTENCY: notice_id,
    }
    if target.route.kind == WEBHOOK:
        timestamp = str(int(now.timestamp()))
        headers |= {TIMESTAMP: timestamp, SIGNATURE: sign(target.key, timestamp, body)}
    seconds = target.route.timeout_s
    try:
        return asyncio.run(_within(seconds, target, headers, body, now))
    except TimeoutError:
        return DeliveryResult(f"no answer within {seconds:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, UnicodeError) as error:
        return DeliveryResult(_failure_text(error, target))


async def _within(
    seconds: float, target: DeliveryTarget, headers: dict[str, str], body: bytes, now: datetime
) -> DeliveryResult:
    # Limit the whole attempt: an endpoint that sends a byte now and then never times out alone.
    limits = httpx.Timeout(seconds, connect=min(seconds, _CONNECT_S))
    async with (
        asyncio.timeout(seconds),
        httpx.AsyncClient(verify=target.trust, timeout=limits, follow_redirects=False) as client,
        client.stream("POST", target.url, content=body, headers=headers) as response,
    ):
        status = response.status_code
        if response.is_success:
            return DeliveryResult()
        return DeliveryResult(
            f"HTTP {status}", retry_after(response.headers.get("Retry-After"), now)
        )


def retry_after(value: str | None, now: datetime) -> float | None:
    """Return the pause of a ``Retry-After`` header, seconds; ``None`` if it is not valid.

    The header holds a number of seconds or a date.

    Examples
    --------
    >>> at = datetime(2023, 3, 11, tzinfo=UTC)
    >>> [retry_after(v, at) for v in ("120", "Sat, 11 Mar 2023 00:00:30 GMT", "soon", "9" * 9)]
    [120.0, 30.0, None, 3600.0]
    """
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return min(float(value), RETRY_AFTER_MAX_S)
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max(0.0, (at - now).total_seconds()), RETRY_AFTER_MAX_S)


def _failure_text(error: Exception, target: DeliveryTarget) -> str:
    """Return the failure as text, without the secret parts of the URL."""
    if isinstance(error, httpx.TimeoutException):
        return f"{type(error).__name__}: {target.host} was too slow"
    text = (str(error).strip() or "no more is known").splitlines()[0][:_WORDS]
    parsed = httpx.URL(target.url)
    secrets = (target.url, parsed.raw_path.decode(errors="replace"), parsed.path)
    for secret in (*secrets, parsed.userinfo.decode(errors="replace")):
        text = text.replace(secret, "***") if len(secret) > 1 else text
    return f"{type(error).__name__}: {text}"


IDLE_S: Final = 1.0
"""Longest pause between two queries for due notifications, seconds."""
FAILURE_PAUSE_S: Final = 1.0
"""Longest pause of a whole route after a failed attempt, seconds."""
T = TypeVar("T")

log = structlog.get_logger("riskwatch.notify")


class DeliveryMeter(Protocol):
    """The metrics that a delivery thread updates."""

    def notification(self, route: str, outcome: str, seconds: float | None = None) -> None:
        """Count an attempt as ``sent``, ``retried`` or ``dead``."""
        ...


class DeliveryThread:
    """Delivers the notifications of one route.

    Parameters
    ----------
    target : DeliveryTarget
        URL, key and route.
    engine : Engine
        The database.
    epoch : int
        Epoch of the lease under which it works.
    retry : Retry
        How calls to the database are retried.
    meter : DeliveryMeter
        Counts the attempts.
    post : callable
        Makes one attempt.
    now : callable
        Returns the time.
    share : callable
        Returns a random number from 0 to 1, so that many senders do not retry at the same time.
    """

    def __init__(
        self,
        target: DeliveryTarget,
        engine: Engine,
        epoch: int,
        retry: Retry,
        meter: DeliveryMeter,
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
        self._retry = retry
        self._meter = meter
        self._post = post
        self._now = now
        self._share = share
        self._not_before = 0.0
        self._thread = threading.Thread(
            target=self.run, name=f"notify-{self.route.id}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait until the thread ends after a stop request, at most `seconds`."""
        self.wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def run(self) -> None:
        """Deliver until the process is asked to stop."""
        try:
            while not self._retry.stop.is_set():
                self.wake.clear()
                pause = self.try_next()
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

    def try_next(self) -> float:
        """Make one attempt if one is due, and return the pause until the next, seconds."""
        pause = self._not_before - time.monotonic()
        if pause > 0:
            return pause
        now = self._now()
        found = self._wait(partial(notifications.due_notifications, self._engine, self.route.id))
        # A due time beyond the longest pause was stored before the clock was set back.
        beyond = now + timedelta(seconds=max(self.route.backoff_max_s, RETRY_AFTER_MAX_S))
        due = [head for head in found if not now < head.due_ts <= beyond]
        if not due:
            next_ = min((head.due_ts for head in found), default=None)
            return IDLE_S if next_ is None else (next_ - now).total_seconds()
        self._try(min(due, key=lambda head: (-head.urgency, head.place)))
        return 0.0

    def _try(self, head: DueNotification) -> None:
        body = self._wait(partial(notifications.notification_body, self._engine, head.id))
        began = time.monotonic()
        answer = self._post(self.target, head.id, body, self._now())
        took, now = time.monotonic() - began, self._now()
        fields = {"route": self.route.id, "host": self.target.host, "notice": head.id}
        key = (self._engine, self._epoch, head.id)
        if not answer.failure:
            self._wait(partial(notifications.mark_delivered, *key, now))
            self._meter.notification(self.route.id, "sent", took)
            log.info("sent", **fields)
            return
        tries = head.tries + 1
        pause = self.pause(tries, answer.retry_after_s)
        # The next notification is likely to fail, too, so the whole route pauses for a moment.
        route_pause = pause if answer.retry_after_s else min(pause, FAILURE_PAUSE_S)
        self._not_before = time.monotonic() + route_pause
        if tries >= self.route.tries:
            reason = f"{answer.failure}, at try {tries} of {self.route.tries}"
            self._wait(partial(notifications.give_up, *key, now, reason))
            self._meter.notification(self.route.id, "dead", took)
            log.error("dead letter", tries=tries, why=answer.failure, **fields)
            return
        due = now + timedelta(seconds=pause)
        self._wait(partial(notifications.postpone, *key, due, answer.failure))
        self._meter.notification(self.route.id, "retried", took)
        log.warning("not sent", tries=tries, why=answer.failure, again=due.isoformat(), **fields)

    def pause(self, tries: int, retry_after_s: float | None) -> float:
        """Return the pause until the next attempt, seconds.

        The pause doubles with each attempt, is shortened by up to half at random, and is never
        shorter than the endpoint asks for.

        Parameters
        ----------
        tries : int
            Number of failed attempts.
        retry_after_s : float or None
            Pause that the endpoint asks for, seconds.
        """
        longest = min(self.route.backoff_s * 2.0 ** (tries - 1), self.route.backoff_max_s)
        return max(longest * (0.5 + 0.5 * self._share()), retry_after_s or 0.0)

    def _wait(self, act: Callable[[], T]) -> T:
        return self._retry.ask_store("notices", act)
