"""Ed25519 keys in PEM files, for what leaves the house: audit bundles."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from riskwatch.errors import RiskwatchError

if TYPE_CHECKING:
    from pathlib import Path

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
"""Rights of anybody but the owner."""


class KeyFileError(RiskwatchError):
    """A key file is missing, unreadable, no Ed25519 key, or open to others."""


def make_key(path: Path) -> Path:
    """Write a new private key, for its owner alone, and its public key beside it, ``.pub``.

    Raises
    ------
    KeyFileError
        If there is a file already: keys are never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    beside = path.with_name(path.name + ".pub")
    try:
        _write(path, private, 0o600)
        _write(beside, public, 0o644)
    except OSError as error:
        raise KeyFileError(f"{error.filename}: {error.strerror}") from error
    return beside


def private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key that nobody but its owner can read.

    Raises
    ------
    KeyFileError
        If that cannot be; the message never holds anything of the key.
    """
    try:
        if path.stat().st_mode & OTHERS:
            raise KeyFileError(f"{path}: others may read it, `chmod 600` it")
        found = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path}: is no private key in PEM without a password") from None
    if not isinstance(found, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: must be an Ed25519 key")
    return found


def public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises
    ------
    KeyFileError
        If that cannot be.
    """
    try:
        found = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path}: is no public key in PEM") from None
    if not isinstance(found, Ed25519PublicKey):
        raise KeyFileError(f"{path}: must be an Ed25519 key")
    return found


def raw(key: Ed25519PublicKey) -> str:
    """Write a public key as 64 hexadecimal digits."""
    return key.public_bytes_raw().hex()


def is_signed(key: str, signature: bytes, message: bytes) -> bool:
    """Whether the owner of a key, written as by :func:`raw`, signed a message."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _write(path: Path, data: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
