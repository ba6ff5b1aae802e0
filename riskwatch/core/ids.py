"""Ids of outputs: digests, so that a replay gives the same ids and repeats can be dropped."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from riskwatch.version import ENGINE


def output_id(cause_id: str, kind: str, key: str) -> str:
    """Id of the output of `kind` about `key` that the event `cause_id` brought about.

    Parameters
    ----------
    cause_id : str
        Identity of the causing event: ``source/event_id``, or ``tick/<time>``.
    kind, key : str
        Type of the output and what it is about.

    Returns
    -------
    str
        32 hexadecimal digits. Fields are length-prefixed before hashing, so no two
        different triples share an encoding.

    Examples
    --------
    >>> output_id("kraken/1", "AlertRaised", "asset:USDC") == output_id(
    ...     "kraken/1", "AlertRaised", "asset:USDC")
    True
    """
    h = _begun(cause_id, kind).copy()
    data = key.encode()
    h.update(len(data).to_bytes(4, "big") + data)
    return h.hexdigest()


@lru_cache(maxsize=256)
def _begun(cause_id: str, kind: str) -> blake2b:
    """Digest of what the ids of one event's outputs of one kind begin with."""
    h = blake2b(digest_size=16, person=b"riskwatch-out")
    for part in (ENGINE, cause_id, kind):
        data = part.encode()
        h.update(len(data).to_bytes(4, "big") + data)
    return h
