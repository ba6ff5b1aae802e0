"""State of the risk stage, as rows.

================================== ==========================================
row                                holds
================================== ==========================================
``asset/<id>``                     last market reading, trail of deviations
``venue/<id>``                     last venue reading
``party/<counterparty>``           holdings, positions, flow, what was put out
``credit/<subject>``               credit news that still counts
``scope/<scope>``                  state, trackers, last decision, open alert
``limit/<id>|<scope>``             what was last put out of a limit
``sent/<key>``                     when scores and assessments were last put out
``issue/<kind>|<subject>``         open data-quality issues
``fault/<worker>``                 counterparties that a worker which is down answers for
``control/<scope>``                what people have in force or in hand
``command/<idempotency key>``      what came of a command
``refusals/<operator>``            refused commands in one name that people were told of
``hard/<limit id>``                a limit as people have changed it
``drill/<plan>``                   when a planned drill was signalled last
``advisory/<scope>``               what rules that bind nobody would do, and their trackers
``budget``                         alerts of WATCH in this month
``scorer/...``                     the models' own rows
``meta``                           last tick
================================== ==========================================
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from riskwatch.core.clock import moment
from riskwatch.core.enums import Cause, Quality, State
from riskwatch.core.events import CreditKind
from riskwatch.core.money import usd
from riskwatch.core.outputs import Unwind
from riskwatch.core.readings import AssetReading, FillSlippage, FlowFeatures, Holding, OpenPosition
from riskwatch.core.risk.baseline import Baseline
from riskwatch.core.risk.tracker import RuleTracker
from riskwatch.core.stage import Row, RowChanges, encode_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.readings import PartitionFault
    from riskwatch.core.stage import StageState


# Rows.


class IdempotencyRow(msgspec.Struct, array_like=True):
    """One idempotency key: when, for what (a digest), what came of it, and in which event."""

    us: int
    digest: str
    outcome: str
    refused: bool
    event: str = ""


class ApprovalRequest(msgspec.Struct):
    """What waits for a second person, until `until` (microseconds)."""

    id: str
    action: str
    by: str
    us: int
    until: int
    reason: str
    args: dict[str, Any] = {}


class HaltOverride(msgspec.Struct):
    """A HALT that is lifted to `state` until `until`, although its condition holds."""

    by: str
    approved_by: str
    until: int
    state: State
    reason: str


class SignOff(msgspec.Struct):
    """Who did something, and when; `until` or `alert` where there is an end or a subject."""

    by: str
    us: int
    until: int = 0
    alert: str = ""


class UnwindGrant(msgspec.Struct):
    """Unwinds that were opened since the decision: their sum, price band in bp and end of the last.

    It is their sum, because order paths count what they used by decision.
    """

    by: str
    max_usd: float
    max_slip_bp: float
    until: int

    def allowance(self) -> Unwind:
        """As order paths are told."""
        return Unwind(usd(self.max_usd), self.max_slip_bp, moment(self.until))


class ControlRow(msgspec.Struct):
    """What people have in force or in hand on one scope.

    `granted` is the sum of all unwinds that were opened since the HALT began, USD; `before` is
    what it was when an override of it ended, and so a new decision began.
    """

    request: ApprovalRequest | None = None
    override: HaltOverride | None = None
    silence: SignOff | None = None
    retired: SignOff | None = None
    acknowledged: SignOff | None = None
    unwind: UnwindGrant | None = None
    granted: float = 0.0
    before: float = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember."""
        return self == _EMPTY


_EMPTY = ControlRow()


class RefusalsRow(msgspec.Struct):
    """Refused commands in one name since the alert about them was opened."""

    alert_id: str
    count: int
    us: int


class AlertBudgetRow(msgspec.Struct):
    """Alerts of WATCH in one month of event time, and how many of them were folded."""

    month: int
    raised: int = 0
    folded: int = 0
    alert_id: str = ""


