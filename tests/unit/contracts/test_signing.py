"""Signatures of commands: the signed fields, their text, and public keys."""

from __future__ import annotations

import msgspec
import pytest

from riskwatch.contracts import signing
from riskwatch.contracts.codec import decode, encode
from riskwatch.core.command_signing import command_bytes, intent_digest
from riskwatch.core.events import Command
from riskwatch.errors import SigningError
from tests.support.people import KEYS, OPERATORS, command, until

VERIFIER = signing.Ed25519Verifier(OPERATORS)


def holds(made: Command) -> bool:
    """Return whether the operator that a command names has signed it."""
    operator = VERIFIER.operator(made.operator)
    assert operator is not None
    return VERIFIER.verify(operator, command_bytes(made), made.signature)


def test_a_command_survives_the_wire() -> None:
    """After signing, encoding, decoding and stamping, the signature is valid."""
    made = command("ann", "override", 1, until=until(60), share="0.5", n=[1, 2.0, None, {"b": 1}])
    sent = decode(encode(made))
    assert isinstance(sent, Command)
    assert holds(sent)
    assert holds(msgspec.structs.replace(sent, arrived=sent.ts))


def test_the_bytes_that_are_signed_stay_what_they_are() -> None:
    """They must not change: a command of today must verify in ten years."""
    made = command("ann", "set_limit", 1, key="k", limit="a", hard_usd="1.5")
    assert command_bytes(made) == (
        b"riskwatch/command/1"
        b"\0\0\0\x011\0\0\0\x03cli\0\0\0\x09e-ann-k-1\0\0\0\0\0\0\0\x101678492860000000"
        b"\0\0\0\x03ann\0\0\0\x09set_limit\0\0\0\x0aasset:USDC\0\0\0\x12a drill of our own"
        b'\0\0\0\x01k\0\0\0\x1e{"hard_usd":"1.5","limit":"a"}'
    )


def test_the_intent_is_the_command_without_its_message() -> None:
    """Sending it again at another time keeps the digest; any other change alters it."""
    one = command("ann", "halt", 1, key="k")
    assert intent_digest(one) == intent_digest(command("ann", "halt", 2, key="k"))
    for other in (
        command("bob", "halt", 1, key="k"),
        command("ann", "retire", 1, key="k"),
        command("ann", "halt", 1, "firm", key="k"),
        command("ann", "halt", 1, key="l"),
        command("ann", "halt", 1, key="k", reason="r"),
        command("ann", "halt", 1, key="k", a=1),
    ):
        assert intent_digest(one) != intent_digest(other)


def test_a_signature_is_of_one_purpose() -> None:
    """A signature of the same fields without the domain tag is invalid."""
    made = command("ann", "halt", 1)
    bare = command_bytes(made).removeprefix(b"riskwatch/command/1")
    forged = msgspec.structs.replace(made, signature=KEYS["ann"].sign(bare).hex())
    assert not holds(forged)


def test_what_nobody_could_read_is_not_signed() -> None:
    """A field out of its range raises an error before signing."""
    bad = msgspec.structs.replace(command("ann", "halt", 1), scope="a b")
    with pytest.raises(SigningError, match="scope"):
        signing.sign(bad, KEYS["ann"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "64 hexadecimal digits"),
        ("AB" * 32, "in lower case"),
        ("ab" * 31, "64 hexadecimal digits"),
        ("00" * 32, "somebody has the private key"),
        ("01" + "00" * 31, "somebody has the private key"),
    ],
)
def test_a_public_key_is_one(text: str, why: str) -> None:
    """It has exactly one text, and no weak key is accepted."""
    assert why in str(signing.public_key_problem(text))
