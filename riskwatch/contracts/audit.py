"""The byte format of the audit chain: each digest covers its row and the digest before.

A row's digest is SHA-256 over its fields, each after its length, so that no two different rows have
the same encoding. The domain separates these digests from those of other data. The last digest
therefore fixes every row before it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

DOMAIN: Final = b"riskwatch/audit/v1"
TOPIC: Final = "riskwatch.audit"
"""Topic of the heads of audit chains."""
GENESIS: Final = "0" * 64
"""Previous digest of the first row of a chain."""


class AuditLink(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the chain.

    Attributes
    ----------
    worker, seq : str, int
        Worker of the chain, and number of the row in it, from 1.
    place : int
        Sequence number of the output among all outputs of the worker.
    kind, id, key : str
        Type, id and key of the output.
    us : int
        Its event time, microseconds.
    engine : str
        Engine version that wrote it.
    payload : str
        The output as published, JSON.
    previous, digest : str
        Digests of the previous row and of this one; 64 hexadecimal digits.
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
    """The published head of a chain: its last row.

    Attributes
    ----------
    worker, epoch : str, int
        Worker of the chain, and epoch of the lease under which it was read.
    seq, digest : int, str
        Number of the last row, and its digest; 0 and zeros for an empty chain.
    ts : str
        When it was read, RFC 3339.
    engine : str
        Engine version.
    deployment : str
        Deployment of the database; empty in heads of builds that knew no deployments.
    """

    worker: str
    epoch: int
    seq: int
    digest: str
    ts: str
    engine: str
    deployment: str = ""


def link_digest(link: AuditLink) -> str:
    """Return the digest that a row must have; its own `digest` field is ignored.

    Examples
    --------
    >>> row = AuditLink(worker="risk", seq=1, place=1, kind="DecisionMade", id="ab", key="firm",
    ...            us=0,
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
    """Return a row with its `digest` set."""
    return msgspec.structs.replace(link, digest=link_digest(link))


def encode_head(head: Head) -> bytes:
    """Return the record value of a head."""
    return msgspec.json.encode(head)


def decode_head(value: bytes) -> Head:
    """Decode a head; the inverse of :func:`encode_head`.

    Raises
    ------
    ValueError
        If the bytes are no head.
    """
    return msgspec.json.decode(value, type=Head)


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)