class LimitOverrideRow(msgspec.Struct):
    """A limit as people have changed it: dollars, warning share, by whom, when."""

    hard_usd: float
    warning_share: float
    by: str
    us: int


# Counterparties whose holdings are not kept up, because the worker that does it is down.


def record_fault(state: RiskState, fault: PartitionFault) -> None:
    """Take note of what a worker leaves in doubt; it replaces what it left before."""
    if fault.counterparties:
        state.faults[fault.worker] = sorted(fault.counterparties)
    else:
        state.faults.pop(fault.worker, None)
    state.mark(f"fault/{fault.worker}")


def clear_fault(state: RiskState, counterparty: str) -> None:
    """A reading came: this one is kept up."""
    for worker in [w for w in sorted(state.faults) if counterparty in state.faults[w]]:
        left = [name for name in state.faults[worker] if name != counterparty]
        if left:
            state.faults[worker] = left
        else:
            del state.faults[worker]
        state.mark(f"fault/{worker}")


def fault_reasons(state: RiskState) -> dict[str, str]:
    """Say of each counterparty that is in doubt why it is."""
    return {
        name: f"{worker} stays down: what we have with {name} is not kept up"
        for worker in sorted(state.faults)
        for name in state.faults[worker]
    }


# Rows.


class DrillRow(msgspec.Struct):
    """One plan: since when it is followed, and the last due time that is settled; microseconds."""

    since: int
    last: int


# What the risk stage remembers: one row per asset, venue, party, subject, scope and limit.


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


class LocalPriceRow(msgspec.Struct, array_like=True):
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
    local: dict[str, LocalPriceRow] = {}


class LastReported(msgspec.Struct, array_like=True):
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
    shown: dict[str, LastReported] = {}
    positions_shown: dict[str, LastReported] = {}
    assessed_us: int = 0
    unshown: bool = True
    base: Baseline | None = None
    slips: list[FillSlippage] = []


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
    trackers: dict[str, RuleTracker] = {}
    unknown_since: int = -1
    alert_id: str = ""
    alert_state: State = State.NORMAL
    grounds: list[str] = []
    dark_id: str = ""
    capped: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember: the scope is as one that was never seen."""
        return (
            not self.trackers
            and not self.decision_id
            and self.unknown_since < 0
            and self.effective is State.NORMAL
        )


class AdvisoryRow(msgspec.Struct):
    """What advisory rules, asks and limits remember of one scope, apart from what binds.

    Attributes
    ----------
    state, in_force : State
        What they would have set, and what held instead, as last said; equal if nothing is open.
    rule, generation : str
        Who led when that was said.
    opened_id : str
        The output that opened what is open now; empty if nothing is.
    trackers : dict of str to RuleTracker
        By rule id; only those with something to remember.
    """

    state: State = State.NORMAL
    in_force: State = State.NORMAL
    rule: str = ""
    generation: str = "rules"
    opened_id: str = ""
    trackers: dict[str, RuleTracker] = {}

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to remember."""
        return not self.trackers and not self.opened_id


class LimitRow(msgspec.Struct, array_like=True):
    """What was last measured of one limit on one scope, and when it was last put out."""

    used: float
    us: int
    status: str


class RiskMeta(msgspec.Struct):
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


RowT = TypeVar("RowT", bound="Row | None")
SCORER_PREFIX: Final = "scorer/"
_TYPES: Final[dict[str, Any]] = {
    "asset": AssetRow,
    "venue": VenueRow,
    "party": PartyRow,
    "credit": CreditRow,
    "scope": ScopeRow,
    "limit": LimitRow,
    "sent": int,
    "issue": int,
    "fault": list[str],
    "control": ControlRow,
    "command": IdempotencyRow,
    "refusals": RefusalsRow,
    "hard": LimitOverrideRow,
    "drill": DrillRow,
    "advisory": AdvisoryRow,
}


