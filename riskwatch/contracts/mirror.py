"""Layout of the Redis mirror, which its writer and its readers share.

Each row is a hash ``<prefix>riskwatch:<kind>:<key>`` with `value` (the record as on its topic),
`worker`, `epoch` and `seq`, and a time to live. ``<prefix>riskwatch:heartbeat`` is such a hash,
too; its field `table` states which rows it confirms. A row that is missing in Redis means nothing
unless a valid heartbeat confirms that there is none.
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
"""Time limit of one answer of Redis, seconds."""
KINDS: Final = {
    "riskwatch.killswitch": "killswitch",
    "riskwatch.scores": "score",
    "riskwatch.exposures": "exposure",
}
"""Mirrored topics, with the kind of their rows in keys."""
VALUE: Final = "value"
WORKER: Final = "worker"
EPOCH: Final = "epoch"
SEQ: Final = "seq"
TABLE: Final = "table"
_DIGITS: Final = 15
"""Maximum number of digits of a whole number that Redis's scripts represent exactly."""

T = TypeVar("T")


def connect_redis(url: str, source: str, setting: str) -> redis.Redis:
    """Return a Redis client that waits at most `TIMEOUT_S` for an answer, and tries once.

    Parameters
    ----------
    url : str
        ``redis://host:port/database``, or ``rediss://`` or ``unix://``.
    source, setting : str
        Source and setting of `url`, for the error message.

    Raises
    ------
    ConfigError
        If `url` is invalid. The message does not contain it, because it may hold a password.
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
    """The fields of a heartbeat that the mirror uses; the heartbeat has more."""

    worker: str
    epoch: int
    seq: int
    valid_until: datetime
    ts: datetime | None = None
    reached: datetime | None = None
    deployment: str = ""


class MirrorTable(msgspec.Struct, frozen=True):
    """The rows that are in Redis by the knowledge of its writer.

    Attributes
    ----------
    seq : int
        Rows with an earlier sequence number are outdated: they were not among the current rows when
        all current rows were last written.
    scopes : list of str
        Every scope that has a row. If its row is missing, the row was lost.
    """

    seq: int
    scopes: list[str]


def row_key(prefix: str, kind: str, key: str) -> str:
    """Return the key of a row.

    Examples
    --------
    >>> row_key("uat.", "killswitch", "asset:USDC")
    'uat.riskwatch:killswitch:asset:USDC'
    """
    return f"{prefix}riskwatch:{kind}:{key}"


def heartbeat_key(prefix: str) -> str:
    """Return the key of the heartbeat."""
    return f"{prefix}riskwatch:heartbeat"


def scopes_key(prefix: str) -> str:
    """Return the key of the set of all scopes that have a row."""
    return f"{prefix}riskwatch:scopes"


def decode_field(raw: bytes | None, kind: type[T]) -> T | None:
    """Decode `raw` as a `kind`; return ``None`` if it is absent or invalid.

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
    """Return the whole number of a field; ``None`` if it is absent or invalid.

    Examples
    --------
    >>> decode_number(b"12"), decode_number(b"-1"), decode_number(None)
    (12, None, None)
    """
    if raw is None or not raw.isdigit() or len(raw) > _DIGITS:
        return None
    return int(raw)
