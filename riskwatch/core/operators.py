"""Who may turn the switch: operators, their roles, and whom the risk stage asks about signatures.

Signatures are checked by a library that `core` does not import: the composition root hands a
:class:`Verifier` in.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

import msgspec


class Role(StrEnum):
    """What an operator may do; each role may do what those before it may, but for `trader`."""

    VIEWER = "viewer"
    """Nothing: named, so that a command in this name is seen for what it is."""
    TRADER = "trader"
    """Halt books of their own."""
    RISK = "risk"
    """Halt anything; acknowledge; silence; drill; open a pre-authorised unwind."""
    SUPERVISOR = "supervisor"
    """Everything: release, approve, override, retire, limits and models' authority as well."""


_RISK: Final = frozenset({"halt", "acknowledge", "silence", "drill", "unwind"})
_MAY: Final[dict[Role, frozenset[str]]] = {
    Role.VIEWER: frozenset(),
    Role.TRADER: frozenset({"halt"}),
    Role.RISK: _RISK,
    Role.SUPERVISOR: _RISK
    | {"release", "approve", "override", "retire", "set_limit", "promote", "demote"},
}


class Operator(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person who gives commands.

    Attributes
    ----------
    id : str
        As commands name them.
    role : Role
        What they may do.
    public_key : str
        Ed25519, 64 hexadecimal digits.
    books : tuple of str
        A trader's own.
    name : str
        For people to read.
    disabled : bool
        Whether nothing is taken from them any more. The entry stays: history names them.
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
    """``operators.toml``: by id."""

    operators: dict[str, Operator] = {}


class Verifier(Protocol):
    """Knows operators, and whether they signed. Its answers rest on the configuration alone."""

    def operator(self, name: str) -> Operator | None:
        """Look an operator up."""
        ...

    def verify(self, operator: Operator, message: bytes, signature: str) -> bool:
        """Whether `signature` is the operator's over exactly these bytes."""
        ...


class DenyAllVerifier:
    """A verifier that knows no operator: every command is refused."""

    def operator(self, name: str) -> Operator | None:
        """Know nobody."""
        del name
        return None

    def verify(self, operator: Operator, message: bytes, signature: str) -> bool:
        """Believe nothing."""
        del operator, message, signature
        return False
