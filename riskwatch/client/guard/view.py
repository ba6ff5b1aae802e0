"""The immutable table in which the guard looks up each order; a new one replaces it as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.client.errors import HistoryError
from riskwatch.client.guard.restriction import Binding
from riskwatch.core.enums import State
from riskwatch.core.outputs import Unwind
from riskwatch.core.restriction import Restrictions, restriction_text, restrictions_at
from riskwatch.core.scopes import ScopeIndex, parse, table_digest

if TYPE_CHECKING:
    from collections.abc import Iterable


# The answer to an order path: whether an order may go, why, and by which decision.

EXPIRED: Final = "(expiry)"
"""Scope of an answer that is given because no heartbeat verifies the table."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Answer to one order; true if it may go.

    Attributes
    ----------
    allowed : bool
        Whether it may go.
    state : State
        Strictest state that binds it.
    reason : str
        The reason, in one line; empty where nothing restricts it.
    decision_id : str
        Decision behind it; empty where there is none.
    scope : str
        Scope with the strictest state, :data:`EXPIRED` where no heartbeat verifies the table, or
        empty.
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
"""Nothing restricts the order."""
CANCEL_ALLOWED: Final = Answer(True, State.NORMAL, "cancels always pass")
"""The answer to every cancel, in every state."""


# The rows of a guard, with the versions that the next heartbeat may refer to.

MAX_SCOPES: Final = 100_000
"""Most scopes of one table."""
MAX_VERSIONS: Final = 64
"""Most versions of one scope that are stored."""


class SwitchTable:
    """Rows by scope; a row never goes back to an older version.

    A heartbeat verifies the table as it was when the heartbeat was made; newer rows are added to
    it. The table therefore stores the versions since the last verified one.

    Attributes
    ----------
    changes : int
        Grows with every change.
    newest : tuple of int, int
        Epoch and sequence number of the newest message.
    left_out : int
        Number of messages about scopes for which there was no room, beyond :data:`MAX_SCOPES`. The
        rows of the table still hold. What was left out makes its digest differ from that of the
        heartbeats, so that the guard fails closed.
    """

    def __init__(self) -> None:
        self._past: dict[str, list[SwitchRow]] = {}
        self.changes = 0
        self.newest = (0, 0)
        self.left_out = 0

    def __len__(self) -> int:
        return len(self._past)

    def rows(self) -> list[SwitchRow]:
        """Return the newest row of every scope."""
        return [past[-1] for past in self._past.values()]

    def get(self, scope: str) -> SwitchRow | None:
        """Return the newest row of a scope."""
        past = self._past.get(scope)
        return None if past is None else past[-1]

    def put(self, row: SwitchRow) -> bool:
        """Add a row, if it is new; return whether the content of the scope changed.

        Raises
        ------
        HistoryError
            If one sequence number has two different contents.
        """
        past = self._past.get(row.scope)
        if past is None:
            if len(self._past) >= MAX_SCOPES:
                self.left_out += 1
                return False
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
        """Return the digest of the table with all known rows."""
        return table_digest(_digest_entry(row) for row in self.rows())

    def digest_at(self, seq: int) -> str:
        """Return the digest of the table as it was at a sequence number."""
        then = (
            next((row for row in reversed(past) if row.seq <= seq), None)
            for past in self._past.values()
        )
        return table_digest(_digest_entry(row) for row in then if row is not None)

    def restriction_digests(self, seq: int) -> tuple[str, str]:
        """Return the digests of what is restricted: at a sequence number, and with all rows."""
        then = (
            next((row for row in reversed(past) if row.seq <= seq), None)
            for past in self._past.values()
        )
        return (
            table_digest(_restriction_entry(row) for row in then if row is not None),
            table_digest(_restriction_entry(row) for row in self.rows()),
        )

    def forget(self, seq: int) -> None:
        """Drop the versions before a sequence number that a heartbeat verified."""
        for past in self._past.values():
            while len(past) > 1 and past[1].seq <= seq:
                del past[0]

    def clear(self) -> None:
        """Drop all rows."""
        self._past.clear()
        self.newest = (0, 0)
        self.left_out = 0
        self.changes += 1

    def _again(self, past: list[SwitchRow], row: SwitchRow) -> bool:
        """Merge a repeat of the same content.

        The mirror writes the content under a later sequence number than the first one.
        """
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


def _restriction_entry(row: SwitchRow) -> tuple[str, str, str]:
    return row.scope, restriction_text(row.state, row.restriction, row.members), row.decision_id


def _is_same_content(one: SwitchRow, other: SwitchRow) -> bool:
    return (
        one.decision_id == other.decision_id
        and one.state is other.state
        and one.restriction == other.restriction
        and one.members == other.members
    )


NEVER = float("-inf")


class SwitchRow(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The newest message about one scope.

    Attributes
    ----------
    scope : str
        The scope.
    state : State
        Effective state.
    decision_id : str
        Decision behind it.
    why : str
        First reason.
    worker, epoch, seq : str, int, int
        Worker that published it, its epoch, and the sequence number.
    applied : float
        When it was applied, seconds since 1970.
    unwind : Unwind or None
        Authorised unwind.
    again : int
        Sequence number of the last repeat of the same content, by the mirror or with another
        unwind; 0 without a repeat.
    restriction : dict of Restriction to State
        What the state restricts; without an entry at the state, everything.
    members : tuple of str
        Counterparties and assets that a group, issuer or bank stands for.
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
    restriction: Restrictions = {}
    members: tuple[str, ...] = ()

    @property
    def last(self) -> int:
        """Sequence number of the newest message with this content."""
        return max(self.seq, self.again)


class PreparedAnswers:
    """A row with its possible answers, built before they are needed."""

    __slots__ = ("binding", "grounds", "members", "passed", "rank", "refused", "row", "scope")

    def __init__(self, row: SwitchRow) -> None:
        self.row = row
        self.members = row.members
        self.binding = Binding(row.scope, parse(row.scope), row.members)
        found = restrictions_at(row.state, row.restriction)
        self.grounds = tuple((each, found[each].rank) for each in found)
        self.scope = row.scope
        self.rank = row.state.rank
        why = f"{row.state.value} of {row.scope}" + (f": {row.why}" if row.why else "")
        self.refused = Answer(False, row.state, why, row.decision_id, row.scope)
        self.passed = Answer(True, row.state, why, row.decision_id, row.scope)

    def refused_because(self, why: str) -> Answer:
        """Return the refusal with a further reason."""
        return msgspec.structs.replace(self.refused, reason=f"{self.refused.reason}; {why}")


class View:
    """The restrictions that hold until `until`, by the steady clock of the machine.

    Attributes
    ----------
    until : float
        Seconds of that clock; from then on no heartbeat verifies the view.
    bound : str
        Why it ends then.
    index : ScopeIndex
        The restricted scopes.
    """

    __slots__ = ("bound", "index", "quiet", "until")

    def __init__(self, index: ScopeIndex[PreparedAnswers], until: float, bound: str) -> None:
        self.index = index
        self.quiet = index.empty
        self.until = until
        self.bound = bound

    def lasting(self, until: float, bound: str) -> View:
        """Return the same table with another end."""
        return View(self.index, until, bound)


def index_rows(rows: Iterable[SwitchRow]) -> ScopeIndex[PreparedAnswers]:
    """Index the restricted rows by scope.

    Raises
    ------
    ValueError
        If a row has an invalid scope.
    """
    return ScopeIndex(PreparedAnswers(row) for row in rows if row.state is not State.NORMAL)
