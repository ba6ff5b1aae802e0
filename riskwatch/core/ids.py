"""Ids of outputs: digests, so that a replay gives the same ids and consumers can drop repeats."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from riskwatch.version import ENGINE


def output_id(cause_id: str, kind: str, key: str) -> str:
    """Return the id of the output of `kind` about `key` that the event `cause_id` causes.

    Parameters
    ----------
    cause_id : str
        Identity of the causing event: ``source/event_id``, or ``tick/<time>``.
    kind, key : str
        Type and key of the output.

    Returns
    -------
    str
        32 hexadecimal digits. Each field is hashed after its length, so that no two different
        triples have the same encoding.

    Examples
    --------
    >>> output_id("kraken/1", "AlertRaised", "asset:USDC") == output_id(
    ...     "kraken/1", "AlertRaised", "asset:USDC")
    True
    """
    h = _prefix_digest(cause_id, kind).copy()
    data = key.encode()
    h.update(len(data).to_bytes(4, "big") + data)
    return h.hexdigest()


@lru_cache(maxsize=256)
def _prefix_digest(cause_id: str, kind: str) -> blake2b:
    """Return the digest state after the common prefix of one event's ids of one kind."""
    h = blake2b(digest_size=16, person=b"riskwatch-out")
    for part in (ENGINE, cause_id, kind):
        data = part.encode()
        h.update(len(data).to_bytes(4, "big") + data)
    return h
