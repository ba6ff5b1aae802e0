"""Signatures of single records: acknowledgements of order paths, and news of declared sources.

The signature is a record header. It covers the name of the topic on the broker, the key and the
value as sent, each after its length and behind a domain tag. No signature of a record is therefore
valid for another record, another topic, or a command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from riskwatch.contracts.signing import is_signed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNATURE: Final = "rw-signature"
"""Name of the header; its value is the 64 bytes of the signature."""
DOMAIN: Final = b"riskwatch/record/1"
"""Domain tag. If the bytes below change, its number must change."""


def record_bytes(topic: str, key: bytes, value: bytes) -> bytes:
    """Return the bytes that the owner of a key signs.

    Examples
    --------
    >>> record_bytes("a", b"bc", b"") == record_bytes("ab", b"c", b"")
    False
    """
    parts = (topic.encode(), key, value)
    return DOMAIN + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def signature_header(
    private: Ed25519PrivateKey, topic: str, key: bytes, value: bytes
) -> tuple[str, bytes]:
    """Return the header that signs a record for a topic, by its name on the broker."""
    return SIGNATURE, private.sign(record_bytes(topic, key, value))


def is_record_signed(
    public: str,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes | None]],
) -> bool:
    """Whether the owner of a public key signed a record; it has exactly one signature."""
    found = [content or b"" for name, content in headers if name == SIGNATURE]
    signed = record_bytes(topic, key or b"", value or b"")
    return len(found) == 1 and is_signed(public, found[0], signed)
