"""The immutable table that orders are asked of: replaced as a whole, never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.client.errors import HistoryError
from riskwatch.core.enums import State
from riskwatch.core.outputs import Unwind
from riskwatch.core.scopes import ScopeIndex, table_digest

if TYPE_CHECKING:
    from collections.abc import Iterable


# What an order path is told: go or stop, why, and by which decision.

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
    advised : str
        Which advisory term would have refused it, and why; empty if none would.

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
    advised: str = ""

    def __bool__(self) -> bool:
        return self.allowed


ALLOWED: Final = Answer(True, State.NORMAL)
"""Nothing is the matter."""
CANCEL_ALLOWED: Final = Answer(True, State.NORMAL, "cancels always pass")
"""For every cancel, whatever is known."""


# The rows that a guard holds, with as much of their past as a heartbeat may speak of.

MAX_SCOPES: Final = 100_000
"""Most scopes of one table."""
MAX_VERSIONS: Final = 64
"""Most versions of one scope that are kept."""


class SwitchTable:
    """Rows by scope; none ever goes backwards.

    A heartbeat vouches for the table as it was when it was made, and rows that came since stand
    on top. So the versions since the last one that was vouched for are kept.

    Attributes
    ----------
    changes : int
        Grows with every change.
    newest : tuple of int, int
        Epoch and place of the newest message.
    """

    def __init__(self) -> None:
        self._past: dict[str, list[SwitchRow]] = {}
        self.changes = 0
        self.newest = (0, 0)

    def __len__(self) -> int:
        return len(self._past)

    def rows(self) -> list[SwitchRow]:
        """Newest row of every scope."""
        return [past[-1] for past in self._past.values()]

    def get(self, scope: str) -> SwitchRow | None:
        """Newest row of a scope."""
        past = self._past.get(scope)
        return None if past is None else past[-1]

    def put(self, row: SwitchRow) -> bool:
        """Take a row, if it is news; returns whether what holds for the scope changed.

        Raises
        ------
        HistoryError
            If one place stands for two things, or there are more than :data:`SCOPES` scopes.
        """
        past = self._past.get(row.scope)
        if past is None:
            if len(self._past) >= MAX_SCOPES:
                raise HistoryError(f"more than {MAX_SCOPES} scopes: not read any further")
            self._past[row.scope] = [row]
            return self._changed(row)
        have = past[-1]
        if _is_same_content(row, have):
            return self._again(past, row)
        if row.seq == have.seq and row.worker == have.worker:
            raise HistoryError(
                f"{row.scope}: place {row.seq} of {row.worker} was decision {have.decision_id} "
                f"and is {row.decision_id} now: its database was replaced"
            )
        if row.seq <= have.last or row.epoch < have.epoch:
            return False
        past.append(row)
        del past[:-MAX_VERSIONS]
        return self._changed(row)

    def digest(self) -> str:
        """Digest of the table with all that is known."""
        return table_digest(_digest_entry(row) for row in self.rows())

    def digest_at(self, seq: int) -> str:
        """Digest of the table as it was at a place in the order of truth."""
        then = (
            next((row for row in reversed(past) if row.seq <= seq), None)
            for past in self._past.values()
        )
        return table_digest(_digest_entry(row) for row in then if row is not None)

    def forget(self, seq: int) -> None:
        """Forget what was before a place that a heartbeat vouched for."""
        for past in self._past.values():
            while len(past) > 1 and past[1].seq <= seq:
                del past[0]

    def clear(self) -> None:
        """Forget everything."""
        self._past.clear()
        self.newest = (0, 0)
        self.changes += 1

    def _again(self, past: list[SwitchRow], row: SwitchRow) -> bool:
        """Take the same content: the mirror writes it under a later place than it came with."""
        have = past[-1]
        first = min(have.seq, row.seq)
        if len(past) > 1:
            first = max(first, past[-2].seq + 1)
        again = max(have.last, row.last)
        unwind = row.unwind if row.seq > have.last else have.unwind
        changed = first != have.seq or unwind != have.unwind
        past[-1] = msgspec.structs.replace(have, seq=first, unwind=unwind, again=again)
        return self._changed(past[-1]) if changed else False

    def _changed(self, row: SwitchRow) -> bool:
        self.changes += 1
        self.newest = max(self.newest, (row.epoch, row.seq))
        return True


def _digest_entry(row: SwitchRow) -> tuple[str, str, str]:
    return row.scope, row.state.value, row.decision_id


def _is_same_content(one: SwitchRow, other: SwitchRow) -> bool:
    return one.decision_id == other.decision_id and one.state is other.state


NEVER = float("-inf")


class SwitchRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
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


class PreparedAnswers:
    """A row with the answers that it can give, made before they are needed."""

    __slots__ = ("passed", "rank", "refused", "row", "scope")

    def __init__(self, row: SwitchRow) -> None:
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

    def __init__(self, index: ScopeIndex[PreparedAnswers], until: float, bound: str) -> None:
        self.index = index
        self.quiet = index.empty
        self.until = until
        self.bound = bound

    def lasting(self, until: float, bound: str) -> View:
        """Same table with another end."""
        return View(self.index, until, bound)


def index_rows(rows: Iterable[SwitchRow]) -> ScopeIndex[PreparedAnswers]:
    """Arrange rows for asking.

    Raises
    ------
    ValueError
        If a scope is none.
    """
    return ScopeIndex(PreparedAnswers(row) for row in rows if row.state is not State.NORMAL)
