"""State of the risk stage, as rows.

================================== ==========================================
row                                holds
================================== ==========================================
``asset/<id>``                     last market reading, trail of deviations
``mark/<asset>``                   what stands for the price of an asset that was never priced
``venue/<id>``                     last venue reading
``party/<counterparty>``           holdings, positions, flow, last reported values
``credit/<subject>``               current credit news
``scope/<scope>``                  state, trackers, last decision, open alert
``limit/<id>|<scope>``             last published usage of a limit
``sent/<key>``                     when scores were last due, and assessments last published
``score/<scope>``                  last published scores, and the inputs they came from
``issue/<kind>|<subject>``         open data-quality issues
``fault/<worker>``                 counterparties of a failed worker
``control/<scope>``                operator controls: requests, overrides, silences, ...
``command/<idempotency key>``      outcome of a command
``refusals/<operator>``            refused commands of one operator, for its open alert
``hard/<limit id>``                override of a limit
``drill/<plan>``                   last due time of a planned drill
``advisory/<scope>``               trackers and result of advisory rules
``effect/<scope>``                 whether the present HALT of a scope took effect
``history/<id>``                   marks of the price of a pegged asset or of BTC
``equity/<scope>``                 equity, result and high-water mark: firm, book, account
``leg/<counterparty>/<way>/<id>``  leg of a transfer, and what became of it
``adjusted/<account>/<kind>``      adjustments of one day, and the open break
``budget``                         WATCH alerts of this month
``scorer/...``                     rows of the models
``meta``                           time of the last evaluation
================================== ==========================================
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from riskwatch.core.clock import moment
from riskwatch.core.enums import Cause, Quality, Restriction, State
from riskwatch.core.events import CreditKind
from riskwatch.core.money import saturated, usd
from riskwatch.core.outputs import Unwind
from riskwatch.core.readings import (
    AccountAdjustment,
    AssetReading,
    FillGroup,
    FillSlippage,
    FlowFeatures,
    Holding,
    OpenPosition,
    RestingOrders,
    StaleAccount,
)
from riskwatch.core.risk.baseline import Baseline
from riskwatch.core.risk.history import PriceHistory
from riskwatch.core.risk.legs import AdjustmentDay, LegIndex, LegRow
from riskwatch.core.risk.tracker import RuleTracker
from riskwatch.core.scopes import ASSET, COUNTERPARTY, parse
from riskwatch.core.stage import Row, RowChanges, encode_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.readings import PartitionFault
    from riskwatch.core.stage import StageState


# Rows of operators' commands and controls.


class IdempotencyRow(msgspec.Struct, array_like=True):
    """One idempotency key: time, digest of the intent, outcome, identity of the event, operator.

    Rows of builds that did not bound keys per operator name none. `repeats` counts the answers to
    repetitions of the command.
    """

    us: int
    digest: str
    outcome: str
    refused: bool
    event: str = ""
    by: str = ""
    repeats: int = 0


class ApprovalRequest(msgspec.Struct):
    """A request that waits for a second operator until `until` (microseconds)."""

    id: str
    action: str
    by: str
    us: int
    until: int
    reason: str
    args: dict[str, Any] = {}


class HaltOverride(msgspec.Struct):
    """An override: a HALT is lifted to `state` until `until`, although its condition is met.

    `restriction` is what the HALT restricts when it is back; empty for everything.
    """

    by: str
    approved_by: str
    until: int
    state: State
    reason: str
    restriction: dict[Restriction, State] = {}


class SignOff(msgspec.Struct):
    """An operator's sign-off: who and when, with `until` or `alert` if it has an end or subject."""

    by: str
    us: int
    until: int = 0
    alert: str = ""


class UnwindGrant(msgspec.Struct):
    """Unwinds granted since the decision: their sum, and price band in bp and end of the last.

    The sum is stored, because order paths count their usage per decision.
    """

    by: str
    max_usd: float
    max_slip_bp: float
    until: int

    def allowance(self) -> Unwind:
        """Return the allowance that is published to order paths."""
        return Unwind(usd(self.max_usd), self.max_slip_bp, moment(self.until))


