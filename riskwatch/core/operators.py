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
    """

    id: str
    role: Role
    public_key: str
    books: tuple[str, ...] = ()
    name: str = ""
    disabled: bool = False

    def may(self, action: str) -> bool:
        """Whether the role includes an action.

        Examples
        --------
        >>> ann = Operator(id="ann", role=Role.TRADER, public_key="")
        >>> ann.may("halt"), ann.may("release")
        (True, False)
        """
        return action in _MAY[self.role]


class Operators(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Operators by id (``operators.toml``)."""

    operators: dict[str, Operator] = {}


class Verifier(Protocol):
    """Looks up operators and verifies their signatures, by the configuration alone."""

    def operator(self, name: str) -> Operator | None:
        """Return the operator with an id, or ``None``."""
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

    def verify(self, operator: Operator, message: bytes, signature: str) -> bool:
        """Return ``False``."""
        del operator, message, signature
        return False
