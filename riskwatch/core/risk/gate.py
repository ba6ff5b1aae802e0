"""The command gate: checks operator, signature, deployment, age, repetition and role, in order."""

from __future__ import annotations

import re
from datetime import MAXYEAR, MINYEAR, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.clock import SECOND, micros, moment, rfc3339
from riskwatch.core.command_signing import command_bytes, intent_digest
from riskwatch.core.deployment import EMBEDDED, UNBOUND
from riskwatch.core.enums import CommandRefusal, Restriction, State
from riskwatch.core.enums import CommandRefusal as No
from riskwatch.core.events import Command, identity
from riskwatch.core.operators import Operator
from riskwatch.core.outputs import CLIENT_NAME, Origin, Output
from riskwatch.core.risk.decision import Intervention
from riskwatch.core.risk.state import IdempotencyRow
from riskwatch.core.scopes import BOOK, is_scope, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.operators import Verifier
    from riskwatch.core.risk.config import PeopleConfig
    from riskwatch.core.risk.state import RiskState


# An authorized command, its arguments and its result.

_NUMBER: Final = re.compile(r"\A[0-9]{1,15}(\.[0-9]{1,8})?\Z")
_LONGEST: Final = 200
_CLIENTS: Final = 100


class CommandRefusedError(Exception):
    """A command is refused; :class:`.commands.CommandHandler` publishes the refusal."""

    def __init__(self, refusal: CommandRefusal, detail: str) -> None:
        super().__init__(f"{refusal}: {detail}")
        self.refusal = refusal
        self.detail = detail


class AuthorizedCommand(msgspec.Struct, frozen=True):
    """A command whose operator is known.

    Attributes
    ----------
    command : Command
        The command as it was signed, with the canonical name of its scope.
    operator : Operator
        The operator who gave it.
    us : int
        Time at which it takes effect: its arrival, or the last evaluation of the rules if that is
        later; microseconds.
    cause_id : str
        Identity of the event.
    """

    command: Command
    operator: Operator
    us: int
    cause_id: str

    @property
    def scope(self) -> str:
        """Scope of the command."""
        return self.command.scope

    @property
    def by(self) -> str:
        """Id of the operator who gave it."""
        return self.operator.id

    @property
    def reason(self) -> str:
        """Reason that the operator states."""
        return self.command.reason

    @property
    def origin(self) -> Origin:
        """Origin of its outputs: the command, at the time at which it takes effect."""
        return Origin(self.cause_id, moment(self.us))

    @property
    def request_origin(self) -> Origin:
        """Origin of the request that it opens, whose id no other deployment gives."""
        deployment = self.command.deployment
        occasion = f"{self.cause_id}/{deployment}" if deployment else ""
        return Origin(self.cause_id, moment(self.us), occasion)

    def intervention(self, action: str, reasons: list[str]) -> Intervention:
        """Return the intervention on its scope."""
        return Intervention(self.cause_id, self.us, action, reasons)


class CommandResult(msgspec.Struct):
    """The result of a command: detail, outputs, outcome, and the request it opened or closed."""

    detail: str
    out: list[Output] = []
    outcome: str = "applied"
    request_id: str | None = None