class ControlRow(msgspec.Struct):
    """Operator controls of one scope.

    `granted` is the sum of all unwinds granted since the HALT began, USD. `before` is this sum when
    an override of the HALT last ended, which started a new decision. `granted_for` is the decision
    of the last grant at REDUCE, and empty if the last one was at HALT: a grant at REDUCE allows
    top-ups of margin, and ends with its decision.
    """

    request: ApprovalRequest | None = None
    override: HaltOverride | None = None
    silence: SignOff | None = None
    retired: SignOff | None = None
    acknowledged: SignOff | None = None
    unwind: UnwindGrant | None = None
    granted: float = 0.0
    before: float = 0.0
    granted_for: str = ""

    def grant_in_force(self, decision_id: str) -> UnwindGrant | None:
        """Return the unwind that holds under a decision; ``None`` if there is none."""
        return self.unwind if self.granted_for in ("", decision_id) else None

    @property
    def is_idle(self) -> bool:
        """Whether there is no control, so that the row can be dropped."""
        return self == _EMPTY


_EMPTY = ControlRow()


class RefusalsRow(msgspec.Struct):
    """Refused commands of one operator since the alert about them was opened.

    Attributes
    ----------
    alert_id : str
        Id of the alert.
    count : int
        Number of refused commands.
    us : int
        Time of the last one, microseconds.
    hour_us : int
        When the present hour of records began, microseconds.
    records, forged_records : int
        Refused commands of this hour that were recorded one by one: those that the operator signed,
        and those in the operator's name that were not authentic.
    unrecorded : int
        Refused commands that were counted only.
    """

    alert_id: str
    count: int
    us: int
    hour_us: int = 0
    records: int = 0
    forged_records: int = 0
    unrecorded: int = 0


class AlertBudgetRow(msgspec.Struct):
    """WATCH alerts raised in one month of event time, and the number folded into one."""

    month: int
    raised: int = 0
    folded: int = 0
    alert_id: str = ""


class LimitOverrideRow(msgspec.Struct):
    """An operator's override of a limit: hard value, warning share, operator, time.

    `until` is when a raise ends, microseconds; 0 if it does not. Then the override of before is in
    force again: `hard_before` and `share_before`, or none if `hard_before` is 0.
    """

    hard_usd: float
    warning_share: float
    by: str
    us: int
    until: int = 0
    hard_before: float = 0.0
    share_before: float = 0.0


# Counterparties of failed workers: their holdings are not kept up to date.


def record_fault(state: RiskState, fault: PartitionFault) -> None:
    """Store the counterparties of a failed worker; they replace those stored for it before."""
    if fault.counterparties:
        state.faults[fault.worker] = sorted(fault.counterparties)
    else:
        state.faults.pop(fault.worker, None)
    state.mark(f"fault/{fault.worker}")


def clear_fault(state: RiskState, counterparty: str) -> None:
    """Remove the fault of a counterparty, because a reading of it arrived."""
    for worker in [w for w in sorted(state.faults) if counterparty in state.faults[w]]:
        left = [name for name in state.faults[worker] if name != counterparty]
        if left:
            state.faults[worker] = left
        else:
            del state.faults[worker]
        state.mark(f"fault/{worker}")


def fault_reasons(state: RiskState) -> dict[str, str]:
    """Return the reason for each counterparty of a failed worker."""
    return {
        name: f"{worker} stays down: what we have with {name} is not kept up"
        for worker in sorted(state.faults)
        for name in state.faults[worker]
    }


class DrillRow(msgspec.Struct):
    """One drill plan: when it was first seen, and its last handled due time; microseconds."""

    since: int
    last: int


# Rows of assets, venues, parties, subjects, scopes and limits.


