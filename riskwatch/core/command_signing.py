"""What exactly is signed of a command, and what makes two commands the same.

The bytes are a domain tag and every field, each with its length before it, so that no two
different commands share an encoding and no other signature of the same key can pass for one.
`arrived` is not among them: the broker says that, not the operator.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import micros

if TYPE_CHECKING:
    from riskwatch.core.events import Command

DOMAIN: Final = b"riskwatch/command/1"
"""What the signature is for. A change of the bytes below is a new number here."""
INTENT: Final = b"riskwatch/intent/1"

_args = msgspec.json.Encoder(order="deterministic")


def command_bytes(command: Command) -> bytes:
    """Bytes that an operator signs.

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
        *_meant(command),
    )


def intent_digest(command: Command) -> str:
    """Digest of what is commanded, whenever and in whichever message: 64 hexadecimal digits.

    A command that is sent again under its idempotency key must have the same.
    """
    return sha256(_framed(INTENT, *_meant(command))).hexdigest()


def _meant(command: Command) -> tuple[str, ...]:
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
