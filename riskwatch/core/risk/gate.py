"""Whether a command may be looked at: who, signed, fresh, once. In this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskwatch.core.clock import SECOND, micros, text
from riskwatch.core.events import identity
from riskwatch.core.reasons import CommandRefusal as No
from riskwatch.core.risk.control import KeyRow
from riskwatch.core.risk.order import Order, RefusedError
from riskwatch.core.scopes import BOOK, is_scope, parse
from riskwatch.core.signed import command_bytes, intent

if TYPE_CHECKING:
    from riskwatch.core.events import Command
    from riskwatch.core.operators import Operator, Verifier
    from riskwatch.core.risk.config import PeopleConfig
    from riskwatch.core.risk.state import RiskState

_ELSEWHERE = ("set_limit", "promote", "demote", "approve")
"""Actions that need no switch on their scope: an approval is of what waits, perhaps a limit."""
_MARGIN = 60 * SECOND


class Gate:
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
        """Whose command it is; raises :class:`RefusedError` if nobody can be shown to be it."""
        operator = self.verifier.operator(command.operator)
        if operator is None:
            raise RefusedError(No.OPERATOR_UNKNOWN, f"operators.toml names no {command.operator!r}")
        if operator.disabled:
            raise RefusedError(No.OPERATOR_DISABLED, f"{operator.id} is disabled")
        if not command.signature:
            raise RefusedError(No.UNSIGNED, "the command carries no signature")
        if not self.verifier.signed(operator, command_bytes(command), command.signature):
            raise RefusedError(
                No.SIGNATURE_INVALID, f"not signed with the key of {operator.id}, or changed since"
            )
        return operator

    def fresh(self, command: Command, us: int) -> None:
        """Refuse what was signed too long ago."""
        age = us - micros(command.ts)
        if age > self.config.replay_s * SECOND:
            raise RefusedError(
                No.STALE,
                f"signed {age / SECOND:.0f} s ago, at most {self.config.replay_s:.0f} s count",
            )

    def known(self, state: RiskState, command: Command) -> KeyRow | None:
        """What came of it when it came before; refuse another command under the same key.

        What was refused is refused again: a new try needs a new key. Who means the same again
        signs it again; a message that comes twice was copied by somebody.
        """
        row = state.commands.get(command.idempotency_key)
        if row is not None and row.digest != intent(command):
            raise RefusedError(
                No.KEY_REUSED, f"{command.idempotency_key} was another command's key"
            )
        if row is not None and row.event == identity(command):
            raise RefusedError(
                No.REPLAYED, f"the same message came at {text(row.us)}: {row.outcome}"
            )
        if row is not None and row.refused:
            raise RefusedError(No(row.outcome), "as before; a new try needs a new key")
        return row

    def room(self, state: RiskState, command: Command, us: int) -> bool:
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
        raise RefusedError(
            No.RATE_LIMITED, f"{config.max_keys} commands in {config.replay_s:.0f} s"
        )

    def remember(self, state: RiskState, command: Command, us: int, outcome: str) -> None:
        """Keep what came of a command under its key."""
        key = command.idempotency_key
        refused = outcome in list(No)
        state.commands[key] = KeyRow(us, intent(command), outcome, refused, identity(command))
        state.mark(f"command/{key}")

    def allowed(self, order: Order) -> None:
        """Refuse what has no reason, no scope, or is beyond the operator's role."""
        command, operator = order.command, order.operator
        if not command.reason.strip():
            raise RefusedError(No.REASON_MISSING, "a command states its reason")
        if not operator.may(command.action):
            raise RefusedError(
                No.ROLE_FORBIDDEN, f"{operator.id} is {operator.role}: may not {command.action}"
            )
        if command.action not in _ELSEWHERE and not is_scope(command.scope):
            raise RefusedError(No.SCOPE_INVALID, f"{command.scope!r} is no scope")
        if operator.role == "trader":
            at = parse(command.scope)
            if at.kind != BOOK or at.name not in operator.books:
                raise RefusedError(
                    No.BOOK_FORBIDDEN, f"{operator.id} may halt {', '.join(operator.books)} only"
                )
