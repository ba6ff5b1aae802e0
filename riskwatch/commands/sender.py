"""Signing and sending of operators' commands, and the options of commands that do it."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import time
from collections.abc import Callable  # noqa: TC003 - its name is looked up when options are made
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints
from uuid import uuid4

import msgspec
import typer

from riskwatch.client import Publisher
from riskwatch.commands.db import DEFAULT, Database
from riskwatch.commands.stream import connection
from riskwatch.contracts import keyfile
from riskwatch.contracts.codec import encode
from riskwatch.contracts.signing import public_key_text, sign
from riskwatch.contracts.validation import check_command_text
from riskwatch.core.clock import rfc3339
from riskwatch.core.deployment import EMBEDDED, VARIABLE, deployment_fault
from riskwatch.core.events import Command, CommandAction, identity
from riskwatch.core.text import visible
from riskwatch.errors import ConfigError, RiskwatchError, SigningError, StoreError
from riskwatch.store import queries
from riskwatch.store.deployment import current_deployment

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


# Key files of operators. A passphrase from the environment may open one.

PASSPHRASE: Final = "RISKWATCH_OPERATOR_PASSPHRASE"  # noqa: S105 - the name of a variable
"""Environment variable that holds the passphrase of a key file, if it has one."""


def make_keyfile(path: Path) -> str:
    """Make a key file and return its public half.

    See :func:`riskwatch.contracts.keyfile.create_private_key`.
    """
    return public_key_text(keyfile.create_private_key(path, _passphrase()).public_key())


def read_keyfile(path: Path) -> Ed25519PrivateKey:
    """Read a key file; see :func:`riskwatch.contracts.keyfile.read_private_key`."""
    return keyfile.read_private_key(path, _passphrase(), variable=PASSPHRASE)


def _passphrase() -> bytes | None:
    given = os.environ.get(PASSPHRASE)
    return given.encode() if given else None


STDOUT: Final = "-"
_POLL_S: Final = 0.2

Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded with your name.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; else only show the effect.")]


def _options(
    *,
    operator: Annotated[
        str | None, typer.Option(envvar="RISKWATCH_OPERATOR", help="Your operator id.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(envvar="RISKWATCH_OPERATOR_KEY", help="Your private key; mode 0600."),
    ] = None,
    kafka: Annotated[
        str | None,
        typer.Option(
            envvar="RISKWATCH_KAFKA", help="host:port of the broker that the command goes to."
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Write the signed command to this file (- for stdout) for `replay` instead."
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="For a file: event time to sign it for, RFC 3339.")
    ] = None,
    once: Annotated[
        str | None,
        typer.Option("--idempotency-key", help="To repeat a command; else a new key."),
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option(
            help="Deployment that the command is for; else RISKWATCH_DEPLOYMENT, else the "
            "database's. For a file: `embedded`."
        ),
    ] = None,
    database: Database = DEFAULT,
    wait: Annotated[
        float, typer.Option(min=0.0, help="Seconds to wait for the worker's answer.")
    ] = 5.0,
) -> Sender:
    return Sender(operator, key, kafka, out, at, once, deployment, database, wait)


def with_sender_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `sender` of a command by the options of a :class:`Sender`."""
    hints = get_type_hints(_options, include_extras=True)
    more = [
        p.replace(annotation=hints[p.name]) for p in inspect.signature(_options).parameters.values()
    ]
    own_hints = get_type_hints(command, include_extras=True)
    own = [
        p.replace(annotation=own_hints[p.name])
        for p in inspect.signature(command).parameters.values()
        if p.name != "sender"
    ]

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> None:
        sender = _options(**{p.name: given.pop(p.name) for p in more})
        command(*args, sender=sender, **given)

    run.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*own, *more)}
    return run