class CommandArguments:
    """Arguments of one command: each is read once, and arguments that are not read are refused.

    Parameters
    ----------
    authorized : AuthorizedCommand
        The command.
    """

    def __init__(self, authorized: AuthorizedCommand) -> None:
        self._left = dict(authorized.command.args or {})
        self._us = authorized.us

    def end(self) -> None:
        """Refuse arguments that were not read, so that a misspelt one is not ignored."""
        if self._left:
            names = ", ".join(sorted(self._left))[:_LONGEST]
            raise _bad(f"{names}: no argument of this action")

    def text(self, name: str) -> str:
        """Return a text that must not be empty."""
        value = self._left.pop(name, None)
        if not isinstance(value, str) or not value.strip():
            raise _bad(f"{name} must be text, was {_shown(value)}")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean; ``False`` if it is left out."""
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise _bad(f"{name} must be true or false, was {_shown(value)}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a positive decimal given as text; `default` if it is left out and not ``None``."""
        value = self._left.pop(name, None)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or _NUMBER.match(value) is None or float(value) <= 0.0:
            raise _bad(f'{name} must be a positive decimal as text, such as "2500.5"')
        return float(value)

    def state(self, name: str, default: State) -> State:
        """Return a state below HALT, given by name."""
        value = self._left.pop(name, default.value)
        words = [s.value for s in State if s is not State.HALT]
        if value not in words:
            raise _bad(f"{name} must be one of {', '.join(words)}, was {_shown(value)}")
        return State(value)

    def restriction(self, name: str, default: Restriction) -> Restriction:
        """Return a restriction, given by name."""
        value = self._left.pop(name, default.value)
        words = [r.value for r in Restriction]
        if value not in words:
            raise _bad(f"{name} must be one of {', '.join(words)}, was {_shown(value)}")
        return Restriction(value)

    def until(self, longest_s: float, name: str = "until") -> int:
        """Return a future RFC 3339 time, at most `longest_s` seconds from now; microseconds."""
        value = self._left.pop(name, None)
        try:
            end = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            end = None
        # In the first and the last year a time in another zone may have no value in UTC.
        if end is None or end.tzinfo is None or not MINYEAR < end.year < MAXYEAR:
            raise _bad(f"{name} must be an RFC 3339 time with its zone, was {_shown(value)}")
        us = micros(end)
        latest = self._us + round(longest_s * SECOND)
        if not self._us < us <= latest:
            raise CommandRefusedError(
                CommandRefusal.EXPIRY_INVALID,
                f"{name} must be after {rfc3339(self._us)} and not after {rfc3339(latest)}, "
                f"was {rfc3339(us)}",
            )
        return us

    def clients(self, name: str) -> list[str]:
        """Return names of order paths, sorted; none if it is left out."""
        value = self._left.pop(name, [])
        named = isinstance(value, list) and len(value) <= _CLIENTS
        if not named or not all(isinstance(v, str) and CLIENT_NAME.fullmatch(v) for v in value):
            raise _bad(f"{name} must be at most {_CLIENTS} names of clients, was {_shown(value)}")
        return sorted({str(v) for v in value})


def _bad(detail: str) -> CommandRefusedError:
    return CommandRefusedError(CommandRefusal.ARGUMENT_INVALID, detail)


def _shown(value: object) -> str:
    return repr(value)[:80]


_UNSWITCHED = ("set_limit", "promote", "demote", "approve")
"""Actions whose scope need not be a switched scope; an approval may concern a limit."""
LOOSENING: Final = ("release", "approve", "override")
"""Actions that loosen."""
MAY_LOOSEN: Final = (*LOOSENING, "set_limit")
"""Actions that loosen, or do so with some arguments."""
_MARGIN = 60 * SECOND
MAX_REPEATS: Final = 64
"""Maximum number of answers to repetitions of one command; further ones are refused."""
_AHEAD_US: Final = 5 * SECOND
"""By how much a sender's clock may be ahead of the broker's, as for every event."""


def check_caught_up(authorized: AuthorizedCommand) -> None:
    """Refuse a command that loosens, if the worker was catching up when it took it."""
    reached = authorized.command.reached
    if reached is not None:
        raise CommandRefusedError(
            No.BEHIND,
            f"riskwatch is catching up: it had read events up to {rfc3339(micros(reached))} when "
            f"the command arrived at {rfc3339(authorized.us)}. Wait until it is ready (readyz), "
            "look at the state again, then give the command again with a new key",
        )


