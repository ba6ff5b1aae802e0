"""Whether a command may be looked at: who, signed, fresh, once. In this order."""

from __future__ import annotations

import re
from datetime import MAXYEAR, MINYEAR, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.core.clock import SECOND, micros, moment, rfc3339
from riskwatch.core.command_signing import command_bytes, intent_digest
from riskwatch.core.enums import CommandRefusal, State
from riskwatch.core.enums import CommandRefusal as No
from riskwatch.core.events import Command, identity
from riskwatch.core.operators import Operator
from riskwatch.core.outputs import CLIENT_NAME, Origin, Output
from riskwatch.core.risk.decision import Intervention
from riskwatch.core.risk.state import IdempotencyRow
from riskwatch.core.scopes import BOOK, is_scope, parse

if TYPE_CHECKING:
    from riskwatch.core.operators import Verifier
    from riskwatch.core.risk.config import PeopleConfig
    from riskwatch.core.risk.state import RiskState


# A command on its way: who gave it, at which moment it counts, and what its arguments say.

_NUMBER: Final = re.compile(r"\A[0-9]{1,15}(\.[0-9]{1,8})?\Z")
_LONGEST: Final = 200
_CLIENTS: Final = 100


class CommandRefusedError(Exception):
    """A command has no effect; turned into an output where commands are taken."""

    def __init__(self, refusal: CommandRefusal, detail: str) -> None:
        super().__init__(f"{refusal}: {detail}")
        self.refusal = refusal
        self.detail = detail


class AuthorizedCommand(msgspec.Struct, frozen=True):
    """A command whose operator is known.

    Attributes
    ----------
    command : Command
        As it was signed.
    operator : Operator
        Who gave it.
    us : int
        When it counts: its arrival, or the last look of the rules if that is later;
        microseconds.
    cause_id : str
        Identity of the event.
    """

    command: Command
    operator: Operator
    us: int
    cause_id: str

    @property
    def scope(self) -> str:
        """What it is about."""
        return self.command.scope

    @property
    def by(self) -> str:
        """Who gave it."""
        return self.operator.id

    @property
    def reason(self) -> str:
        """Why, as they say."""
        return self.command.reason

    @property
    def origin(self) -> Origin:
        """What comes of it comes from the command, at the time at which it counts."""
        return Origin(self.cause_id, moment(self.us))

    def intervention(self, action: str, reasons: list[str]) -> Intervention:
        """Return what it does to its scope, and why."""
        return Intervention(self.cause_id, self.us, action, reasons)


class CommandResult(msgspec.Struct):
    """What came of a command."""

    detail: str
    out: list[Output] = []
    outcome: str = "applied"
    request_id: str | None = None


