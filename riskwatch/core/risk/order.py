"""A command on its way: who gave it, at which moment it counts, and what its arguments say."""

from __future__ import annotations

import re
from datetime import MAXYEAR, MINYEAR, datetime
from typing import Any, Final

import msgspec

from riskwatch.core.clock import SECOND, micros, moment, text
from riskwatch.core.drilled import CLIENT
from riskwatch.core.events import Command
from riskwatch.core.operators import Operator
from riskwatch.core.output import Origin, Output
from riskwatch.core.reasons import CommandRefusal, State
from riskwatch.core.risk.turn import Intervention

_NUMBER: Final = re.compile(r"\A[0-9]{1,15}(\.[0-9]{1,8})?\Z")
_LONGEST: Final = 200
_CLIENTS: Final = 100


class RefusedError(Exception):
    """A command has no effect; turned into an output where commands are taken."""

    def __init__(self, refusal: CommandRefusal, detail: str) -> None:
        super().__init__(f"{refusal}: {detail}")
        self.refusal = refusal
        self.detail = detail


class Order(msgspec.Struct, frozen=True):
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


class Done(msgspec.Struct):
    """What came of a command."""

    detail: str
    out: list[Output] = []
    outcome: str = "applied"
    request_id: str | None = None


class Arguments:
    """Arguments of one command, each asked for once; what nobody asks for is refused.

    Parameters
    ----------
    order : Order
        The command.
    """

    def __init__(self, order: Order) -> None:
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
            raise RefusedError(
                CommandRefusal.EXPIRY_INVALID,
                f"{name} must be after {text(self._us)} and not after {text(latest)}, "
                f"was {text(us)}",
            )
        return us

    def clients(self, name: str) -> list[str]:
        """Names of order paths, sorted; none if it is left out."""
        value = self._left.pop(name, [])
        named = isinstance(value, list) and len(value) <= _CLIENTS
        if not named or not all(isinstance(v, str) and CLIENT.fullmatch(v) for v in value):
            raise _bad(f"{name} must be at most {_CLIENTS} names of clients, was {_shown(value)}")
        return sorted({str(v) for v in value})

    def left(self, name: str) -> Any:
        """Whether an argument is there and not asked for yet."""
        return name in self._left


def _bad(detail: str) -> RefusedError:
    return RefusedError(CommandRefusal.ARGUMENT_INVALID, detail)


def _shown(value: object) -> str:
    return repr(value)[:80]