class AssetRow(msgspec.Struct):
    """One asset by its last reading.

    Attributes
    ----------
    reading : AssetReading
        The last reading.
    us : int
        Its time, microseconds.
    price : float or None
        Last usable price (see :mod:`.exposure`), USD.
    trail : list of [int, float]
        Deviation at five-minute marks of the last hour: time in microseconds, bp.
    observations : int
        Number of observations that trackers have counted.
    sent_us : int
        When a value was last published, microseconds; 0 for never.
    sent_bp : float
        The published deviation.
    sent_cause, sent_quality
        The published cause and quality.
    sent_observations, sent_live : int
        Observations and live feeds behind the published value.
    base : Baseline or None
        Baseline of its deviation; ``None`` before the first reading.
    peak : float or None
        Recent highest price, which sinks with a half-life of a week, USD.
    price_us : int
        Time of the last usable price, microseconds; 0 if that was not recorded.
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
    sent_observations: int = -1
    sent_live: int = -1
    base: Baseline | None = None
    peak: float | None = None
    price_us: int = 0


class Valuation(msgspec.Struct, frozen=True, array_like=True):
    """Dollars of one unit, what says so, and when it was said.

    Attributes
    ----------
    price : float
        USD.
    by : str
        ``price`` (the market says it now), ``last_price``, ``mark`` (a venue's mark of our own
        position), ``entry`` (what we traded at), ``assumed`` (the reference data).
    us : int
        Time, microseconds; 0 if it is not known.
    """

    price: float
    by: str
    us: int


class MarkRow(msgspec.Struct):
    """What stands for the price of an asset that we hold and that was never priced.

    The first of `mark`, `entry` and `assumed` that is there counts. A row with none of them says
    that the asset is ours: it was there when its account began, or we traded it.
    """

    mark: Valuation | None = None
    entry: Valuation | None = None
    assumed: Valuation | None = None

    @property
    def valuation(self) -> Valuation | None:
        """The valuation that counts."""
        return self.mark or self.entry or self.assumed


class LocalPriceRow(msgspec.Struct, array_like=True):
    """An asset's local price at one venue: its gap to the consensus in bp, and observations."""

    bp: float
    observations: int


class VenueRow(msgspec.Struct):
    """One venue by its last reading."""

    us: int
    dislocation_bp: float
    bases: int
    live: int
    expected: int
    local: dict[str, LocalPriceRow] = {}


class LastReported(msgspec.Struct, array_like=True):
    """The last reported amount and price of a holding, what gave it, and who confirmed the amount.

    Rows of older builds do not say by what it was valued.
    """

    amount: Decimal
    price: float | None
    us: int
    by: str = ""
    confirmed: int = 0