class CommandArguments:
    """Arguments of one command, each asked for once; what nobody asks for is refused.

    Parameters
    ----------
    order : Order
        The command.
    """

    def __init__(self, order: AuthorizedCommand) -> None:
        self._left = dict(order.command.args or {})
        self._us = order.us

    def end(self) -> None:
        """Refuse what is left over: a typo must not be lost."""
        if self._left:
            names = ", ".join(sorted(self._left))[:_LONGEST]
            raise _bad(f"{names}: no argument of this action")

    def text(self, name: str) -> str:
        """Text that must be there."""
        value = self._left.pop(name, None)
        if not isinstance(value, str) or not value.strip():
            raise _bad(f"{name} must be text, was {_shown(value)}")
        return value

    def flag(self, name: str) -> bool:
        """Give what is true or false; false if it is left out."""
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise _bad(f"{name} must be true or false, was {_shown(value)}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Text of a positive decimal; `default` if it is left out and there is one."""
        value = self._left.pop(name, None)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or _NUMBER.match(value) is None or float(value) <= 0.0:
            raise _bad(f'{name} must be a positive decimal as text, such as "2500.5"')
        return float(value)

    def state(self, name: str, default: State) -> State:
        """Name of a state below HALT."""
        value = self._left.pop(name, default.value)
        words = [s.value for s in State if s is not State.HALT]
        if value not in words:
            raise _bad(f"{name} must be one of {', '.join(words)}, was {_shown(value)}")
        return State(value)

    def until(self, longest_s: float, name: str = "until") -> int:
        """RFC 3339 time after now, at most `longest_s` seconds from now; microseconds."""
        value = self._left.pop(name, None)
        try:
            end = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            end = None
        # At either end of the calendar another zone's clock cannot be said in UTC.
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
        """Names of order paths, sorted; none if it is left out."""
        value = self._left.pop(name, [])
        named = isinstance(value, list) and len(value) <= _CLIENTS
        if not named or not all(isinstance(v, str) and CLIENT_NAME.fullmatch(v) for v in value):
            raise _bad(f"{name} must be at most {_CLIENTS} names of clients, was {_shown(value)}")
        return sorted({str(v) for v in value})

    def left(self, name: str) -> Any:
        """Whether an argument is there and not asked for yet."""
        return name in self._left


def _bad(detail: str) -> CommandRefusedError:
    return CommandRefusedError(CommandRefusal.ARGUMENT_INVALID, detail)


def _shown(value: object) -> str:
    return repr(value)[:80]


_ELSEWHERE = ("set_limit", "promote", "demote", "approve")
"""Actions that need no switch on their scope: an approval is of what waits, perhaps a limit."""
_MARGIN = 60 * SECOND


class CommandGate:
    """Lets commands through, or says why not.

    Parameters
    ----------
    config : PeopleConfig
        Windows and bounds.
    verifier : Verifier
        Who may sign.
    """

    def __init__(self, config: PeopleConfig, verifier: Verifier) -> None:
        self.config = config
        self.verifier = verifier

    def authentic(self, command: Command) -> Operator:
        """Return whose command it is.

        Raises
        ------
        CommandRefusedError
            If nobody can be shown to be it.
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

    def fresh(self, command: Command, us: int) -> None:
        """Refuse what was signed too long ago."""
        age = us - micros(command.ts)
        if age > self.config.replay_s * SECOND:
            raise CommandRefusedError(
                No.STALE,
                f"signed {age / SECOND:.0f} s ago, at most {self.config.replay_s:.0f} s count",
            )

    def known(self, state: RiskState, command: Command) -> IdempotencyRow | None:
        """What came of it when it came before; refuse another command under the same key.

        What was refused is refused again: a new try needs a new key. Who means the same again
        signs it again; a message that comes twice was copied by somebody.
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
        return row

    def reserve_key(self, state: RiskState, command: Command, us: int) -> bool:
        """Make room for one more key; whether there is any."""
        config = self.config
        # Rows are in the order in which they came, but a reload sorts them by key.
        oldest = sorted((row.us, key) for key, row in state.commands.items())
        for known_us, key in oldest:
            over = len(state.commands) >= config.max_keys
            expired = us - known_us > config.key_memory_s * SECOND
            # A key is kept while its command could still be fresh to a clock that is a bit behind.
            if not expired and not (over and us - known_us > config.replay_s * SECOND + _MARGIN):
                break
            del state.commands[key]
            state.mark(f"command/{key}")
        if len(state.commands) < config.max_keys:
            return True
        if command.action == "halt":
            return False  # a HALT is never refused for want of room; a repeat of it does nothing
        raise CommandRefusedError(
            No.RATE_LIMITED, f"{config.max_keys} commands in {config.replay_s:.0f} s"
        )

    def remember(self, state: RiskState, command: Command, us: int, outcome: str) -> None:
        """Keep what came of a command under its key."""
        key = command.idempotency_key
        refused = outcome in list(No)
        state.commands[key] = IdempotencyRow(
            us, intent_digest(command), outcome, refused, identity(command)
        )
        state.mark(f"command/{key}")

    def check_allowed(self, order: AuthorizedCommand) -> None:
        """Refuse what has no reason, no scope, or is beyond the operator's role."""
        command, operator = order.command, order.operator
        if not command.reason.strip():
            raise CommandRefusedError(No.REASON_MISSING, "a command states its reason")
        if not operator.may(command.action):
            raise CommandRefusedError(
                No.ROLE_FORBIDDEN, f"{operator.id} is {operator.role}: may not {command.action}"
            )
        if command.action not in _ELSEWHERE and not is_scope(command.scope):
            raise CommandRefusedError(No.SCOPE_INVALID, f"{command.scope!r} is no scope")
        if operator.role == "trader":
            at = parse(command.scope)
            if at.kind != BOOK or at.name not in operator.books:
                raise CommandRefusedError(
                    No.BOOK_FORBIDDEN, f"{operator.id} may halt {', '.join(operator.books)} only"
                )
