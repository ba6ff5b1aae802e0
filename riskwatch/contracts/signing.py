"""Ed25519 signatures: of commands, checked before anything is believed, and of bundles.

What of a command is signed is said by :mod:`riskwatch.core.command_signing`, where keys are kept by
:mod:`riskwatch.contracts.keyfile`. Keys and signatures are written as
hexadecimal digits in lower case and in no other way, so that nothing has two spellings.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from riskwatch.contracts.codec import decode, encode
from riskwatch.contracts.refusal import Refusal
from riskwatch.core.command_signing import command_bytes
from riskwatch.errors import SigningError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from riskwatch.core.events import Command
    from riskwatch.core.operators import Operator, Operators

_KEY: Final = re.compile(r"\A[0-9a-f]{64}\Z")
_SIGNATURE: Final = re.compile(r"\A[0-9a-f]{128}\Z")
# Points of small order: a signature of theirs can be made by anybody.
_WEAK: Final = frozenset(
    {
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    }
)


class Ed25519Verifier:
    """Knows the operators of the configuration, and checks their signatures.

    Parameters
    ----------
    operators : Operators
        From ``operators.toml``.
    """

    def __init__(self, operators: Operators) -> None:
        self._operators = operators.operators

    def operator(self, name: str) -> Operator | None:
        """Look an operator up."""
        return self._operators.get(name)

    def verify(self, operator: Operator, message: bytes, signature: str) -> bool:
        """Whether `signature` is the operator's over exactly these bytes."""
        if _SIGNATURE.match(signature) is None:
            return False
        return is_signed(operator.public_key, bytes.fromhex(signature), message)


def is_signed(key: str, signature: bytes, message: bytes) -> bool:
    """Whether the owner of a public key, written as by :func:`public_text`, signed a message."""
    try:
        _public(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@cache
def _public(text: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))


def public_key_problem(text: str) -> str | None:
    """Say what is wrong with the text of a public key; ``None`` if nothing is.

    Examples
    --------
    >>> public_key_problem("AB")
    'an Ed25519 public key: 64 hexadecimal digits in lower case'
    """
    if _KEY.match(text) is None:
        return "an Ed25519 public key: 64 hexadecimal digits in lower case"
    if text in _WEAK:
        return "a public key that somebody has the private key of"
    return None


def sign(command: Command, key: Ed25519PrivateKey) -> Command:
    """Give the command as it must be sent.

    Raises
    ------
    SigningError
        If no worker could read it: a field is out of its range.
    """
    sent = decode(encode(command))
    if isinstance(sent, Refusal):
        raise SigningError(f"this is no command: {sent.detail}")
    assert type(sent) is type(command), "one line, one type"
    return msgspec.structs.replace(sent, signature=key.sign(command_bytes(sent)).hex())


def public_key_text(key: Ed25519PublicKey) -> str:
    """Write a public key as ``operators.toml`` and bundles have it."""
    return key.public_bytes_raw().hex()
