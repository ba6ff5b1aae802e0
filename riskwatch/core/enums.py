"""Why something was refused, broke, or was decided: closed enums with stable codes.

A reason travels as ``CODE: key=value``. Codes are part of the wire contract: they are added,
never renamed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class RejectReason(StrEnum):
    """Why a message or event was refused. Each ends in a dead letter."""

    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    """More bytes than the limit of the contract."""
    MESSAGE_EMPTY = "MESSAGE_EMPTY"
    """No bytes, or only white space."""
    UTF8_INVALID = "UTF8_INVALID"
    """The bytes are not UTF-8."""
    JSON_MALFORMED = "JSON_MALFORMED"
    """Not one JSON object."""
    KEY_DUPLICATED = "KEY_DUPLICATED"
    """An object names one key twice, so its meaning is a guess."""
    TYPE_UNKNOWN = "TYPE_UNKNOWN"
    """`type` is absent or names no event of this contract."""
    VERSION_UNSUPPORTED = "VERSION_UNSUPPORTED"
    """`v` is absent or not a version that this build reads."""
    FIELD_MISSING = "FIELD_MISSING"
    """A required field is absent."""
    FIELD_TYPE = "FIELD_TYPE"
    """A field holds a value of the wrong JSON type or outside its closed set."""
    FIELD_UNKNOWN = "FIELD_UNKNOWN"
    """A command carries a field that the contract does not name."""
    FIELD_RANGE = "FIELD_RANGE"
    """A field is well typed but impossible (negative quantity, empty name, too long)."""
    NUMBER_NOT_FINITE = "NUMBER_NOT_FINITE"
    """NaN or an infinity."""
    NUMBER_TOO_LARGE = "NUMBER_TOO_LARGE"
    """More digits or a larger exponent than the contract allows."""
    TS_OUT_OF_RANGE = "TS_OUT_OF_RANGE"
    """The event time is before 2009 or after 2100."""
    TS_FROM_FUTURE = "TS_FROM_FUTURE"
    """The event time is more than five seconds after its arrival."""
    FACT_TOO_LATE = "FACT_TOO_LATE"
    """Older than the late buffer reaches: applying it could no longer be exact."""
    FACT_CONFLICT = "FACT_CONFLICT"
    """Contradicts an earlier fact of the same identity (a transfer's amount changed)."""
    LIMIT_REACHED = "LIMIT_REACHED"
    """A bounded collection is full; the limit is named in the detail."""
    NOT_ROUTED = "NOT_ROUTED"
    """No stage of this worker takes this type of event."""
    KEY_MISMATCH = "KEY_MISMATCH"
    """The key of the message is not the one of its event, or belongs in another partition."""
    QUARANTINED = "QUARANTINED"
    """Two people set it aside, because a stage cannot take it."""
    COMMAND_REFUSED = "COMMAND_REFUSED"
    """A command that nobody can be shown to have given: see the refusal that was recorded."""


class State(StrEnum):
    """State of a scope, ordered from least to most strict by :attr:`rank`."""

    NORMAL = "NORMAL"
    """Nothing to say."""
    WATCH = "WATCH"
    """Look at it; no trading consequence."""
    REDUCE = "REDUCE"
    """Only orders and transfers that reduce exposure."""
    HALT = "HALT"
    """No new risk at all; latched until people release it."""

    @property
    def rank(self) -> int:
        """Strictness, 0 (NORMAL) to 3 (HALT).

        Examples
        --------
        >>> [s.rank for s in State]
        [0, 1, 2, 3]
        """
        return _RANKS[self]

    def at_most(self, cap: State) -> State:
        """Return this state, or `cap` where that is less strict.

        Examples
        --------
        >>> State.HALT.at_most(State.REDUCE), State.WATCH.at_most(State.REDUCE)
        (<State.REDUCE: 'REDUCE'>, <State.WATCH: 'WATCH'>)
        """
        return cap if cap.rank < self.rank else self


_RANKS = {State.NORMAL: 0, State.WATCH: 1, State.REDUCE: 2, State.HALT: 3}


def strictest(states: Iterable[State]) -> State:
    """Return the strictest of some states; NORMAL if there are none.

    Examples
    --------
    >>> strictest([State.WATCH, State.HALT, State.REDUCE]), strictest([])
    (<State.HALT: 'HALT'>, <State.NORMAL: 'NORMAL'>)
    """
    return max(states, key=_RANKS.__getitem__, default=State.NORMAL)


class Quality(StrEnum):
    """How much the data behind a state can be trusted; a flag, never a state."""

    GOOD = "good"
    STALE = "stale"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """What moved, as read off the price graph and the flags."""

    ISSUER = "issuer"
    """The coin's own value moved, on two or more independent venues."""
    VENUE = "venue"
    """Two or more base assets of one venue moved together against the rest."""
    MARKET = "market"
    """Everything moved."""
    FEED = "feed"
    """One edge, stale or an outlier, refuted by others."""
    COUNTERPARTY = "counterparty"
    """The counterparty's own conduct: withdrawals, credit events, ratings."""
    LIMIT = "limit"
    """Our own limit, without any fault of theirs."""
    OPERATOR = "operator"
    """A person commanded it."""
    UNKNOWN = "unknown"
    """Too few live feeds to say."""
    NONE = "none"
    """Nothing is the matter."""


class QualityIssue(StrEnum):
    """Kinds of data-quality alerts."""

    FEED_STALE = "FEED_STALE"
    """A feed stopped, or its book did not move while the others did."""
    FEED_OUTLIER = "FEED_OUTLIER"
    """One edge stands far from the value that all others agree on."""
    FEED_SPIKE = "FEED_SPIKE"
    """One print jumped away and the next came back."""
    REFERENCE_MISSING = "REFERENCE_MISSING"
    """An asset or venue that the reference data does not name; defaults are used."""
    RECONCILIATION_BREAK = "RECONCILIATION_BREAK"
    """A balance snapshot differs from what fills and transfers say."""
    PRICE_MISSING = "PRICE_MISSING"
    """A holding has no price, so its value is unknown."""
    SETTLEMENT_OVERDUE = "SETTLEMENT_OVERDUE"
    """A trade is past its settlement time and not delivered."""
    OUT_OF_RANGE = "OUT_OF_RANGE"
    """A price is not possible and is not used, or a value is so large that its maximum counts."""


class CommandRefusal(StrEnum):
    """Why a command had no effect."""

    OPERATOR_UNKNOWN = "OPERATOR_UNKNOWN"
    """`operators.toml` does not name whoever is said to have given it."""
    OPERATOR_DISABLED = "OPERATOR_DISABLED"
    """The operator may not turn anything any more."""
    UNSIGNED = "UNSIGNED"
    """There is no signature."""
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    """The signature is not the operator's over exactly these fields."""
    STALE = "STALE"
    """Given longer ago than the replay window reaches."""
    REPLAYED = "REPLAYED"
    """The very same message came before: somebody sent it again."""
    KEY_REUSED = "KEY_REUSED"
    """The idempotency key was used for another command."""
    RATE_LIMITED = "RATE_LIMITED"
    """More commands within the replay window than are remembered."""
    REASON_MISSING = "REASON_MISSING"
    """Nobody could later say why."""
    SCOPE_INVALID = "SCOPE_INVALID"
    """Not a scope, or not one that this action is for."""
    ROLE_FORBIDDEN = "ROLE_FORBIDDEN"
    """The operator's role does not include the action."""
    BOOK_FORBIDDEN = "BOOK_FORBIDDEN"
    """A trader may halt books of their own alone."""
    ARGUMENT_INVALID = "ARGUMENT_INVALID"
    """An argument is missing, unknown or out of its range."""
    EXPIRY_INVALID = "EXPIRY_INVALID"
    """An end that is past, or later than the policy allows."""
    NOT_HALTED = "NOT_HALTED"
    """The scope is not latched at HALT."""
    CONDITION_HOLDS = "CONDITION_HOLDS"
    """What asks for HALT still does."""
    CONDITION_CLEARED = "CONDITION_CLEARED"
    """Nothing asks for HALT any more, so there is nothing to override: release it."""
    REQUEST_OPEN = "REQUEST_OPEN"
    """Somebody else's request on this scope waits for approval."""
    REQUEST_UNKNOWN = "REQUEST_UNKNOWN"
    """No request of this id waits on this scope."""
    SAME_PERSON = "SAME_PERSON"
    """Whoever requests cannot approve."""
    NOTHING_OPEN = "NOTHING_OPEN"
    """There is no open alert on the scope, or no silence to end."""
    RETIRED = "RETIRED"
    """The scope was retired already."""
    LIMIT_UNKNOWN = "LIMIT_UNKNOWN"
    """`limits.toml` has no limit of this id on this scope."""
    UNWIND_CAP = "UNWIND_CAP"
    """More, or at a worse price, than the policy authorises beforehand."""
    AUTHORITY_REFUSED = "AUTHORITY_REFUSED"
    """The models do not know the target or generation, or cannot change its authority."""
    TOO_MANY = "TOO_MANY"
    """No room to remember anything of a further scope."""
