"""The audit chain, as bytes: each row's digest covers the row and the digest before it.

A row's digest is SHA-256 over its fields, each with its length before it, so that no two
different rows share an encoding; the domain keeps digests of other things apart. Whoever knows
the last digest knows every row before it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

DOMAIN: Final = b"riskwatch/audit/v1"
TOPIC: Final = "riskwatch.audit"
"""Where the heads are published."""
GENESIS: Final = "0" * 64
"""What the first row of a chain has before it."""


class AuditLink(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the chain.

    Attributes
    ----------
    worker, seq : str, int
        Whose chain, and which row of it, from 1.
    place : int
        Place of the output in the order of everything that the worker ever put out.
    kind, id, key : str
        Type of the output, its id, and what it is about.
    us : int
        Its event time, microseconds.
    engine : str
        Version that put it out.
    payload : str
        The output as it travels, JSON.
    previous, digest : str
        Of the row before, and of this one; 64 hexadecimal digits.
    """

    worker: str
    seq: int
    place: int
    kind: str
    id: str
    key: str
    us: int
    engine: str
    payload: str
    previous: str
    digest: str


class Head(msgspec.Struct, frozen=True, kw_only=True, tag="audit_head"):
    """How far a chain reaches, as it is published.

    Attributes
    ----------
    worker, epoch : str, int
        Whose chain, and under which lease it was read.
    seq, digest : int, str
        Last row, and its digest; 0 and zeros of an empty chain.
    ts : str
        When it was read, RFC 3339.
    engine : str
        Version.
    """

    worker: str
    epoch: int
    seq: int
    digest: str
    ts: str
    engine: str


def link_digest(link: AuditLink) -> str:
    """Digest that a row must have, whatever it says of itself.

    Examples
    --------
    >>> row = AuditLink(worker="risk", seq=1, place=1, kind="DecisionMade", id="ab", key="firm", us=0,
    ...            engine="0", payload="{}", previous=GENESIS, digest="")
    >>> link_digest(row)[:16]
    '340a1d9eb2768091'
    """
    h = sha256()
    for part in (
        DOMAIN,
        link.worker.encode(),
        _number(link.seq),
        _number(link.place),
        link.kind.encode(),
        link.id.encode(),
        link.key.encode(),
        _number(link.us),
        link.engine.encode(),
        link.payload.encode(),
        link.previous.encode(),
    ):
        h.update(len(part).to_bytes(8, "big"))
        h.update(part)
    return h.hexdigest()


def seal(link: AuditLink) -> AuditLink:
    """Give a row the digest that it must have."""
    return msgspec.structs.replace(link, digest=link_digest(link))


def encode_head(head: Head) -> bytes:
    """Record value of a head."""
    return msgspec.json.encode(head)


def decode_head(value: bytes) -> Head:
    """Inverse of :func:`encode_head`.

    Raises
    ------
    ValueError
        If the bytes are no head.
    """
    return msgspec.json.decode(value, type=Head)


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)