class Sender(msgspec.Struct, frozen=True):
    """The options of signed commands: the operator, the key and the destination.

    Attributes
    ----------
    operator, key
        The operator who signs, and the key file.
    kafka, out
        Broker or file; the file takes precedence, and without either it is stdout.
    at : str or None
        Event time for a file.
    once : str or None
        Idempotency key.
    named : str or None
        Deployment that the person named.
    database : str
        Database from which the answer is read.
    wait : float
        Longest wait for the answer, seconds.
    """

    operator: str | None
    key: Path | None
    kafka: str | None
    out: str | None
    at: str | None
    once: str | None
    named: str | None
    database: Database
    wait: float

    @property
    def now(self) -> datetime:
        """Time in the signed command.

        Raises
        ------
        ConfigError
            If it is not a valid time, or one is given for a command to a broker.
        """
        if self.at is None:
            return datetime.now(UTC)
        if self.live:
            raise ConfigError("command line", "--at", "--out as well: live, the clock counts")
        try:
            found = datetime.fromisoformat(self.at)
        except ValueError:
            found = None
        if found is None or found.tzinfo is None:
            raise ConfigError("command line", "--at", "an RFC 3339 time with its zone", self.at)
        return found

    @property
    def live(self) -> bool:
        """Whether commands go to a broker."""
        return self.out is None and bool(self.kafka)

    @property
    def deployment(self) -> str:
        """Deployment for which commands are signed.

        Raises
        ------
        ConfigError
            If the named one is not a deployment id.
        SigningError
            If nobody names one, and the database cannot tell.
        """
        if self.named is None and not self.live:
            return EMBEDDED
        named = self.named or os.environ.get(VARIABLE)
        if named:
            fault = deployment_fault(named)
            if fault is not None and (self.live or named != EMBEDDED):
                where = "--deployment" if self.named else VARIABLE
                raise ConfigError("command line", where, fault, named)
            return named
        unknown = f"for which deployment? --deployment or {VARIABLE}; the database does not tell: "
        try:
            with queries.open_reader(self.database) as conn:
                found = current_deployment(conn).id
        except StoreError as error:
            raise SigningError(f"{unknown}{error}") from error
        if found == EMBEDDED:
            raise SigningError(f"{unknown}a database of replays has no workers")
        return found

    def send(self, action: CommandAction, scope: str, reason: str, args: dict[str, Any]) -> str:
        """Sign a command, send it, and print the outcome; return its identity.

        Raises
        ------
        ConfigError
            If the reason holds a character that cannot be seen.
        SigningError
            If it cannot be signed.
        RiskwatchError
            If it was refused, or cannot be sent.
        """
        if self.operator is None:
            raise SigningError("who are you? --operator or RISKWATCH_OPERATOR")
        if self.key is None:
            raise SigningError("with which key? --key or RISKWATCH_OPERATOR_KEY")
        made = Command(
            v=1,
            event_id=uuid4().hex,
            ts=self.now,
            source="riskwatch-cli",
            operator=self.operator,
            action=action,
            scope=scope,
            reason=reason,
            idempotency_key=self.once or uuid4().hex,
            args=args or None,
            deployment=self.deployment,
        )
        refusal = check_command_text(made)
        if refusal is not None:
            raise ConfigError("command line", "command", refusal.detail)
        signed = sign(made, read_keyfile(self.key))
        if self.live:
            self._publish(signed)
            self._answer(signed)
        else:
            self._write(signed)
        return identity(signed)

    def _publish(self, command: Command) -> None:
        with Publisher(connection(self.kafka)) as publisher:
            refused = publisher.send(command)
        if refused is not None:
            raise RiskwatchError(f"not sent: {refused.detail}")

    def _write(self, command: Command) -> None:
        line = encode(command) + b"\n"
        if self.out in (None, STDOUT):
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
            where = "stdout"
        else:
            assert self.out is not None, "checked above"
            try:
                handle = os.open(self.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                with os.fdopen(handle, "ab") as file:
                    file.write(line)
            except OSError as error:
                raise RiskwatchError(f"{self.out}: {error.strerror}") from error
            where = self.out
        typer.echo(
            f"signed for deployment {command.deployment}, written to {where}, not sent: "
            "`riskwatch replay` applies it; with RISKWATCH_KAFKA it goes to the workers",
            err=True,
        )

    def _answer(self, command: Command) -> None:
        """Wait for the outcome in the workers' database, and print it."""
        what = f"{command.action} of {command.scope}"
        typer.echo(
            f"{what} sent to deployment {command.deployment}, idempotency key "
            f"{command.idempotency_key}",
            err=True,
        )
        deadline = time.monotonic() + self.wait
        found = None
        while self.wait and found is None and time.monotonic() < deadline:
            try:
                with queries.open_reader(self.database) as conn:
                    found = queries.command_outcome(conn, identity(command))
            except StoreError as error:
                typer.echo(f"the answer cannot be read: {error}", err=True)
                return
            if found is None:
                time.sleep(_POLL_S)
        if found is None:
            typer.echo("no answer yet: see `riskwatch killswitch history`", err=True)
            return
        if found["refusal"] is not None:
            raise RiskwatchError(f"{what} refused: {found['refusal']}: {found['detail']}")
        request = f", request {found['request_id']}" if found["request_id"] else ""
        typer.echo(visible(f"{what} {found['outcome']}: {found['detail']}{request}"))


def end_time(sender: Sender, duration_s: float) -> str:
    """Return the RFC 3339 text of the time that is a duration after the command's time."""
    return rfc3339(round(sender.now.timestamp() + duration_s) * 1_000_000)
