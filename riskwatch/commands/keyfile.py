"""Key files of operators: made for their owner's eyes alone, and read only if that is so."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from riskwatch.contracts.signing import new_key, private_key, private_pem, public_text
from riskwatch.errors import SigningError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE: Final = "RISKWATCH_OPERATOR_PASSPHRASE"  # noqa: S105 - the name of a variable
"""Environment variable that holds the passphrase of a key file, if it has one."""
_MODE: Final = 0o600
_LONGEST: Final = 16_384


def make(path: Path) -> str:
    """Make a key file, and give its public half; nothing that is there is overwritten.

    Raises
    ------
    SigningError
        If the file is there already, or cannot be made.
    """
    key = new_key()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    except FileExistsError:
        raise SigningError(f"{path} is there already: a key is never overwritten") from None
    except OSError as error:
        raise SigningError(f"{path} cannot be made: {error.strerror}") from error
    with os.fdopen(handle, "wb") as file:
        file.write(private_pem(key, _passphrase()))
    return public_text(key)


def read(path: Path) -> Ed25519PrivateKey:
    """Read a key file.

    Raises
    ------
    SigningError
        If it is missing, is no key, or others than its owner may read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise SigningError(f"{path} is no file")
            if stat.S_IMODE(found.st_mode) & ~_MODE:
                mode = stat.S_IMODE(found.st_mode)
                raise SigningError(
                    f"{path} has mode {mode:04o}: others may read it, so it counts as lost; make "
                    "a new key, or chmod 600 it if you are sure"
                )
            pem = file.read(_LONGEST)
    except OSError as error:
        raise SigningError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return private_key(pem, _passphrase())
    except SigningError as error:
        raise SigningError(f"{path}: {error} (see {PASSPHRASE})") from None


def _passphrase() -> bytes | None:
    given = os.environ.get(PASSPHRASE)
    return given.encode() if given else None
