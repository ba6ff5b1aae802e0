"""What an order path is told: go or stop, why, and by which decision."""

from __future__ import annotations

from typing import Final

import msgspec

from riskwatch.core.reasons import State

EXPIRED: Final = "(expiry)"
"""Scope of an answer that rests on nothing being known."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Answer to one order; true if it may go.

    Attributes
    ----------
    allowed : bool
        Whether it may go.
    state : State
        State that prevails for it.
    reason : str
        Why, in one line; empty where nothing is the matter.
    decision_id : str
        Decision behind it; empty where there is none.
    scope : str
        Scope that prevails, :data:`EXPIRED` where nothing vouches for the table, or empty.

    Examples
    --------
    >>> bool(Answer(False, State.HALT, "HALT of firm: drill", "d-1", "firm"))
    False
    """

    allowed: bool
    state: State
    reason: str = ""
    decision_id: str = ""
    scope: str = ""

    def __bool__(self) -> bool:
        return self.allowed


PASSED: Final = Answer(True, State.NORMAL)
"""Nothing is the matter."""
CANCELLED: Final = Answer(True, State.NORMAL, "cancels always pass")
"""For every cancel, whatever is known."""
