"""Files of Ed25519 keys in PEM: private keys that only their owner can read, and public keys.

Operators sign commands with one key; exported bundles are signed with another. This module creates
and reads both, with the same checks.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from riskwatch.errors import SigningError

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_MODE: Final = 0o600
"""The widest permissions that the file of a private key may have."""
PUBLIC_MODE: Final = 0o644
_LONGEST: Final = 16_384


def create_private_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Create a private key in a new file; an existing file is not overwritten.

    Parameters
    ----------
    path : Path
        The file to create.
    passphrase : bytes, optional
        Passphrase that encrypts the key.

    Raises
    ------
    SigningError
        If the file exists already, or cannot be created.
    """
    key = Ed25519PrivateKey.generate()
    kind = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption_algorithm=kind
    )
    _write(path, pem, PRIVATE_MODE)
    return key


def write_public_key(path: Path, key: Ed25519PublicKey) -> None:
    """Write a public key to a new file.

    Raises
    ------
    SigningError
        If the file exists already, or cannot be created.
    """
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write(path, pem, PUBLIC_MODE)


def read_private_key(
    path: Path, passphrase: bytes | None = None, *, variable: str = ""
) -> Ed25519PrivateKey:
    """Read a private key from a file that only its owner can read.

    Parameters
    ----------
    path : Path
        Its file.
    passphrase : bytes, optional
        Passphrase that decrypts the key.
    variable : str
        Environment variable of the passphrase, for the error message.

    Raises
    ------
    SigningError
        If the key cannot be read. The message contains nothing of the file's content.
    """
    pem = _read(path, private=True)
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        is_encrypted = isinstance(error, TypeError) and not passphrase
        opens = ", or another passphrase opens it" if passphrase else ""
        why = "it has a passphrase" if is_encrypted else f"not a private key in PEM{opens}"
        see = f" (see {variable})" if variable else ""
        raise SigningError(f"{path}: {why}{see}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path}: a private key, but not an Ed25519 one")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    Raises
    ------
    SigningError
        If the key cannot be read.
    """
    pem = _read(path, private=False)
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise SigningError(f"{path}: not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SigningError(f"{path}: a public key, but not an Ed25519 one")
    return key


def _read(path: Path, *, private: bool) -> bytes:
    try:
        # The mode is checked on the open handle, so that the checked file is the one that is read.
        handle = os.open(path, os.O_RDONLY)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise SigningError(f"{path} is no file")
            mode = stat.S_IMODE(found.st_mode)
            if private and mode & ~PRIVATE_MODE:
                raise SigningError(
                    f"{path} has mode {mode:04o}: others may read it, so it counts as lost; make "
                    "a new key, or chmod 600 it if you are sure"
                )
            return file.read(_LONGEST)
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, pem: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
    except FileExistsError:
        raise SigningError(f"{path} is there already: a key is never overwritten") from None
    except OSError as error:
        raise SigningError(f"{path} cannot be made: {error.strerror}") from error
