"""The signed bytes of a command, and the digest of its intent.

The signed bytes are a domain tag, the deployment that the command is for, and every field, each
after its length. No two different commands therefore have the same encoding, and no other signature
by the same key is valid for a command. `arrived` is not included, because the broker sets it, not
the operator.

Builds before deployments had ids signed under :data:`UNBOUND_DOMAIN`. Journals hold such commands,
so their bytes and digests stay computable. A live worker refuses them
(:meth:`riskwatch.core.risk.gate.CommandGate.check_deployment`).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import micros

if TYPE_CHECKING:
    from riskwatch.core.events import Command

DOMAIN: Final = b"riskwatch/command/2"
"""Domain tag of the signature. If the bytes below change, its number must change."""
UNBOUND_DOMAIN: Final = b"riskwatch/command/1"
"""Domain tag of commands that name no deployment."""
INTENT: Final = b"riskwatch/intent/2"
UNBOUND_INTENT: Final = b"riskwatch/intent/1"

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
    >>> elsewhere = msgspec.structs.replace(command, deployment="staging")
    >>> command_bytes(command) in (command_bytes(changed), command_bytes(elsewhere))
    False
    """
    return framed(
        *_bound(command, DOMAIN, UNBOUND_DOMAIN),
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
    return sha256(
        framed(*_bound(command, INTENT, UNBOUND_INTENT), *_intent_fields(command))
    ).hexdigest()


def _bound(command: Command, domain: bytes, unbound: bytes) -> tuple[bytes, ...]:
    """Return the domain tag, and the deployment if the command names one."""
    return (domain, command.deployment.encode()) if command.deployment else (unbound,)


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


def framed(domain: bytes, *fields: str | bytes) -> bytes:
    """Return a domain tag and fields, each after its length, so that none runs into another.

    Signatures of commands, of limits and of records are over such bytes, each in its own domain.
    """
    out = bytearray(domain)
    for field in fields:
        data = field.encode() if isinstance(field, str) else field
        out += len(data).to_bytes(4, "big")
        out += data
    return bytes(out)