class PartyRow(msgspec.Struct):
    """Holdings, positions and transfer flow of one counterparty.

    `shown` holds the last reported values by ``book/account/asset/component``, `positions_shown`
    by ``book/account/instrument``; wallet and side are in the keys if they are stated. `unshown`
    says that a reading arrived since the last report; its time may be before the tick of that
    report, because it may come from another worker. `base` is the baseline of the withdrawal time,
    in doublings of a second; it is ``None`` before enough withdrawals. `slips` and `fills`
    are fills that wait for the next tick, and `fills_missed` counts those without room. `orders`
    are the resting orders, ``None`` if none was ever reported. `traded` says that there has been a
    fill. `assessed_us` is the time of the first credit assessment, microseconds; 0 before it.
    `in_transit` is what the ledger states as in transit; in `holdings` it is corrected by the links
    of transfers. `adjustments` wait for the next tick. `turnover` is by account (day since 1970,
    value of the fills of that day, and of the day before, USD).
    `bases` is by position the time of the statement of its mark, microseconds, and the mark divided
    by the price of the base. `sizes` is by position its exposure when it was last judged, USD, and
    `implausible` the id of the open alert of each that can hardly be.
    `stale` are the accounts that no source confirms any more.
    `opened` is the time of the first reading of each account, microseconds; 0 if that was not
    recorded.
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
    fills: list[FillGroup] = []
    fills_missed: int = 0
    orders: list[RestingOrders] | None = None
    traded: bool = False
    in_transit: list[Holding] = []
    opened: dict[str, int] = {}
    adjustments: list[AccountAdjustment] = []
    turnover: dict[str, tuple[int, float, float]] = {}
    bases: dict[str, tuple[int, float]] = {}
    sizes: dict[str, float] = {}
    implausible: dict[str, str] = {}
    stale: list[StaleAccount] = []


class CreditItem(msgspec.Struct, array_like=True):
    """One current item of credit news; an attestation has its ratio and its date."""

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
    """Credit news, legal entity and netting sets of one counterparty, issuer or bank.

    `us` is the time of the newest event about it, microseconds; 0 if that was not recorded. `by` is
    the source that named it first, if it was neither listed nor ours then; else empty.
    """

    items: list[CreditItem] = []
    entity: str | None = None
    jurisdiction: str | None = None
    netting: dict[str, tuple[bool, list[str]]] = {}
    us: int = 0
    by: str = ""


class ScopeRow(msgspec.Struct):
    """The state of one scope.

    Attributes
    ----------
    state : State
        The decided state. HALT lasts until operators release it.
    effective, quality
        Effective state and quality as last published.
    cause, rule, generation, reasons
        Those of the last decision.
    decision_id : str
        Id of the last decision; empty before the first.
    trackers : dict of str to RuleTracker
        Trackers by rule id; idle ones are dropped.
    unknown_since : int
        Time since which the quality is unknown, microseconds; -1 if it is known.
    alert_id, alert_state
        Id of the open alert (empty if there is none), and its state when last raised.
    grounds : list of str
        Leading features that alerts have named since the state was entered.
    held_by : list of str
        Ids of the rules and asks that `reasons` names; empty if people set the state.
    capped : bool
        Whether it is at REDUCE only by requests of generations of bounded authority, which may
        reduce no more than a share of the firm's exposure.
    dark_id : str
        Id of the open alert about missing data; empty if there is none.
    restriction : dict of Restriction to State
        What `state` restricts; empty in rows from before there were restrictions, and below REDUCE.
    members : list of str
        Members of a group, issuer or bank as last published.
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
    held_by: list[str] = []
    restriction: dict[Restriction, State] = {}
    members: list[str] = []

    @property
    def is_idle(self) -> bool:
        """Whether the row equals that of a new scope, so that it need not be stored."""
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


class HaltEffectRow(msgspec.Struct):
    """Whether one HALT took effect.

    Attributes
    ----------
    since : int
        Time of the HALT, microseconds.
    ended : bool
        Whether it was released or overridden since the last tick.
    filled_usd, fills : float, int
        Value and number of fills after the HALT that added risk without a granted use.
    unpriced, missed : int
        Number of such fills without a price, and of fills that no reading had room for.
    resting_usd, resting : float, int
        Value and number of orders that rest and would add risk; ``None`` and 0 if no order of a
        counterparty in the scope was ever reported.
    flat_us : int
        Time since which no such order rests, microseconds; -1 while one rests, or if it is unknown.
    grants : list of (int, int)
        Times between which an unwind was granted, microseconds.
    granted_usd, used_usd : float
        Value that all grants allow, and value of the fills within them.
    alert_id : str
        Id of the open alert; empty if there is none.
    alerted_usd, alerted_resting : float, bool
        Value of fills, and whether orders rested, when the alert was last raised.
    sent : tuple
        Resting and filled value, and end of resting, as last published; ``None`` before that.
    restricts : dict of Restriction to State
        What the HALT restricts, as last published.
    """

    since: int
    ended: bool = False
    filled_usd: float = 0.0
    fills: int = 0
    unpriced: int = 0
    missed: int = 0
    resting_usd: float | None = None
    resting: int = 0
    flat_us: int = -1
    grants: list[tuple[int, int]] = []
    granted_usd: float = 0.0
    used_usd: float = 0.0
    alert_id: str = ""
    alerted_usd: float = 0.0
    alerted_resting: bool = False
    sent: tuple[float, float, int] | None = None
    restricts: dict[Restriction, State] = {}


MAX_GRANTS: Final = 64
"""Maximum number of grants of one HALT of which the times are kept; the last ones are joined."""


