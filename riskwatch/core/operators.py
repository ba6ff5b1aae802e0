"""Operators, their roles, and the interface that verifies their signatures.

A library that `core` does not import checks signatures. The composition root passes a
:class:`Verifier` in.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

import msgspec


class Role(StrEnum):
    """Role of an operator; each includes the rights of those before it, except `trader`."""

    VIEWER = "viewer"
    """No commands; the role exists so that such a command is attributed to its operator."""
    TRADER = "trader"
    """Halt the operator's own books."""
    RISK = "risk"
    """Halt anything; acknowledge; silence; drill; open a pre-authorised unwind."""
    SUPERVISOR = "supervisor"
    """All commands: also release, approve, override, retire, rebase, limits, models' authority."""


_RISK: Final = frozenset({"halt", "acknowledge", "silence", "drill", "unwind"})
_MAY: Final[dict[Role, frozenset[str]]] = {
    Role.VIEWER: frozenset(),
    Role.TRADER: frozenset({"halt"}),
    Role.RISK: _RISK,
    Role.SUPERVISOR: _RISK
    | {"release", "approve", "override", "retire", "set_limit", "promote", "demote", "rebase"},
}


class Operator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person who gives commands.

    Attributes
    ----------
    id : str
        Id of the operator in commands.
    role : Role
        Role of the operator.
    public_key : str
        Ed25519 public key, 64 hexadecimal digits.
    books : tuple of str
        Books of a trader.
    name : str
        Name for display.
    disabled : bool
        Whether all commands of the operator are refused. The entry stays, because history names
        the operator.
    function : str
        Where the operator works, such as ``trading``, ``risk`` or ``operations``; empty if it is
        not stated. Of two people who lift a HALT, one is from outside trading.
    """

    id: str
    role: Role
    public_key: str
    books: tuple[str, ...] = ()
    name: str = ""
    disabled: bool = False
    function: str = ""

    def may(self, action: str) -> bool:
        """Whether the role includes an action.

        Examples
        --------
        >>> ann = Operator(id="ann", role=Role.TRADER, public_key="")
        >>> ann.may("halt"), ann.may("release")
        (True, False)
        """
        return action in _MAY[self.role]


TRADING: Final = "trading"
"""Function of people who trade."""


class Operators(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Operators by id (``operators.toml``).

    Attributes
    ----------
    operators : dict
        :class:`Operator` by id.
    """

    operators: dict[str, Operator] = {}

    @property
    def states_functions(self) -> bool:
        """Whether any operator states a function. Then one who states none counts as trading."""
        return any(each.function for each in self.operators.values())

    def is_outside_trading(self, name: str) -> bool:
        """Whether an operator is known to work outside trading.

        Examples
        --------
        >>> ann = Operator(id="ann", role=Role.RISK, public_key="", function="risk")
        >>> bob = Operator(id="bob", role=Role.RISK, public_key="")
        >>> both = Operators(operators={"ann": ann, "bob": bob})
        >>> both.is_outside_trading("ann"), both.is_outside_trading("bob")
        (True, False)
        """
        found = self.operators.get(name)
        return found is not None and found.function not in ("", TRADING)


class Verifier(Protocol):
    """Looks up operators and verifies their signatures, by the configuration alone."""

    def operator(self, name: str) -> Operator | None:
        """Return the operator with an id, or ``None``."""
        ...

    def is_independent(self, *names: str) -> bool:
        """Whether one of these people works outside trading, or no operator states a function."""
        ...

    def verify(self, operator: Operator, message: bytes, signature: str) -> bool:
        """Whether `signature` is the operator's signature of exactly these bytes."""
        ...


class DenyAllVerifier:
    """A verifier that knows no operator: every command is refused."""

    def operator(self, name: str) -> Operator | None:
        """Return ``None``."""
        del name
        return None

    def is_independent(self, *names: str) -> bool:
        """Return ``False``."""
        del names
        return False

    def verify(self, operator: Operator, message: bytes, signature: str) -> bool:
        """Return ``False``."""
        del operator, message, signature
        return False
