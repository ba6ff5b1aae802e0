"""Key files of operators: as all key files, and a passphrase from the environment may open one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from riskwatch.contracts import keyfile
from riskwatch.contracts.signing import public_text

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE: Final = "RISKWATCH_OPERATOR_PASSPHRASE"  # noqa: S105 - the name of a variable
"""Environment variable that holds the passphrase of a key file, if it has one."""


def make(path: Path) -> str:
    """Make a key file, and give its public half; see :func:`riskwatch.contracts.keyfile.make`."""
    return public_text(keyfile.make(path, _passphrase()).public_key())


def read(path: Path) -> Ed25519PrivateKey:
    """Read a key file; see :func:`riskwatch.contracts.keyfile.read`."""
    return keyfile.read(path, _passphrase(), variable=PASSPHRASE)


def _passphrase() -> bytes | None:
    given = os.environ.get(PASSPHRASE)
    return given.encode() if given else None
