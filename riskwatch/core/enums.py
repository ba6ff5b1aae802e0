"""Enums with stable codes: states, causes, data quality, and reasons of refusal.

A reason is written as ``CODE: key=value``. Codes are part of the wire contract: they are added,
never renamed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class RejectReason(StrEnum):
    """Why a message or event was rejected; each rejection produces a dead letter."""

    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    """More bytes than the limit of the contract."""
    MESSAGE_EMPTY = "MESSAGE_EMPTY"
    """No bytes, or only white space."""
    UTF8_INVALID = "UTF8_INVALID"
    """The bytes are not UTF-8."""
    JSON_MALFORMED = "JSON_MALFORMED"
    """The message is not one JSON object."""
    KEY_DUPLICATED = "KEY_DUPLICATED"
    """An object has one key twice, so its meaning is ambiguous."""
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
    """A field has the right type but an invalid value (negative quantity, empty name, too long)."""
    NUMBER_NOT_FINITE = "NUMBER_NOT_FINITE"
    """NaN or an infinity."""
    NUMBER_TOO_LARGE = "NUMBER_TOO_LARGE"
    """More integer digits or a larger exponent than the contract allows."""
    NUMBER_TOO_FINE = "NUMBER_TOO_FINE"
    """More fractional digits than the contract allows."""
    TS_OUT_OF_RANGE = "TS_OUT_OF_RANGE"
    """The event time is before 2009 or after 2100."""
    TS_FROM_FUTURE = "TS_FROM_FUTURE"
    """The event time is more than five seconds after its arrival, or in a file after the time of
    this machine."""
    TS_TOO_OLD = "TS_TOO_OLD"
    """A price or a snapshot arrived so long after its event time that it says nothing of now."""
    FACT_TOO_LATE = "FACT_TOO_LATE"
    """The fact is older than the late window, so that it could no longer be applied exactly."""
    FACT_CONFLICT = "FACT_CONFLICT"
    """The fact contradicts an earlier one of the same identity (a transfer's amount changed), or
    the identity of the event was used on its topic for an event with other content."""
    LIMIT_REACHED = "LIMIT_REACHED"
    """A bounded collection is full; the limit is named in the detail."""
    NOT_ROUTED = "NOT_ROUTED"
    """No stage of this worker takes this type of event."""
    KEY_MISMATCH = "KEY_MISMATCH"
    """The record key is not that of the event, or belongs to another partition."""
    NAME_ALIAS = "NAME_ALIAS"
    """The record is keyed under another spelling of its counterparty, so it is in the partition of
    another one."""
    QUARANTINED = "QUARANTINED"
    """Two operators set the message aside, because a stage fails on it."""
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    """The record is in a name that has a key, and the owner of the key did not sign it."""
    DEPLOYMENT_FOREIGN = "DEPLOYMENT_FOREIGN"
    """A client of another deployment sent it."""
    COMMAND_REFUSED = "COMMAND_REFUSED"
    """A command whose operator could not be authenticated; the recorded refusal says why."""


class Mode(StrEnum):
    """Whether a rule, an ask, a limit or a term of a guard binds anybody."""

    BINDING = "binding"
    """It decides."""
    ADVISORY = "advisory"
    """It says what it would have done, and binds nobody."""


class State(StrEnum):
    """State of a scope, ordered from least to most strict by :attr:`rank`."""

    NORMAL = "NORMAL"
    """No restriction and no alert."""
    WATCH = "WATCH"
    """An alert without a trading consequence."""
    REDUCE = "REDUCE"
    """Only orders and transfers that reduce exposure are allowed."""
    HALT = "HALT"
    """No new risk is allowed; the state is latched until operators release it."""

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
        """Return this state, or `cap` if that is less strict.

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


class Restriction(StrEnum):
    """What a switch at REDUCE or HALT restricts, by the ground for it."""

    CLAIM = "claim"
    """They must not owe us more: no deposits, no buying of the coin; withdrawals pass, and closing,
    at HALT up to a share of the position an hour."""
    MARKET = "market"
    """|net delta| and stress loss must not grow: what lowers them passes, at HALT too."""
    FULL = "full"
    """Everything: at HALT nothing passes but withdrawals and authorised unwinds. Also the meaning
    of a switch that states no restriction."""


class HaltEffect(StrEnum):
    """What is known of the effect of a HALT."""

    EFFECTIVE = "effective"
    """Orders are known of every counterparty in the scope, none rests, and no fill added risk."""
    NOT_EFFECTIVE = "not_effective"
    """Fills after it added risk, or orders rest longer than they may."""
    RESTING = "resting"
    """Orders rest that would add risk: for a few seconds yet, or at a scope that is retired."""
    UNKNOWN = "unknown"
    """Facts do not tell: no proof that it took effect, and none that it did not."""


class Quality(StrEnum):
    """Quality of the data behind a state; it is a flag, never a state."""

    GOOD = "good"
    STALE = "stale"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Cause of a movement or of a decision."""

    ISSUER = "issuer"
    """The asset's own value moved, on two or more independent venues."""
    COIN = "coin"
    """A coin left another asset that it promises; a lack of buyers and a fault of the issuer look
    alike."""
    VENUE = "venue"
    """Two or more base assets of one venue moved together against the rest."""
    MARKET = "market"
    """All pegged assets moved."""
    FEED = "feed"
    """One feed is stale or an outlier, and others refute it."""
    COUNTERPARTY = "counterparty"
    """The counterparty itself: withdrawals, credit events, ratings."""
    LIMIT = "limit"
    """A limit of our own was reached."""
    OPERATOR = "operator"
    """An operator commanded it."""
    UNKNOWN = "unknown"
    """There are too few live feeds to attribute a cause."""
    NONE = "none"
    """There is no deviation."""


class QualityIssue(StrEnum):
    """Kinds of data-quality alerts."""

    FEED_STALE = "FEED_STALE"
    """A feed stopped, or its price did not move while the others did."""
    FEED_OUTLIER = "FEED_OUTLIER"
    """One feed is far from the value on which all others agree."""
    BOOK_CROSSED = "BOOK_CROSSED"
    """A feed's bid is above its ask; its last trade is used instead."""
    FEED_SPIKE = "FEED_SPIKE"
    """One print jumped and the next reversed the jump."""
    REFERENCE_MISSING = "REFERENCE_MISSING"
    """The reference data lacks an asset or venue; defaults are used."""
    RECONCILIATION_BREAK = "RECONCILIATION_BREAK"
    """A balance snapshot differs from the sum of fills and transfers."""
    OPENING_UNKNOWN = "OPENING_UNKNOWN"
    """More left custody than fills and transfers brought, and no snapshot states an opening."""
    STATEMENT_UNCLEAR = "STATEMENT_UNCLEAR"
    """Several books state what one account has, and none says which part; the sum counts."""
    SNAPSHOT_PENDING = "SNAPSHOT_PENDING"
    """A snapshot removed much without fills or transfers; the former amount counts until a second
    one agrees."""
    POSITION_IMPLAUSIBLE = "POSITION_IMPLAUSIBLE"
    """A position grew by over ten times the equity in one step, or its mark is far from every
    other price; it counts."""
    ACCOUNT_STALE = "ACCOUNT_STALE"
    """No source confirms any more what an account has; the last statement counts."""
    PRICE_MISSING = "PRICE_MISSING"
    """A holding has no price, so its value is unknown."""
    UNRECOGNISED = "UNRECOGNISED"
    """An asset arrived that is not listed and that we never traded; it counts as nothing."""
    PEG_UNKNOWN = "PEG_UNKNOWN"
    """What a pegged asset promises has no value, or its rate is not stated or not plausible; its
    deviation is unknown."""
    SETTLEMENT_OVERDUE = "SETTLEMENT_OVERDUE"
    """A trade is past its settlement time and not delivered."""
    TRANSFER_OVERDUE = "TRANSFER_OVERDUE"
    """What an account sent or expects is not confirmed in time; it still counts as in transit."""
    LOAN_OVERDUE = "LOAN_OVERDUE"
    """A loan is past its due time and not repaid."""
    ADJUSTMENT_UNEXPLAINED = "ADJUSTMENT_UNEXPLAINED"
    """A venue changed a balance by more than its kind of adjustment explains."""
    OUT_OF_RANGE = "OUT_OF_RANGE"
    """A price is not possible and is not used, or a value is so large that its maximum counts."""
    IDENTITY_REUSED = "IDENTITY_REUSED"
    """A source sends other events under identities that it has used; they are not applied."""
    NAME_ALIAS = "NAME_ALIAS"
    """A source sends facts under another spelling of a counterparty; they are not applied."""
    TABLE_FULL = "TABLE_FULL"
    """A writer has more names than there is room for; some of it is refused or removed."""
    TRADE_CONFLICT = "TRADE_CONFLICT"
    """Reports of one trade disagree, or a correction restates another trade; the later one is not
    applied."""
    TRADE_UNKNOWN = "TRADE_UNKNOWN"
    """A correction names a trade that is not known; it has no effect until the trade is known."""
    TRADE_TWICE = "TRADE_TWICE"
    """Two sources report equal fills without a common trade id; both count."""
    TRADE_OLD = "TRADE_OLD"
    """A fill is older than the trade ids that are remembered, so it may be a repeat; it is not
    applied."""
    PRICE_ZERO = "PRICE_ZERO"
    """A spot trade has the price zero; it counts."""
    FILL_FORCED = "FILL_FORCED"
    """The venue liquidated or deleveraged a position of ours."""
    GRAPH_DENSE = "GRAPH_DENSE"
    """The feeds of one writer link assets so densely that these have no value."""


class CommandRefusal(StrEnum):
    """Why a command had no effect."""

    OPERATOR_UNKNOWN = "OPERATOR_UNKNOWN"
    """`operators.toml` does not name the operator."""
    OPERATOR_DISABLED = "OPERATOR_DISABLED"
    """The operator is disabled and may give no commands."""
    UNSIGNED = "UNSIGNED"
    """There is no signature."""
    SIGNATURE_INVALID = "SIGNATURE_INVALID"
    """The signature is not the operator's signature of exactly these fields."""
    DEPLOYMENT_FOREIGN = "DEPLOYMENT_FOREIGN"
    """The command was signed for another deployment, or for none."""
    STALE = "STALE"
    """The command was signed before the replay window."""
    BEHIND = "BEHIND"
    """It loosens, and the worker had not read everything that came before it."""
    REPLAYED = "REPLAYED"
    """The same message arrived before; a copy was sent again."""
    KEY_REUSED = "KEY_REUSED"
    """The idempotency key was used for another command."""
    RATE_LIMITED = "RATE_LIMITED"
    """There are more commands within the replay window than keys are stored."""
    REASON_MISSING = "REASON_MISSING"
    """The command states no reason."""
    SCOPE_INVALID = "SCOPE_INVALID"
    """The scope is invalid, or is none to which the action applies."""
    ROLE_FORBIDDEN = "ROLE_FORBIDDEN"
    """The operator's role does not include the action."""
    NOT_INDEPENDENT = "NOT_INDEPENDENT"
    """Neither of the two people who lift a HALT works outside trading."""
    BOOK_FORBIDDEN = "BOOK_FORBIDDEN"
    """A trader may halt only their own books."""
    ARGUMENT_INVALID = "ARGUMENT_INVALID"
    """An argument is missing, unknown or out of its range."""
    EXPIRY_INVALID = "EXPIRY_INVALID"
    """The end time is past, or later than the policy allows."""
    NOT_HALTED = "NOT_HALTED"
    """The scope is not latched at HALT."""
    CONDITION_HOLDS = "CONDITION_HOLDS"
    """A rule still requests HALT."""
    CONDITION_CLEARED = "CONDITION_CLEARED"
    """No rule requests HALT any more, so the HALT needs a release, not an override."""
    REQUEST_OPEN = "REQUEST_OPEN"
    """Another operator's request on this scope waits for approval."""
    REQUEST_UNKNOWN = "REQUEST_UNKNOWN"
    """No request with this id waits on this scope."""
    SAME_PERSON = "SAME_PERSON"
    """The operator who made the request cannot approve it."""
    NOTHING_OPEN = "NOTHING_OPEN"
    """There is no open alert on the scope, or no silence to end."""
    RETIRED = "RETIRED"
    """The scope was retired already."""
    LIMIT_UNKNOWN = "LIMIT_UNKNOWN"
    """`limits.toml` has no limit of this id on this scope."""
    UNWIND_CAP = "UNWIND_CAP"
    """The unwind is larger, or its price band wider, than the policy allows."""
    AUTHORITY_REFUSED = "AUTHORITY_REFUSED"
    """The target or generation is unknown, or its authority cannot be changed."""
    TOO_MANY = "TOO_MANY"
    """There is no room for a further scope."""
