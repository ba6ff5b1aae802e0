"""The immutable table that orders are asked of: replaced as a whole, never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from riskwatch.client.guard.answer import Answer
from riskwatch.core.outputs import Unwind
from riskwatch.core.reasons import State
from riskwatch.core.scopes import Index

if TYPE_CHECKING:
    from collections.abc import Iterable


NEVER = float("-inf")


class Row(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Where one scope stands, by the newest message about it.

    Attributes
    ----------
    scope : str
        Which.
    state : State
        Effective state.
    decision_id : str
        Decision behind it.
    why : str
        First reason.
    worker, epoch, seq : str, int, int
        Who said so, and the place in the order of truth.
    applied : float
        When it was applied, seconds since 1970.
    unwind : Unwind or None
        Way out that was authorised.
    again : int
        Place under which the same was said last, if it was said again: by the mirror, or with
        another unwind.
    """

    scope: str
    state: State
    decision_id: str
    why: str
    worker: str
    epoch: int
    seq: int
    applied: float
    unwind: Unwind | None = None
    again: int = 0

    @property
    def last(self) -> int:
        """Place of the newest message that says this."""
        return max(self.seq, self.again)


class Ruling:
    """A row with the answers that it can give, made before they are needed."""

    __slots__ = ("passed", "rank", "refused", "row", "scope")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.scope = row.scope
        self.rank = row.state.rank
        why = f"{row.state.value} of {row.scope}" + (f": {row.why}" if row.why else "")
        self.refused = Answer(False, row.state, why, row.decision_id, row.scope)
        self.passed = Answer(True, row.state, why, row.decision_id, row.scope)


class View:
    """What holds until `until`, by the machine's clock that only grows.

    Attributes
    ----------
    until : float
        Seconds of that clock; from then on nothing vouches for it.
    bound : str
        Why it ends then.
    index : Index
        The restricted scopes.
    """

    __slots__ = ("bound", "index", "quiet", "until")

    def __init__(self, index: Index[Ruling], until: float, bound: str) -> None:
        self.index = index
        self.quiet = index.empty
        self.until = until
        self.bound = bound

    def lasting(self, until: float, bound: str) -> View:
        """Same table with another end."""
        return View(self.index, until, bound)


def indexed(rows: Iterable[Row]) -> Index[Ruling]:
    """Arrange rows for asking.

    Raises
    ------
    ValueError
        If a scope is none.
    """
    return Index(Ruling(row) for row in rows if row.state is not State.NORMAL)