class RiskState:
    """Rows by kind and name, and which of them changed.

    Parameters
    ----------
    scorer : StageState
        State of the models, empty; its rows are kept with a prefix of their own.
    """

    def __init__(self, scorer: StageState) -> None:
        self.scorer = scorer
        self.assets: dict[str, AssetRow] = {}
        self.venues: dict[str, VenueRow] = {}
        self.parties: dict[str, PartyRow] = {}
        self.credit: dict[str, CreditRow] = {}
        self.scopes: dict[str, ScopeRow] = {}
        self.limits: dict[str, LimitRow] = {}
        self.sent: dict[str, int] = {}
        self.issues: dict[str, int] = {}
        self.faults: dict[str, list[str]] = {}
        self.controls: dict[str, ControlRow] = {}
        self.commands: dict[str, IdempotencyRow] = {}
        self.refusals: dict[str, RefusalsRow] = {}
        self.limit_overrides: dict[str, LimitOverrideRow] = {}
        self.drills: dict[str, DrillRow] = {}
        self.advisories: dict[str, AdvisoryRow] = {}
        self.budget = AlertBudgetRow(0)
        self.meta = RiskMeta()
        self.version = 0
        self.limit_features: dict[str, dict[str, float]] | None = None
        """What limits say of scopes while nothing of them changes; worked out of rows again."""
        self.advisory_features: dict[str, dict[str, float]] | None = None
        """The same with the advisory limits among them; empty if there are none."""
        self._dirty: dict[str, None] = {}
        self._tables: dict[str, dict[str, Any]] = {
            "asset": self.assets,
            "venue": self.venues,
            "party": self.parties,
            "credit": self.credit,
            "scope": self.scopes,
            "limit": self.limits,
            "sent": self.sent,
            "issue": self.issues,
            "fault": self.faults,
            "control": self.controls,
            "command": self.commands,
            "refusals": self.refusals,
            "hard": self.limit_overrides,
            "drill": self.drills,
            "advisory": self.advisories,
        }

    def mark(self, row: str) -> None:
        """Remember that a row changed (or went) and must be written."""
        self._dirty[row] = None

    def drain(self) -> RowChanges:
        """Rows that changed since the last call, keys sorted."""
        out: RowChanges = {}
        for key, row in self.scorer.drain().items():
            out[SCORER_PREFIX + key] = row
        for key in self._dirty:
            kind, _, name = key.partition("/")
            value = self._single(kind) if not name else self._tables[kind].get(name)
            out[key] = None if value is None else encode_row(value)
        self._dirty.clear()
        return dict(sorted(out.items()))

    def _single(self, kind: str) -> RiskMeta | AlertBudgetRow:
        return self.meta if kind == "meta" else self.budget

    def load(self, rows: dict[str, Row]) -> None:
        """Become the state that these rows describe.

        Raises
        ------
        ValueError
            If a row is of no kind that this engine writes.
        """
        scorer: dict[str, Row] = {}
        for key in sorted(rows):
            kind, _, name = key.partition("/")
            if key.startswith(SCORER_PREFIX):
                scorer[key.removeprefix(SCORER_PREFIX)] = rows[key]
            elif kind == "meta":
                self.meta = msgspec.json.decode(rows[key], type=RiskMeta)
            elif kind == "budget":
                self.budget = msgspec.json.decode(rows[key], type=AlertBudgetRow)
            elif kind in _TYPES:
                self._tables[kind][name] = msgspec.json.decode(rows[key], type=_TYPES[kind])
            else:
                raise ValueError(f"row {key!r} is of no kind that the risk stage knows")
        self.scorer.load(scorer)


def scorer_rows(rows: Mapping[str, RowT]) -> dict[str, RowT]:
    """Rows of the models among the rows of the risk stage, by their own keys."""
    return {
        key.removeprefix(SCORER_PREFIX): row
        for key, row in rows.items()
        if key.startswith(SCORER_PREFIX)
    }
