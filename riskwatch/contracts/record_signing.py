"""Signatures of single records: acknowledgements of order paths, and news of declared sources.

The signature is a record header. It covers the deployment, the name of the topic on the broker,
the key and the value as sent, each after its length and behind a domain tag. No signature of a
record is therefore valid in another deployment, for another record or topic, or as a command.

Signatures of the first domain did not cover the deployment. They are valid nowhere: no release has
made them, and what was rehearsed elsewhere must not become a fact here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.contracts.signing import is_signed
from riskwatch.core.command_signing import framed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE: Final = "rw-signature"
"""Name of the header; its value is the 64 bytes of the signature."""
DOMAIN: Final = b"riskwatch/record/2"
"""Domain tag. If the bytes below change, its number must change."""


def record_bytes(deployment: str, topic: str, key: bytes, value: bytes) -> bytes:
    """Return the bytes that the owner of a key signs for a deployment.

    Examples
    --------
    >>> record_bytes("prod", "a", b"bc", b"") == record_bytes("prod", "ab", b"c", b"")
    False
    >>> record_bytes("prod", "a", b"b", b"") == record_bytes("staging", "a", b"b", b"")
    False
    """
    return framed(DOMAIN, deployment, topic, key, value)


def signature_header(
    private: Ed25519PrivateKey, deployment: str, topic: str, key: bytes, value: bytes
) -> tuple[str, bytes]:
    """Return the header that signs a record for a deployment and a topic, by its broker name."""
    return SIGNATURE, private.sign(record_bytes(deployment, topic, key, value))


def is_record_signed(
    public: str,
    deployment: str,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
) -> bool:
    """Whether the owner of a public key signed a record for a deployment, exactly once."""
    found = [content or b"" for name, content in headers if name == SIGNATURE]
    signed = record_bytes(deployment, topic, key or b"", value or b"")
    return len(found) == 1 and is_signed(public, found[0], signed)
