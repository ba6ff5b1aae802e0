"""Ed25519 signatures of commands and of bundles.

:mod:`riskwatch.core.command_signing` defines the signed bytes of a command, and
:mod:`riskwatch.contracts.keyfile` the files of keys. Keys and signatures are written as hexadecimal
digits in lower case only, so that each has exactly one text.
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
# Points of small order, for which anybody can create a valid signature.
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
    """Verifies the signatures of the configured operators.

    Parameters
    ----------
    operators : Operators
        Operators of ``operators.toml``.
    """

    def __init__(self, operators: Operators) -> None:
        self._all, self._operators = operators, operators.operators

    def operator(self, name: str) -> Operator | None:
        """Return the operator with an id, or ``None``."""
        return self._operators.get(name)

    def is_independent(self, *names: str) -> bool:
        """Whether one of these people works outside trading, or no operator states a function."""
        found = self._all
        return not found.states_functions or any(map(found.is_outside_trading, names))

    def verify(self, operator: Operator, message: bytes, signature: str) -> bool:
        """Whether `signature` is the operator's signature of exactly these bytes."""
        if _SIGNATURE.match(signature) is None:
            return False
        return is_signed(operator.public_key, bytes.fromhex(signature), message)


def is_signed(key: str, signature: bytes, message: bytes) -> bool:
    """Whether the owner of a public key, given as by :func:`public_key_text`, signed a message."""
    try:
        _public(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@cache
def _public(text: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))


def public_key_problem(text: str) -> str | None:
    """Return what is wrong with the text of a public key; ``None`` if it is valid.

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
    """Return the signed command, ready to be sent.

    Raises
    ------
    SigningError
        If a field is out of its range, so that no worker could decode the command.
    """
    sent = decode(encode(command))
    if isinstance(sent, Refusal):
        raise SigningError(f"this is no command: {sent.detail}")
    assert type(sent) is type(command), "one line, one type"
    return msgspec.structs.replace(sent, signature=key.sign(command_bytes(sent)).hex())


def public_key_text(key: Ed25519PublicKey) -> str:
    """Return a public key as text, as in ``operators.toml`` and in bundles."""
    return key.public_bytes_raw().hex()
