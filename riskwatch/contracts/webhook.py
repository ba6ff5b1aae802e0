"""Signed webhooks: the signed bytes, the headers, and the receiver's check.

The signature is HMAC-SHA256, with the key of the route, over the time of sending (whole seconds
since 1970, as text), a full stop, and the bytes of the body. A receiver checks it before it reads
the body, refuses old messages, and accepts each `Idempotency-Key` once. A message that was not
answered in time is sent again, with the same key and body and a new time and signature.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMESTAMP: Final = "Riskwatch-Timestamp"
SIGNATURE: Final = "Riskwatch-Signature"
IDEMPOTENCY: Final = "Idempotency-Key"
TOLERANCE_S: Final = 300.0
"""Maximum age of a message, seconds."""
_SCHEME: Final = "v1="


def sign(key: bytes, timestamp: str, body: bytes) -> str:
    """Return the value of the header :data:`SIGNATURE`.

    Examples
    --------
    >>> sign(b"k" * 16, "1700000000", b"{}")[:11]
    'v1=6d58fb78'
    """
    return _SCHEME + hmac.new(key, timestamp.encode() + b"." + body, sha256).hexdigest()


def verify(
    key: bytes,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    tolerance_s: float = TOLERANCE_S,
    deployment: str | None = None,
) -> str | None:
    """Return why a message is not authentic; ``None`` if it is.

    Parameters
    ----------
    key : bytes
        Key of the route.
    headers : mapping of str to str
        Headers as received; names in any case.
    body : bytes
        Body as received, before it is parsed.
    now : float
        Present time, seconds since 1970.
    tolerance_s : float
        Maximum age of a message and difference of clocks, seconds.
    deployment : str, optional
        Deployment that the message must be of. Give it where one key or one address serves several
        deployments: the signature covers the body, and the body names the deployment.
    """
    given = {name.lower(): value for name, value in headers.items()}
    timestamp, signature = given.get(TIMESTAMP.lower(), ""), given.get(SIGNATURE.lower(), "")
    if not (timestamp.isascii() and timestamp.isdigit()):
        return f"{TIMESTAMP} is not a time"
    if not hmac.compare_digest(sign(key, timestamp, body).encode(), signature.encode()):
        return f"{SIGNATURE} is not of this key, time and body"
    if abs(now - int(timestamp)) > tolerance_s:
        return f"it was sent more than {tolerance_s:g} s ago, or the clocks differ"
    if deployment is not None and (named := _deployment_of(body)) != deployment:
        return (
            f"it is of {f'deployment {named}' if named else 'no deployment'}, not of {deployment}"
        )
    return None


class _Named(msgspec.Struct):
    """The deployment that the body of a message names."""

    deployment: str = ""


def _deployment_of(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Named).deployment
    except ValueError:
        return ""
