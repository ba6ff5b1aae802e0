"""The signed bytes of a command, and the digest of its intent.

The signed bytes are a domain tag and every field, each after its length. No two different commands
therefore have the same encoding, and no other signature by the same key is valid for a command.
`arrived` is not included, because the broker sets it, not the operator.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import micros

if TYPE_CHECKING:
    from riskwatch.core.events import Command

DOMAIN: Final = b"riskwatch/command/1"
"""Domain tag of the signature. If the bytes below change, its number must change."""
INTENT: Final = b"riskwatch/intent/1"

_args = msgspec.json.Encoder(order="deterministic")


def command_bytes(command: Command) -> bytes:
    """Return the bytes that an operator signs.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from riskwatch.core.events import Command
    >>> command = Command(v=1, event_id="1", ts=datetime(2023, 3, 11, tzinfo=UTC), source="cli",
    ...     operator="ann", action="halt", scope="firm", reason="fire", idempotency_key="k")
    >>> changed = msgspec.structs.replace(command, reason="fir", idempotency_key="ek")
    >>> command_bytes(command) == command_bytes(changed)
    False
    """
    return _framed(
        DOMAIN,
        str(command.v),
        command.source,
        command.event_id,
        "" if command.source_seq is None else str(command.source_seq),
        str(micros(command.ts)),
        *_intent_fields(command),
    )


def intent_digest(command: Command) -> str:
    """Return the digest of a command's intent, 64 hexadecimal digits.

    It does not depend on the time or the message. A command that is sent again under its
    idempotency key must have the same digest.
    """
    return sha256(_framed(INTENT, *_intent_fields(command))).hexdigest()


def _intent_fields(command: Command) -> tuple[str, ...]:
    args = _args.encode(command.args or {}).decode()
    return (
        command.operator,
        command.action,
        command.scope,
        command.reason,
        command.idempotency_key,
        args,
    )


def _framed(domain: bytes, *fields: str) -> bytes:
    out = bytearray(domain)
    for field in fields:
        data = field.encode()
        out += len(data).to_bytes(4, "big")
        out += data
    return bytes(out)
