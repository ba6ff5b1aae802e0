"""One try to deliver one notice: signed, within a time, never redirected; the URL is never told.

Whatever is not an answer of 2xx is a failure that may pass: a proxy says 404 while what stands
behind it starts, and a page that was given up on its first try would be lost on a working night.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import httpx

from riskwatch.contracts.notices import WEBHOOK
from riskwatch.contracts.webhook import IDEMPOTENCY, SIGNATURE, TIMESTAMP, sign
from riskwatch.version import ENGINE

if TYPE_CHECKING:
    from riskwatch.shell.notify.routes import Target

RETRY_AFTER_MAX_S: Final = 3_600.0
"""Longest pause that an endpoint may ask for, seconds."""
_CONNECT_S: Final = 3.0
_WORDS: Final = 200

# They tell the whole URL of each request, which is the secret.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a try.

    Attributes
    ----------
    failure : str
        Why it failed; empty if it arrived.
    retry_after_s : float or None
        How long the endpoint wants to be left alone, seconds.
    """

    failure: str = ""
    retry_after_s: float | None = None


def post(target: Target, notice_id: str, body: bytes, now: datetime) -> Answer:
    """Send a notice once; nothing is raised for what the network or the endpoint does.

    Parameters
    ----------
    target : Target
        Where to.
    notice_id : str
        Its dedupe key.
    body : bytes
        What is sent, the same at each try.
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
        return Answer(f"no answer within {seconds:g} s")
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, UnicodeError) as error:
        return Answer(_told(error, target))


async def _within(
    seconds: float, target: Target, headers: dict[str, str], body: bytes, now: datetime
) -> Answer:
    # The whole of it has an end: an endpoint that sends a byte now and then never times out alone.
    limits = httpx.Timeout(seconds, connect=min(seconds, _CONNECT_S))
    async with (
        asyncio.timeout(seconds),
        httpx.AsyncClient(verify=target.trust, timeout=limits, follow_redirects=False) as client,
        client.stream("POST", target.url, content=body, headers=headers) as response,
    ):
        status = response.status_code
        if response.is_success:
            return Answer()
        return Answer(f"HTTP {status}", retry_after(response.headers.get("Retry-After"), now))


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that an endpoint asks to wait: a number or a date; ``None`` where it says neither.

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


def _told(error: Exception, target: Target) -> str:
    """Failure in words, without what is secret of the URL."""
    if isinstance(error, httpx.TimeoutException):
        return f"{type(error).__name__}: {target.host} was too slow"
    said = (str(error).strip() or "no more is known").splitlines()[0][:_WORDS]
    parsed = httpx.URL(target.url)
    secrets = (target.url, parsed.raw_path.decode(errors="replace"), parsed.path)
    for secret in (*secrets, parsed.userinfo.decode(errors="replace")):
        said = said.replace(secret, "***") if len(secret) > 1 else said
    return f"{type(error).__name__}: {said}"
