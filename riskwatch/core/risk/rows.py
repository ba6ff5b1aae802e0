"""What the risk stage remembers: one row per asset, venue, party, subject, scope and limit."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from riskwatch.core.events import CreditKind
from riskwatch.core.readings import (
    AssetReading,
    FlowFeatures,
    Holding,
    OpenPosition,
    Slip,
)
from riskwatch.core.reasons import Cause, Quality, State
from riskwatch.core.risk.baseline import Baseline
from riskwatch.core.risk.tracker import Tracker


class AssetRow(msgspec.Struct):
    """One asset as the market stage last saw it.

    Attributes
    ----------
    reading : AssetReading
        The last one.
    us : int
        When, microseconds.
    price : float or None
        Last price that was worth something (see :mod:`.exposure`), USD.
    trail : list of [int, float]
        Deviation at five-minute marks of the last hour: time in microseconds, bp.
    observations : int
        Observations that trackers have seen.
    sent_us : int
        When a value was last put out; 0 for never.
    sent_bp : float
        The deviation that was put out.
    sent_cause, sent_quality
        And what was said of it.
    base : Baseline or None
        Where its deviation usually is; None before it was first seen.
    peak : float or None
        Highest price of late, sinking with a half-life of a week, USD.
    """

    reading: AssetReading
    us: int
    price: float | None = None
    trail: list[tuple[int, float]] = []
    observations: int = 0
    sent_us: int = 0
    sent_bp: float = 0.0
    sent_cause: Cause = Cause.NONE
    sent_quality: Quality = Quality.GOOD
    base: Baseline | None = None
    peak: float | None = None


class LocalRow(msgspec.Struct, array_like=True):
    """One coin's local price at one venue: the gap to the consensus, and what backs it."""

    bp: float
    observations: int


class VenueRow(msgspec.Struct):
    """One venue as the market stage last saw it."""

    us: int
    dislocation_bp: float
    bases: int
    live: int
    expected: int
    local: dict[str, LocalRow] = {}


class Shown(msgspec.Struct, array_like=True):
    """What was last put out of a holding."""

    amount: Decimal
    price: float | None
    us: int


class PartyRow(msgspec.Struct):
    """Everything held with one counterparty, and how money moves there.

    `shown` is what was put out, by ``book/account/asset/component``; `positions_shown` by
    ``book/account/instrument``. `unshown` says that a reading came since: its time may lie
    before the tick at which it is shown, for it may come from another worker. `base` is how long
    withdrawals usually take there, in doublings of a second; None before enough have been seen.
    `slips` are fills that wait for the next tick.
    """

    us: int
    holdings: list[Holding]
    positions: list[OpenPosition]
    flow: FlowFeatures
    shown: dict[str, Shown] = {}
    positions_shown: dict[str, Shown] = {}
    assessed_us: int = 0
    unshown: bool = True
    base: Baseline | None = None
    slips: list[Slip] = []


class CreditItem(msgspec.Struct, array_like=True):
    """One piece of credit news that still counts; an attestation has its ratio and its date."""

    us: int
    source: str
    event_id: str
    kind: CreditKind
    rating: str | None
    assets: list[str]
    networks: list[str]
    ratio: float | None = None
    as_of: int | None = None


class CreditRow(msgspec.Struct):
    """What is known of the credit of one counterparty, issuer or bank."""

    items: list[CreditItem] = []
    entity: str | None = None
    jurisdiction: str | None = None
    netting: dict[str, tuple[bool, list[str]]] = {}


class ScopeRow(msgspec.Struct):
    """The state machine of one scope.

    Attributes
    ----------
    state : State
        As decided. HALT stays until people release it.
    effective, quality
        As last put out.
    cause, rule, generation, reasons
        Of the last decision.
    decision_id : str
        The last decision; empty before the first.
    trackers : dict of str to Tracker
        By rule id; only those with something to remember.
    unknown_since : int
        Since when quality has been unknown; -1 if it is not.
    alert_id, alert_state
        The open alert (empty if there is none) and how grave it was when last raised.
    grounds : list of str
        Features that people have been told of since the state was entered.
    capped : bool
        Whether it is at REDUCE only because generations ask for it that may reduce no more
        than a share of the firm's exposure.
    dark_id : str
        The open alert about data that has been missing for too long; empty if there is none.
    """

    state: State = State.NORMAL
    effective: State = State.NORMAL
    quality: Quality = Quality.GOOD
    cause: Cause = Cause.NONE
    rule: str = ""
    generation: str = "rules"
    reasons: list[str] = []
    decision_id: str = ""
    trackers: dict[str, Tracker] = {}
    unknown_since: int = -1
    alert_id: str = ""
    alert_state: State = State.NORMAL
    grounds: list[str] = []
    dark_id: str = ""
    capped: bool = False

    @property
    def idle(self) -> bool:
        """Whether there is nothing to remember: the scope is as one that was never seen."""
        return (
            not self.trackers
            and not self.decision_id
            and self.unknown_since < 0
            and self.effective is State.NORMAL
        )


class LimitRow(msgspec.Struct, array_like=True):
    """What was last measured of one limit on one scope, and when it was last put out."""

    used: float
    us: int
    status: str


class Meta(msgspec.Struct):
    """What belongs to no entity.

    Attributes
    ----------
    looked : int
        When the rules last looked, microseconds; 0 before the first time.
    news : bool
        Whether anything was heard since.
    holdings : bool
        Whether what we hold changed since.
    moving : bool
        Whether some tracker changes by the passing of time alone.
    reported : int
        When values, limits and assessments last went out as a whole, microseconds.
    """

    looked: int = 0
    news: bool = False
    holdings: bool = False
    moving: bool = False
    reported: int = 0


def scope_key(scope: str) -> str:
    """Key of the row of a scope."""
    return f"scope/{scope}"


def scope_row(body: bytes | None) -> ScopeRow:
    """Read the stored row of a scope; a scope that has none is NORMAL."""
    return ScopeRow() if body is None else msgspec.json.decode(body, type=ScopeRow)