class CommandGate:
    """Admits or refuses commands.

    Parameters
    ----------
    config : PeopleConfig
        Time windows and bounds.
    verifier : Verifier
        Verifies operators and their signatures.
    deployment : str
        Deployment whose commands count.
    """

    def __init__(
        self, config: PeopleConfig, verifier: Verifier, deployment: str = EMBEDDED
    ) -> None:
        self.config = config
        self.verifier = verifier
        self.deployment = deployment

    def authentic(self, command: Command) -> Operator:
        """Return the operator who signed the command.

        Raises
        ------
        CommandRefusedError
            If the operator is unknown or disabled, or the signature is missing or invalid.
        """
        operator = self.verifier.operator(command.operator)
        if operator is None:
            raise CommandRefusedError(
                No.OPERATOR_UNKNOWN, f"operators.toml names no {command.operator!r}"
            )
        if operator.disabled:
            raise CommandRefusedError(No.OPERATOR_DISABLED, f"{operator.id} is disabled")
        if not command.signature:
            raise CommandRefusedError(No.UNSIGNED, "the command carries no signature")
        if not self.verifier.verify(operator, command_bytes(command), command.signature):
            raise CommandRefusedError(
                No.SIGNATURE_INVALID, f"not signed with the key of {operator.id}, or changed since"
            )
        return operator

    def check_deployment(self, command: Command) -> None:
        """Refuse a command that was signed for another deployment, or for none.

        A replay in one process also takes commands that name none, because it binds nobody and
        old files hold such commands.
        """
        if command.deployment == self.deployment:
            return
        if command.deployment == UNBOUND:
            if self.deployment == EMBEDDED:
                return
            raise CommandRefusedError(
                No.DEPLOYMENT_FOREIGN,
                f"an older riskwatch signed it, for no deployment: sign it again for "
                f"{self.deployment} with this version",
            )
        here = self.deployment or "a journal without a deployment"
        raise CommandRefusedError(
            No.DEPLOYMENT_FOREIGN, f"signed for deployment {command.deployment}, this is {here}"
        )

    def effect_time(self, command: Command, looked: int) -> int:
        """Return when a command takes effect, microseconds.

        That is its arrival, or the last evaluation of the rules (`looked`) if that is later. A
        clock that is slightly ahead moves it. A HALT of a clock that is far ahead counts as of its
        arrival.
        """
        ts = micros(command.ts)
        arrived = ts if command.arrived is None else micros(command.arrived)
        if command.action == "halt" and ts - arrived > _AHEAD_US:
            ts = arrived
        return max(ts, arrived, looked)

    def fresh(self, command: Command, us: int) -> None:
        """Refuse a command that was signed too long ago.

        Its age counts until it takes effect (`us`). That of a HALT counts until its arrival alone:
        a HALT must not be refused because the time of the last evaluation is ahead.
        """
        if command.action == "halt" and command.arrived is not None:
            us = micros(command.arrived)
        age = us - micros(command.ts)
        if age > self.config.replay_s * SECOND:
            raise CommandRefusedError(
                No.STALE,
                f"signed {age / SECOND:.0f} s ago, at most {self.config.replay_s:.0f} s count",
            )

    def known(self, state: RiskState, command: Command) -> IdempotencyRow | None:
        """Return the row of an earlier command with the same key and intent, if there is one.

        A different command under the same key is refused. A refused command is refused again: a new
        attempt needs a new key. An operator who repeats a command signs it again; a message that
        arrives twice is a copy, and is refused as a replay. So are repetitions beyond
        :data:`MAX_REPEATS`, so that a script in a loop does not fill the log.
        """
        row = state.commands.get(command.idempotency_key)
        if row is not None and row.digest != intent_digest(command):
            raise CommandRefusedError(
                No.KEY_REUSED, f"{command.idempotency_key} was another command's key"
            )
        if row is not None and row.event == identity(command):
            raise CommandRefusedError(
                No.REPLAYED, f"the same message came at {rfc3339(row.us)}: {row.outcome}"
            )
        if row is not None and row.refused:
            raise CommandRefusedError(No(row.outcome), "as before; a new try needs a new key")
        if row is not None and row.repeats >= MAX_REPEATS:
            raise CommandRefusedError(
                No.RATE_LIMITED, f"repeated {MAX_REPEATS} times: {row.outcome}"
            )
        if row is not None:
            row.repeats += 1
            state.mark(f"command/{command.idempotency_key}")
        return row

    def reserve_key(self, state: RiskState, authorized: AuthorizedCommand) -> bool:
        """Drop expired keys, and return whether there is room for one more.

        One operator has room for `max_operator_keys`, and all who may not release together for half
        of `max_keys`. So nobody can fill the table and keep others from releasing.
        """
        config, us = self.config, authorized.us
        for most, whose, keys in self._shares(state, authorized.operator):
            left = len(keys)
            # Rows stand in order of arrival, but a reload sorts them by key.
            for known_us, key in sorted((state.commands[key].us, key) for key in keys):
                expired = us - known_us > config.key_memory_s * SECOND
                # A key is kept while its command could still be fresh by a clock that is slightly
                # slow.
                stale = us - known_us > config.replay_s * SECOND + _MARGIN
                if not expired and not (left >= most and stale):
                    break
                del state.commands[key]
                state.mark(f"command/{key}")
                left -= 1
            if left < most:
                continue
            if authorized.command.action == "halt":
                return False  # a HALT is never refused for lack of room; repeating it does nothing
            raise CommandRefusedError(
                No.RATE_LIMITED, f"{most} commands {whose} in {config.replay_s:.0f} s"
            )
        return True

    def _shares(self, state: RiskState, operator: Operator) -> Iterator[tuple[int, str, list[str]]]:
        """Yield each bound that a command falls under: the bound, whose it is, and the keys."""
        config, half = self.config, max(1, self.config.max_keys // 2)
        yield config.max_keys, "of all operators", list(state.commands)
        if not operator.may("release"):
            lesser = [key for key, row in state.commands.items() if not self._may_release(row.by)]
            yield half, "of those who may not release", lesser
        own = [key for key, row in state.commands.items() if row.by == operator.id]
        yield min(config.max_operator_keys, half), f"of {operator.id}", own

    def _may_release(self, name: str) -> bool:
        """Whether an operator may release; rows of older builds name none, and count for nobody."""
        found = self.verifier.operator(name)
        return not name or (found is not None and found.may("release"))

    def remember(self, state: RiskState, command: Command, us: int, outcome: str) -> None:
        """Store the outcome of a command under its key.

        A HALT of a clock that is far ahead is remembered from its own time on: until then no copy
        of it is too old.
        """
        key, us = command.idempotency_key, max(us, micros(command.ts))
        refused = outcome in list(No)
        state.commands[key] = IdempotencyRow(
            us, intent_digest(command), outcome, refused, identity(command), command.operator
        )
        state.mark(f"command/{key}")

    def check_allowed(self, authorized: AuthorizedCommand) -> None:
        """Refuse a command without a reason or a valid scope, or beyond the operator's role."""
        command, operator = authorized.command, authorized.operator
        if not command.reason.strip():
            raise CommandRefusedError(No.REASON_MISSING, "a command states its reason")
        if not operator.may(command.action):
            raise CommandRefusedError(
                No.ROLE_FORBIDDEN, f"{operator.id} is {operator.role}: may not {command.action}"
            )
        if command.action not in _UNSWITCHED and not is_scope(command.scope):
            raise CommandRefusedError(No.SCOPE_INVALID, f"{command.scope!r} is no scope")
        if operator.role == "trader":
            at = parse(command.scope)
            if at.kind != BOOK or at.name not in operator.books:
                raise CommandRefusedError(
                    No.BOOK_FORBIDDEN, f"{operator.id} may halt {', '.join(operator.books)} only"
                )