def begin_halt(state: RiskState, scope: str, us: int) -> None:
    """Record that a HALT of a scope began at `us` (microseconds)."""
    old = state.effects.get(scope)
    row = state.effects[scope] = HaltEffectRow(us)
    if old is not None:  # a HALT that ended since the last tick: its alert goes on or is resolved
        row.alert_id, row.sent = old.alert_id, old.sent
    state.mark(f"effect/{scope}")


def end_halt(state: RiskState, scope: str) -> None:
    """Record that the HALT of a scope ended."""
    row = state.effects.get(scope)
    if row is not None:
        row.ended = True
        state.mark(f"effect/{scope}")


def grant_use(state: RiskState, scope: str, us: int, until: int, max_usd: float) -> None:
    """Record that an unwind of at most `max_usd` was granted from `us` to `until`."""
    row = state.effects.get(scope)
    if row is None:  # the HALT is older than this record
        begin_halt(state, scope, us)
        row = state.effects[scope]
    row.granted_usd += max_usd
    if len(row.grants) >= MAX_GRANTS:
        first, last = row.grants[-1]
        row.grants[-1] = (first, max(last, until))
    else:
        row.grants.append((us, until))
    state.mark(f"effect/{scope}")


class HeldQuantity(msgspec.Struct, array_like=True):
    """What the firm holds of one asset.

    Attributes
    ----------
    held : float
        Net amount of all holdings, without derivatives.
    delta : float
        Net amount with the positions of derivatives.
    gross, unknown : float
        Sum of absolute amounts and positions, and the part of it that is not certain: under way
        between accounts, or at a counterparty of a failed worker.
    """

    held: float
    delta: float
    gross: float
    unknown: float


class PnlSums(msgspec.Struct, array_like=True):
    """What was earned, USD, by what earned it.

    Attributes
    ----------
    trading : float
        Value of both legs of fills at the prices of the tick.
    fees, funding, interest : float
        As stated; negative for what was paid.
    revaluation : float
        Change of prices times what was held before.
    other : float
        Entries of ledgers of other kinds.
    """

    trading: float = 0.0
    fees: float = 0.0
    funding: float = 0.0
    interest: float = 0.0
    revaluation: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        """The sum, USD."""
        return (
            self.trading + self.fees + self.funding + self.interest + self.revaluation + self.other
        )

    def add(self, more: PnlSums) -> None:
        """Add other sums."""
        for name in self.__struct_fields__:
            setattr(self, name, saturated(getattr(self, name) + getattr(more, name)))


class UnitMark(msgspec.Struct, frozen=True, array_like=True):
    """A mark of the last day: time in microseconds, unit value, and all that was earned, USD."""

    us: int
    unit_value: float
    earned: float


class EquityRow(msgspec.Struct):
    """The unitised equity of the firm, of a book or of an account.

    Attributes
    ----------
    us : int
        Time of the last update, microseconds.
    unit_value, high_water_mark : float
        The unitised equity, 1.0 at first, and its highest value since two operators last set it.
    equity : float
        Value of all holdings at `prices`, USD.
    lots : dict of str to HeldQuantity
        What is held, by asset.
    prices : dict of str to float
        Price of each asset at the last update, USD; an asset that was never priced has none.
    coverage : float
        Share of the value of all that is held of which the price is live and the amount certain.
    linked : bool
        Whether the equity is large enough against what is held for the unit value to move.
    sent_us, sent_bp : int, float
        Time and drawdown as last published; time 0 before that.
    capital : float
        Capital of a book, which its result is a share of, USD; 0 for others, whose result is a
        share of the equity.
    day, day_unit, day_equity : int, float, float
        Day since 1970, -1 before the first; unit value and equity at its beginning.
    pnl : PnlSums
        What was earned on that day.
    earned : float
        What was earned since the beginning, USD.
    marks : list of UnitMark
        Marks of the last 24 hours, every quarter of an hour; the first one is as old as that.
    sent_loss_bp : float
        The larger loss as last published.
    """

    us: int
    unit_value: float = 1.0
    high_water_mark: float = 1.0
    equity: float = 0.0
    lots: dict[str, HeldQuantity] = {}
    prices: dict[str, float] = {}
    coverage: float = 1.0
    linked: bool = False
    sent_us: int = 0
    sent_bp: float = 0.0
    capital: float = 0.0
    day: int = -1
    day_unit: float = 1.0
    day_equity: float = 0.0
    pnl: PnlSums = msgspec.field(default_factory=PnlSums)
    earned: float = 0.0
    marks: list[UnitMark] = []
    sent_loss_bp: float = 0.0


