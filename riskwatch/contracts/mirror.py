"""Layout of the Redis mirror, which its writer and its readers share.

Each row is a hash ``<prefix>riskwatch:<kind>:<key>`` with `value` (the record as it is on its
topic), `worker`, `epoch` and `seq`, and a time to live. ``<prefix>riskwatch:heartbeat`` is such
a hash too, and in `table` it says what it vouches for: a row that is not in Redis means
nothing unless a valid heartbeat says that there is none.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, TypeVar

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from riskwatch.errors import ConfigError

TIMEOUT_S: Final = 0.5
"""Most seconds to wait for one answer of Redis."""
KINDS: Final = {
    "riskwatch.killswitch": "killswitch",
    "riskwatch.scores": "score",
    "riskwatch.exposures": "exposure",
}
"""Mirrored topics, and the word for their rows in keys."""
VALUE: Final = "value"
WORKER: Final = "worker"
EPOCH: Final = "epoch"
SEQ: Final = "seq"
TABLE: Final = "table"
_DIGITS: Final = 15
"""Most digits of a whole number that Redis's scripts hold exactly."""

T = TypeVar("T")


def connect_redis(url: str, source: str, setting: str) -> redis.Redis:
    """Make a client of Redis that waits for no answer longer than `TIMEOUT_S`, and tries once.

    Parameters
    ----------
    url : str
        ``redis://host:port/database``, or ``rediss://`` or ``unix://``.
    source, setting : str
        Where `url` came from, for the message if it is none.

    Raises
    ------
    ConfigError
        If `url` is none. The message does not show it, for it may hold a password.
    """
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        raise ConfigError(source, setting, "redis://host:port/0") from None


class MirrorHeartbeat(msgspec.Struct, frozen=True):
    """What the mirror needs to know of a heartbeat; it holds more."""

    worker: str
    epoch: int
    seq: int
    valid_until: datetime


class MirrorTable(msgspec.Struct, frozen=True):
    """What is in Redis as far as its writer knows.

    Attributes
    ----------
    seq : int
        Rows with an earlier place than this are not current any more: when everything that is
        current was written the last time, they were not among it.
    scopes : list of str
        Every scope that has a row. One that is missing was lost.
    """

    seq: int
    scopes: list[str]


def row_key(prefix: str, kind: str, key: str) -> str:
    """Key of a row.

    Examples
    --------
    >>> row_key("uat.", "killswitch", "asset:USDC")
    'uat.riskwatch:killswitch:asset:USDC'
    """
    return f"{prefix}riskwatch:{kind}:{key}"


def heartbeat_key(prefix: str) -> str:
    """Key of the heartbeat."""
    return f"{prefix}riskwatch:heartbeat"


def scopes_key(prefix: str) -> str:
    """Key of the set of scopes that have a row, for who asks for all of them."""
    return f"{prefix}riskwatch:scopes"


def decode_field(raw: bytes | None, kind: type[T]) -> T | None:
    """`raw` as a `kind`; ``None`` if it is absent or garbage.

    Examples
    --------
    >>> decode_field(b'{"seq":7,"scopes":["firm"]}', MirrorTable)
    MirrorTable(seq=7, scopes=['firm'])
    >>> decode_field(b"garbage", MirrorTable) is None
    True
    """
    if raw is None:
        return None
    try:
        found = msgspec.json.decode(raw, type=kind)
    except ValueError:  # msgspec's own, and of bytes that are not UTF-8
        return None
    valid_until = getattr(found, "valid_until", None)
    return None if valid_until is not None and valid_until.tzinfo is None else found


def decode_number(raw: bytes | None) -> int | None:
    """Whole number of a field; ``None`` if it is absent or garbage.

    Examples
    --------
    >>> decode_number(b"12"), decode_number(b"-1"), decode_number(None)
    (12, None, None)
    """
    if raw is None or not raw.isdigit() or len(raw) > _DIGITS:
        return None
    return int(raw)