class PublishedScore(msgspec.Struct, frozen=True, array_like=True):
    """A score as last published, and when, microseconds."""

    us: int
    probability: float
    severity: float
    authority: str


class PublishedScoresRow(msgspec.Struct):
    """The scores of one scope as last published.

    Attributes
    ----------
    inputs : str
        The inputs of the scope, and its state, when scores were last due.
    scores : dict of str to PublishedScore
        By ``target|generation``.
    """

    inputs: str = ""
    scores: dict[str, PublishedScore] = {}


class LimitRow(msgspec.Struct, array_like=True):
    """The usage of one limit on one scope as last published, with time, status and hard value.

    Rows of older builds have no hard value.
    """

    used: float
    us: int
    status: str
    hard: float = 0.0


class RiskMeta(msgspec.Struct):
    """State of the stage as a whole.

    Attributes
    ----------
    looked : int
        Time of the last evaluation, microseconds; 0 before the first.
    news : bool
        Whether any event arrived since.
    holdings : bool
        Whether our holdings changed since.
    moving : bool
        Whether a tracker changes by the passing of time alone.
    reported : int
        When all values, limits and assessments were last published, microseconds.
    names : str
        Digest of the table of names under which the rows are; empty for none.
    """

    looked: int = 0
    news: bool = False
    holdings: bool = False
    moving: bool = False
    reported: int = 0
    names: str = ""


def is_over(row: PartyRow) -> bool:
    """Whether nothing is held, open, waiting or shown at a counterparty."""
    flow = row.flow
    return not (
        any(h.amount for h in row.holdings)
        or any(p.qty for p in row.positions)
        or any(
            (
                row.in_transit,
                row.orders,
                row.shown,
                row.positions_shown,
                row.slips,
                row.fills,
                row.fills_missed,
            )
        )
        or any((flow.pending_count, flow.overdue_count, flow.outflow_24h, flow.inflow_24h))
    )


def forget_scores(state: RiskState) -> None:
    """Drop what was published of assets and counterparties that are not known any more."""
    parties = dict.fromkeys([*state.parties, *state.venues, *state.credit])
    known = {ASSET: dict.fromkeys(state.assets), COUNTERPARTY: parties}
    for scope in [s for s in state.published_scores if s not in state.scopes]:
        at = parse(scope)
        if at.kind in known and at.name not in known[at.kind]:
            del state.published_scores[scope]
            state.mark(f"score/{scope}")
            if state.sent.pop(f"score/{scope}", None) is not None:
                state.mark(f"sent/score/{scope}")


def scope_key(scope: str) -> str:
    """Return the key of the row of a scope."""
    return f"scope/{scope}"


def scope_row(body: bytes | None) -> ScopeRow:
    """Decode the stored row of a scope; without one the scope is NORMAL."""
    return ScopeRow() if body is None else msgspec.json.decode(body, type=ScopeRow)


RowT = TypeVar("RowT", bound="Row | None")
SCORER_PREFIX: Final = "scorer/"
_TYPES: Final[dict[str, Any]] = {
    "asset": AssetRow,
    "mark": MarkRow,
    "venue": VenueRow,
    "party": PartyRow,
    "credit": CreditRow,
    "scope": ScopeRow,
    "limit": LimitRow,
    "sent": int,
    "score": PublishedScoresRow,
    "issue": int,
    "fault": list[str],
    "control": ControlRow,
    "command": IdempotencyRow,
    "refusals": RefusalsRow,
    "hard": LimitOverrideRow,
    "drill": DrillRow,
    "advisory": AdvisoryRow,
    "effect": HaltEffectRow,
    "equity": EquityRow,
    "leg": LegRow,
    "adjusted": AdjustmentDay,
    "history": PriceHistory,
}


class RiskState:
    """The rows of the stage by kind and name, and the set of changed rows.

    Parameters
    ----------
    scorer : StageState
        Empty state of the models; its rows are stored with the prefix ``scorer/``.
    """

    def __init__(self, scorer: StageState) -> None:
        self.scorer = scorer
        self.assets: dict[str, AssetRow] = {}
        self.marks: dict[str, MarkRow] = {}
        self.venues: dict[str, VenueRow] = {}
        self.parties: dict[str, PartyRow] = {}
        self.credit: dict[str, CreditRow] = {}
        self.credit_counts: dict[str, int] | None = None
        """Unlisted subjects of news by source; ``None`` if they must be counted again."""
        self.oldest_news: int | None = None
        """Time up to which no news expires, microseconds; ``None`` if it must be derived again."""
        self.scopes: dict[str, ScopeRow] = {}
        self.limits: dict[str, LimitRow] = {}
        self.sent: dict[str, int] = {}
        self.published_scores: dict[str, PublishedScoresRow] = {}
        self.issues: dict[str, int] = {}
        self.faults: dict[str, list[str]] = {}
        self.controls: dict[str, ControlRow] = {}
        self.commands: dict[str, IdempotencyRow] = {}
        self.refusals: dict[str, RefusalsRow] = {}
        self.limit_overrides: dict[str, LimitOverrideRow] = {}
        self.drills: dict[str, DrillRow] = {}
        self.advisories: dict[str, AdvisoryRow] = {}
        self.effects: dict[str, HaltEffectRow] = {}
        self.equities: dict[str, EquityRow] = {}
        self.legs: dict[str, LegRow] = {}
        self.adjustment_days: dict[str, AdjustmentDay] = {}
        self.leg_index: LegIndex | None = None
        """Index of the legs; ``None`` if it must be made again."""
        self.histories: dict[str, PriceHistory] = {}
        self.history_features: dict[str, tuple[int, dict[str, float]]] = {}
        """Cached features of histories with the time of their last mark; not stored."""
        self.budget = AlertBudgetRow(0)
        self.meta = RiskMeta()
        self.version = 0
        self.advisory_features: dict[str, dict[str, float]] | None = None
        """Limit features by scope with the advisory limits among them; empty if none advises."""
        self.binding_usages: dict[str, dict[str, Any]] = {}
        """The limits behind the limit features (:data:`.limits.BindingUsages`); not stored."""
        self.advisory_usages: dict[str, dict[str, Any]] = {}
        """The same with the advisory limits among them."""
        self._dirty: dict[str, None] = {}
        self._tables: dict[str, dict[str, Any]] = {
            "asset": self.assets,
            "mark": self.marks,
            "venue": self.venues,
            "party": self.parties,
            "credit": self.credit,
            "scope": self.scopes,
            "limit": self.limits,
            "sent": self.sent,
            "score": self.published_scores,
            "issue": self.issues,
            "fault": self.faults,
            "control": self.controls,
            "command": self.commands,
            "refusals": self.refusals,
            "hard": self.limit_overrides,
            "drill": self.drills,
            "advisory": self.advisories,
            "effect": self.effects,
            "equity": self.equities,
            "leg": self.legs,
            "adjusted": self.adjustment_days,
            "history": self.histories,
        }

    def mark(self, row: str) -> None:
        """Mark a row as changed or deleted, so that it is written."""
        self._dirty[row] = None

    def drain(self) -> RowChanges:
        """Return the rows that changed since the last call, keys sorted."""
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
        """Load the state from its rows.

        Raises
        ------
        ValueError
            If a row is of an unknown kind.
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
    """Return the models' rows among the rows of the risk stage, by the models' own keys."""
    return {
        key.removeprefix(SCORER_PREFIX): row
        for key, row in rows.items()
        if key.startswith(SCORER_PREFIX)
    }
