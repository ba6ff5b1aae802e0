"""Outputs of the stages: the types of the facts that riskwatch publishes.

The `id` of an output is a digest of the engine version, its cause, its kind and its key
(:func:`riskwatch.core.ids.output_id`). A replay gives the same ids, and consumers drop repeats by
id. `topic` and `key()` state where an output is published. An output with the topic ``None`` is
stored in SQL only.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Final, TypedDict

import msgspec

from riskwatch.core.clock import moment
from riskwatch.core.enums import (
    Cause,
    CommandRefusal,
    HaltEffect,
    Quality,
    QualityIssue,
    RejectReason,
    Restriction,
    State,
)
from riskwatch.core.ids import output_id
from riskwatch.version import ENGINE

# The base of all outputs, and their origin.


class Output(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """The base of outputs, with the common fields `id`, `cause_id`, event time `ts`, `engine`."""

    topic: ClassVar[str | None] = None

    id: str
    cause_id: str
    ts: datetime
    engine: str = ENGINE

    def key(self) -> str:
        """Return the key of the record on its topic, and of its row in SQL."""
        raise NotImplementedError(type(self).__name__)


class Stamp(TypedDict):
    """The fields of an output that state its origin."""

    id: str
    cause_id: str
    ts: datetime


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The origin of outputs: their cause and its time. It stamps each of them.

    Attributes
    ----------
    cause_id : str
        Identity of the causing event, or ``tick/<time>``.
    ts : datetime
        Event time.
    occasion : str
        Replaces `cause_id` in ids if one event may arrive many times and each arrival has outputs
        of its own; else empty.

    Examples
    --------
    >>> sorted(Origin.tick(0).stamp(Output, "asset:USDC"))
    ['cause_id', 'id', 'ts']
    """

    cause_id: str
    ts: datetime
    occasion: str = ""

    @classmethod
    def tick(cls, us: int) -> Origin:
        """Return the origin of the outputs of a tick at `us`, microseconds."""
        return cls(f"tick/{us}", moment(us))

    def stamp(self, kind: type[Output], key: str) -> Stamp:
        """Return id, cause and time of the output of `kind` about `key`."""
        return {
            "id": output_id(self.occasion or self.cause_id, kind.__name__, key),
            "cause_id": self.cause_id,
            "ts": self.ts,
        }


# Drills.

CLIENT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of order paths."""
SCHEDULED_BY: Final = "schedule"
"""Value of `person` for a drill that a plan of the configuration schedules."""


class DrillSignalled(Output, frozen=True, kw_only=True, gc=False):
    """A drill: order paths exercise a HALT of `scope` on a copy. No real state changes.

    Attributes
    ----------
    scope : str
        Scope of the drill.
    plan : str
        Plan that scheduled it; empty if an operator commanded it.
    person, reason : str
        Operator who commanded it, and the reason.
    expect : list of str
        Order paths that must answer, in addition to all known ones.
    deployment : str, optional
        Deployment that signals it; absent in a replay in one process.
    """

    topic: ClassVar[str | None] = "riskwatch.drills"

    scope: str
    plan: str
    person: str
    reason: str
    expect: list[str]
    deployment: str | msgspec.UnsetType = msgspec.UNSET

    def key(self) -> str:
        """Return the scope."""
        return self.scope


# Commands and operator controls.


class Unwind(msgspec.Struct, frozen=True, gc=False):
    """An unwind that an operator granted: trades that are allowed during a HALT.

    Attributes
    ----------
    max_usd : Decimal
        Maximum value that may be traded in total since the decision that the switch names, USD:
        the sum of all grants since then.
    max_slip_bp : float
        Maximum distance of the price from the mid, bp.
    until : datetime
        When the unwind ends.
    """

    max_usd: Decimal
    max_slip_bp: float
    until: datetime


class UnwindColumns:
    """The fields of an `unwind` as columns; all are ``None`` if there is none."""

    __slots__ = ()
    unwind: Unwind | None

    @property
    def unwind_max_usd(self) -> Decimal | None:
        """Maximum value that may be traded, USD."""
        return None if self.unwind is None else self.unwind.max_usd

    @property
    def unwind_max_slip_bp(self) -> float | None:
        """Maximum distance from the mid, bp."""
        return None if self.unwind is None else self.unwind.max_slip_bp

    @property
    def unwind_until(self) -> datetime | None:
        """When it ends."""
        return None if self.unwind is None else self.unwind.until


class CommandApplied(Output, frozen=True, kw_only=True, gc=False):
    """A command was accepted.

    `outcome` is ``applied``; ``requested``, if a second operator has to approve `request_id`;
    ``approved``, if this is the second operator's command; or ``repeated``, if the same command
    arrived before and this one has no effect. `commanded_at` is the signed `ts`, and `deployment`
    the deployment that was signed; it is absent if the command named none.
    """

    topic: ClassVar[str | None] = "riskwatch.alerts"

    operator: str
    role: str
    action: str
    scope: str
    reason: str
    args: dict[str, Any]
    idempotency_key: str
    commanded_at: datetime
    outcome: str
    detail: str
    request_id: str | None = None
    signature: str
    deployment: str | msgspec.UnsetType = msgspec.UNSET

    def key(self) -> str:
        """Return the scope."""
        return self.scope


class CommandRefused(Output, frozen=True, kw_only=True, gc=False):
    """A command was refused. Unless `authentic` is true, its operator is not verified.

    `deployment` is the deployment that the command names; it is absent if it names none.
    """

    topic: ClassVar[str | None] = "riskwatch.alerts"

    operator: str
    role: str
    action: str
    scope: str
    reason: str
    args: dict[str, Any]
    idempotency_key: str
    commanded_at: datetime
    refusal: CommandRefusal
    detail: str
    authentic: bool
    signature: str
    deployment: str | msgspec.UnsetType = msgspec.UNSET

    def key(self) -> str:
        """Return the scope."""
        return self.scope


class ControlChanged(Output, UnwindColumns, frozen=True, kw_only=True, gc=False):
    """The operator controls of one scope changed; without any control the row is closed.

    Attributes
    ----------
    request_id, request_action, request_by, request_until
        The request that waits for a second operator.
    override_state, override_by, override_approved_by, override_until
        The override that lifts a HALT for a while although its condition is met.
    silence_by, silence_until
        The silence, under which no alerts are notified, except of HALT.
    retired_by, retired_ts
        The retirement, which closes the scope for good.
    acknowledged_by, acknowledged_ts
        The acknowledgement of the open alert.
    unwind_by, unwind
        The unwind that is allowed during the HALT.
    """

    topic: ClassVar[str | None] = None

    scope: str
    request_id: str | None = None
    request_action: str | None = None
    request_by: str | None = None
    request_until: datetime | None = None
    override_state: str | None = None
    override_by: str | None = None
    override_approved_by: str | None = None
    override_until: datetime | None = None
    silence_by: str | None = None
    silence_until: datetime | None = None
    retired_by: str | None = None
    retired_ts: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_ts: datetime | None = None
    unwind_by: str | None = None
    unwind: Unwind | None = None

    def key(self) -> str:
        """Return the scope."""
        return self.scope

    @property
    def empty(self) -> bool:
        """Whether there is no control."""
        names = ("request_id", "override_by", "silence_by", "retired_by", "acknowledged_by")
        return self.unwind is None and all(getattr(self, n) is None for n in names)


# Authority and measured quality of models.


class AuthorityChanged(Output, frozen=True, kw_only=True, gc=False):
    """The authority of a model generation on one target changed.

    Attributes
    ----------
    former, authority : str
        Authority before and after: ``shadow``, ``advisory``, ``bounded`` or ``full``.
    ceiling : str
        Highest authority that it may have.
    reason : str
        ``evidence``, ``reverse`` (evidence against it), ``drift``, ``stale``, ``check``,
        ``ceiling`` (the configuration) or ``command``.
    detail : str
        The reason in words.
    by : str
        ``evidence`` for the rules of promotion, or an operator.
    evidence : dict of str to float
        The numbers behind the change.
    """

    topic: ClassVar[str | None] = "riskwatch.alerts"

    target: str
    generation: str
    former: str
    authority: str
    ceiling: str
    reason: str
    detail: str
    by: str
    evidence: dict[str, float]

    def key(self) -> str:
        """Return ``target|generation``."""
        return f"{self.target}|{self.generation}"


class ModelMeasured(Output, frozen=True, kw_only=True, gc=False):
    """The measured quality of one generation on one target, over all scopes; stored in SQL only.

    Attributes
    ----------
    authority, ceiling : str
        Present authority, and the highest that it may have.
    reason : str
        Reason of the last change of authority, as in :class:`AuthorityChanged`; empty before one.
    changed : datetime or None
        Time of that change.
    quarantined : bool
        Whether it failed a check and waits for an operator.
    e_up, e_down : float
        Evidence that it is better than the generation it challenges, and that it is worse than the
        rules.
    needed : float
        Value of `e_up` from which it is promoted; 0 if it cannot be promoted.
    labels, positives, events, entities : int
        Number of matured labels, of true ones, of independent events, and of scopes with labels.
    log_loss, brier : float
        Mean log loss in nats, and mean squared error.
    reliability, resolution, uncertainty : float
        Components of the Brier score.
    bins : list
        For each tenth of the probability: number of labels, sum of probabilities, number of true
        labels.
    """

    topic: ClassVar[str | None] = None

    target: str
    generation: str
    authority: str
    ceiling: str
    reason: str
    changed: datetime | None
    quarantined: bool
    e_up: float
    e_down: float
    needed: float
    labels: int
    positives: int
    events: int
    entities: int
    log_loss: float
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    bins: list[list[float]]

    def key(self) -> str:
        """Return ``target|generation``."""
        return f"{self.target}|{self.generation}"


# Outputs of the stages.


class EventRejected(Output, frozen=True, kw_only=True, gc=False):
    """A stage rejected a well-formed event; its bytes go to the dead letters."""

    topic: ClassVar[str | None] = None

    reason: RejectReason
    detail: str

    def key(self) -> str:
        """Return the identity of the rejected event."""
        return self.cause_id


class ExposureChanged(Output, frozen=True, kw_only=True, gc=False):
    """The exposure of one (book, counterparty, account, asset, component) changed.

    `amount` is exact, in units of the asset. `price_usd` and `value_usd` are ``None`` if no price
    is known. An `amount` of zero closes the row. `wallet` is left out if it is not stated.

    `valued_by` says what gives the price: ``price`` (the market, now), ``last_price`` (the market,
    earlier), ``mark`` (the venue's mark of our own position), ``entry`` (what we traded at),
    ``assumed`` (the reference data), ``unrecognised`` (not ours, worth nothing), or ``None``.
    `priced_at` is the time of that price, `confirmed_at` the time of the last snapshot of the
    amount.
    """

    topic: ClassVar[str | None] = "riskwatch.exposures"

    book: str
    counterparty: str
    account: str
    asset: str
    component: str
    amount: Decimal
    price_usd: Decimal | None
    value_usd: Decimal | None
    wallet: str | msgspec.UnsetType = msgspec.UNSET
    valued_by: str | None = None
    priced_at: datetime | None = None
    confirmed_at: datetime | None = None

    def key(self) -> str:
        """Return ``book/counterparty/account/asset/component``, and the wallet if it is stated."""
        key = f"{self.book}/{self.counterparty}/{self.account}/{self.asset}/{self.component}"
        return f"{key}/{self.wallet}" if self.wallet else key


def position_place(account: str, wallet: str, side: str) -> str:
    """Return the account of a position, with wallet and side if they are stated.

    Examples
    --------
    >>> position_place("main", "", ""), position_place("main", "", "long")
    ('main', 'main::long')
    """
    return f"{account}:{wallet}:{side}" if wallet or side else account


class PositionChanged(Output, frozen=True, kw_only=True, gc=False):
    """One open derivative position changed; a `qty` of zero closes the row. Notional in USD.

    `qty` is the signed size: of an inverse contract in units of `quote`, of a quanto in units of
    `settle` per point of price, else in units of `base`. `delta` is in units of `base`, `pnl` (the
    profit that is not realised) in units of `settle`. `option_value_usd` is a claim if it is above
    zero, and a debt below.

    `wallet`, `side`, the terms of the contract, and what is not known of its worth are left out.
    `valued_by`, `priced_at` and `confirmed_at` are as in :class:`ExposureChanged`.
    """

    topic: ClassVar[str | None] = "riskwatch.exposures"

    book: str
    counterparty: str
    account: str
    instrument: str
    base: str
    quote: str
    qty: Decimal
    entry_price: Decimal | None
    mark_price: Decimal | None
    liquidation_price: Decimal | None
    notional_usd: Decimal | None
    wallet: str | msgspec.UnsetType = msgspec.UNSET
    side: str | msgspec.UnsetType = msgspec.UNSET
    valued_by: str | None = None
    priced_at: datetime | None = None
    confirmed_at: datetime | None = None
    kind: str | msgspec.UnsetType = msgspec.UNSET
    contract_type: str | msgspec.UnsetType = msgspec.UNSET
    contract_size: Decimal | msgspec.UnsetType = msgspec.UNSET
    settle: str | msgspec.UnsetType = msgspec.UNSET
    delta: Decimal | msgspec.UnsetType = msgspec.UNSET
    delta_usd: Decimal | msgspec.UnsetType = msgspec.UNSET
    pnl: Decimal | msgspec.UnsetType = msgspec.UNSET
    pnl_usd: Decimal | msgspec.UnsetType = msgspec.UNSET
    option_value_usd: Decimal | msgspec.UnsetType = msgspec.UNSET

    def key(self) -> str:
        """Return ``book/counterparty/account/instrument/position``.

        If wallet or side are stated, they follow the account, behind colons.
        """
        place = position_place(self.account, self.wallet or "", self.side or "")
        return f"{self.book}/{self.counterparty}/{place}/{self.instrument}/position"


class TransferTracked(Output, frozen=True, kw_only=True, gc=False):
    """What became of one leg of a transfer; stored in SQL only.

    Attributes
    ----------
    direction, transfer_id : str
        ``withdrawal`` or ``deposit``, and the id at the counterparty.
    amount, in_transit : Decimal
        Amount that moves, and what of it counts as in transit for this leg.
    status : str
        ``pending``, ``in_transit``, ``overdue``, ``arrived``, ``left`` (to somebody else),
        ``returned``, or ``forgotten``, which closes the row.
    moved_at : datetime
        When the amount left or was seen; of a pending one, when it was requested.
    linked_by : str
        By what the other leg is linked: ``transfer_id``, ``tx_id`` or ``assumed``; empty if there
        is none.
    linked_counterparty, linked_transfer_id : str
        The other leg.
    short : Decimal or None
        Amount that was sent less the amount that arrived; ``None`` without another leg.
    tx_id, network, instruction_id : str
        As stated; empty if they are not.
    """

    topic: ClassVar[str | None] = None

    counterparty: str
    direction: str
    transfer_id: str
    book: str
    account: str
    wallet: str
    asset: str
    amount: Decimal
    status: str
    moved_at: datetime
    in_transit: Decimal
    linked_by: str
    linked_counterparty: str
    linked_transfer_id: str
    short: Decimal | None
    tx_id: str
    network: str
    instruction_id: str

    def key(self) -> str:
        """Return ``counterparty/direction/transfer_id``."""
        return f"{self.counterparty}/{self.direction}/{self.transfer_id}"


class AssetValued(Output, frozen=True, kw_only=True, gc=False):
    """The value and the data quality of one asset, throttled by event time."""

    topic: ClassVar[str | None] = "riskwatch.scores"

    asset: str
    price_usd: float
    deviation_bp: float
    value_bp: float
    direct_bp: float | None
    sd_bp: float
    live: int
    expected: int
    cause: Cause
    quality: Quality

    def key(self) -> str:
        """Return ``asset:<id>``."""
        return f"asset:{self.asset}"


class ScoreUpdated(Output, frozen=True, kw_only=True, gc=False):
    """The probability of one target for one scope by one generation, with its explanation.

    `contributions` are exact and additive in logit units: their sum is ``logit(probability)``.
    """

    topic: ClassVar[str | None] = "riskwatch.scores"

    scope: str
    target: str
    generation: str
    authority: str
    probability: float
    severity: float
    features: dict[str, float]
    contributions: dict[str, float]

    def key(self) -> str:
        """Return ``scope|target|generation``."""
        return f"{self.scope}|{self.target}|{self.generation}"


class CounterpartyAssessed(Output, frozen=True, kw_only=True, gc=False):
    """The credit assessment of one counterparty, issuer or bank: EAD, PD, LGD, EL, cost to leave.

    Amounts are in USD; `pd` is over `horizon_s` seconds. `jump_to_default_share` is the loss if the
    party failed now, as a share of the firm's equity. `stuck_usd` is the amount that could not be
    withdrawn if withdrawals stopped now.
    """

    topic: ClassVar[str | None] = "riskwatch.exposures"

    scope: str
    gross_usd: Decimal
    net_usd: Decimal
    ead_usd: Decimal
    pd: float
    lgd: float
    el_usd: Decimal
    exit_cost_usd: Decimal
    stuck_usd: Decimal
    jump_to_default_share: float
    horizon_s: float

    def key(self) -> str:
        """Return the scope."""
        return self.scope


class LimitMeasured(Output, frozen=True, kw_only=True, gc=False):
    """The utilisation of one limit. `status` is ``ok``, ``warning``, ``unknown`` or ``breach``.

    `why` says why a part of the use is unknown, so that it is at least `used_usd`; else empty.
    """

    topic: ClassVar[str | None] = "riskwatch.exposures"

    limit: str
    scope: str
    used_usd: Decimal
    hard_usd: Decimal
    warning_usd: Decimal
    utilisation: float
    status: str
    why: str = ""

    def key(self) -> str:
        """Return ``limit|scope``."""
        return f"{self.limit}|{self.scope}"


class DecisionMade(Output, frozen=True, kw_only=True, gc=False):
    """The state of a scope changed, with everything needed to re-derive and to explain it.

    Attributes
    ----------
    scope : str
        The scope.
    previous, state : State
        State before and after.
    quality : Quality
        Data quality at that time.
    cause : Cause
        Cause of the change.
    generation : str
        ``rules``, the model generation that requested the state, or ``operator``.
    rule : str
        Id of the deciding rule or ask.
    reasons : list of str
        Sentences with numbers and units, the most decisive first.
    features : dict of str to float
        Every input of the decision, quantised.
    contributions : dict of str to float
        Contribution of each condition (severity) or feature (logit).
    limits : dict of str to float
        Thresholds of the deciding rule.
    support, refute : list of str
        Feeds that support and that refute the deviation.
    flip : dict
        Counterfactual: the smallest change that would have altered the decision,
        ``{"feature", "value", "needed", "unit"}``.
    exposure_usd : Decimal
        Our exposure at stake on the scope at that time, USD.
    el_usd, exit_cost_usd : Decimal
        Expected loss of staying, and cost of leaving, USD.
    restriction : dict of Restriction to State
        What the new state restricts; see :class:`KillSwitchChanged`.
    """

    topic: ClassVar[str | None] = "riskwatch.alerts"

    scope: str
    previous: State
    state: State
    quality: Quality
    cause: Cause
    generation: str
    rule: str
    reasons: list[str]
    features: dict[str, float]
    contributions: dict[str, float]
    limits: dict[str, float]
    support: list[str]
    refute: list[str]
    flip: dict[str, Any]
    exposure_usd: Decimal
    el_usd: Decimal
    exit_cost_usd: Decimal
    restriction: dict[Restriction, State] = {}

    def key(self) -> str:
        """Return the scope."""
        return self.scope


class DecisionAdvised(Output, frozen=True, kw_only=True, gc=False):
    """What advisory rules, asks and limits would have decided on a scope; it binds nobody.

    It is said when that state, or the state in force below it, changes. The last one of an
    episode has `state` equal to `in_force`: nothing stricter would be set any more.

    Attributes
    ----------
    previous, state : State
        What would have been set before, and now.
    in_force : State
        What holds.
    opened_id : str
        Id of the first of the episode; its own if it is the first.
    quality, cause, generation, rule, reasons, features, contributions, limits
        As of a :class:`DecisionMade`.
    support, refute, flip, exposure_usd, el_usd, exit_cost_usd
        As of a :class:`DecisionMade`.
    """

    topic: ClassVar[str | None] = "riskwatch.scores"

    scope: str
    previous: State
    state: State
    in_force: State
    opened_id: str
    quality: Quality
    cause: Cause
    generation: str
    rule: str
    reasons: list[str]
    features: dict[str, float]
    contributions: dict[str, float]
    limits: dict[str, float]
    support: list[str]
    refute: list[str]
    flip: dict[str, Any]
    exposure_usd: Decimal
    el_usd: Decimal
    exit_cost_usd: Decimal

    def key(self) -> str:
        """``advisory|scope``."""
        return f"advisory|{self.scope}"

    @property
    def ended(self) -> bool:
        """Whether nothing stricter than what holds would be set any more."""
        return self.state is self.in_force


class KillSwitchChanged(Output, UnwindColumns, frozen=True, kw_only=True, gc=False):
    """The switch of one scope changed; order paths obey it.

    `effective` is the stricter of `state` and the state that bad `quality` requires. `valid_until`
    counts from the decision, not from the sending. `unwind` is allowed in spite of a HALT.

    `restriction` is what `effective` restricts: by restriction the state that it asks for, REDUCE
    or HALT (:mod:`riskwatch.core.restriction`). An order must satisfy each entry. Without an entry
    at `effective`, everything is restricted. `members` are the counterparties and assets, as
    scopes, that a group, issuer or bank stands for; without members it binds all of them.
    """

    topic: ClassVar[str | None] = "riskwatch.killswitch"

    scope: str
    state: State
    effective: State
    quality: Quality
    reasons: list[str]
    cause: Cause
    decision_id: str
    generation: str
    valid_until: datetime
    unwind: Unwind | None = None
    restriction: dict[Restriction, State] = {}
    members: list[str] = []

    def key(self) -> str:
        """Return the scope."""
        return self.scope


HALT_NOT_EFFECTIVE: Final = "HALT_NOT_EFFECTIVE"
"""Finding that orders rest, or fills added risk, after a HALT."""


class HaltEffectMeasured(Output, frozen=True, kw_only=True, gc=False):
    """Whether the HALT of one scope took effect; stored in SQL only, the alert is published.

    Attributes
    ----------
    halted_at : datetime
        When the HALT began.
    finding : str or None
        :data:`HALT_NOT_EFFECTIVE`, or ``None``.
    filled_after_usd, fills : Decimal, int
        Value and number of fills five seconds and more after the HALT that added risk without a
        granted use.
    fills_unknown : int
        Number of such fills whose value or content is not known.
    resting_usd, resting : Decimal, int
        Value and number of resting orders that would add risk; ``None`` and 0 if no order was ever
        reported.
    flat_at : datetime or None
        Since when no such order rests; ``None`` while one rests, or if it is not known.
    ended : bool
        Whether the HALT ended, which closes the row.
    effect : HaltEffect
        What is known, in one word. Fills and orders name no trader and no network, so that it is
        ``unknown`` for these.
    restriction : dict
        What the HALT restricts, as in :class:`KillSwitchChanged`.
    """

    topic: ClassVar[str | None] = None

    scope: str
    halted_at: datetime
    finding: str | None
    filled_after_usd: Decimal
    fills: int
    fills_unknown: int
    resting_usd: Decimal | None
    resting: int
    flat_at: datetime | None
    ended: bool = False
    effect: HaltEffect = HaltEffect.UNKNOWN
    restriction: dict[Restriction, State] = {}

    def key(self) -> str:
        """Return the scope."""
        return self.scope


class DrawdownMeasured(Output, frozen=True, kw_only=True, gc=False):
    """The unitised drawdown of the firm, a book or an account, and its loss; in SQL only.

    Attributes
    ----------
    unit_value, high_water_mark : float
        Unitised equity, 1.0 at first, and the mark that the drawdown is measured from.
    drawdown_bp : float
        How far the unit value is below the mark, bp.
    equity_usd : Decimal
        Value of all holdings at the last prices, USD.
    coverage : float
        Share of the value of all that is held of which the price is live and the amount certain.
    unpriced : int
        Number of assets that are held and were never priced; they are in no sum.
    linked : bool
        Whether the equity is large enough against what is held for the unit value to move.
    loss_day_bp, loss_24h_bp : float
        How far the unit value is below that of midnight UTC, and below that of 24 hours before, bp.
    """

    topic: ClassVar[str | None] = None

    scope: str
    unit_value: float
    high_water_mark: float
    drawdown_bp: float
    equity_usd: Decimal
    coverage: float
    unpriced: int
    linked: bool
    loss_day_bp: float = 0.0
    loss_24h_bp: float = 0.0

    def key(self) -> str:
        """Return the scope."""
        return self.scope


class PnlMeasured(Output, frozen=True, kw_only=True, gc=False):
    """The profit and loss of one day, of the firm, a book or an account.

    ``equity_usd = equity_start_usd + pnl_usd + flow_usd`` to the cent, and `pnl_usd` is the sum of
    its six parts.

    Attributes
    ----------
    day : datetime
        Midnight UTC at which the day begins.
    equity_usd, equity_start_usd : Decimal
        Equity now, and at the beginning of the day or of the measurement, USD.
    pnl_usd : Decimal
        Profit, negative for a loss, USD.
    trading_usd, fees_usd, funding_usd, interest_usd, revaluation_usd, unexplained_usd : Decimal
        Its parts: both legs of fills at the prices of the tick, fees, funding, interest, changes
        of prices, and entries of ledgers whose kind explains nothing.
    flow_usd : Decimal
        All else that changed the equity: deposits, withdrawals, allocations, what only a snapshot
        tells, and what had no price before.
    pnl_24h_usd : Decimal
        Profit of the last 24 hours, USD.
    coverage : float
        As of a :class:`DrawdownMeasured`.
    """

    topic: ClassVar[str | None] = "riskwatch.exposures"

    scope: str
    day: datetime
    equity_usd: Decimal
    equity_start_usd: Decimal
    pnl_usd: Decimal
    trading_usd: Decimal
    fees_usd: Decimal
    funding_usd: Decimal
    interest_usd: Decimal
    revaluation_usd: Decimal
    unexplained_usd: Decimal
    flow_usd: Decimal
    pnl_24h_usd: Decimal
    coverage: float

    def key(self) -> str:
        """Return the scope."""
        return self.scope


class HighWaterMarkSet(Output, frozen=True, kw_only=True, gc=False):
    """Two operators set another high-water mark; stored in SQL and in the audit chain.

    Attributes
    ----------
    former, high_water_mark : float
        High-water mark before and after.
    unit_value : float
        Unitised equity at that time.
    former_bp, drawdown_bp : float
        Drawdown before and after, bp.
    equity_usd, coverage : Decimal, float
        As of a :class:`DrawdownMeasured`.
    requested_by, approved_by : str
        The operators.
    reason : str
        Reason of the request.
    """

    topic: ClassVar[str | None] = None

    scope: str
    former: float
    high_water_mark: float
    unit_value: float
    former_bp: float
    drawdown_bp: float
    equity_usd: Decimal
    coverage: float
    requested_by: str
    approved_by: str
    reason: str

    def key(self) -> str:
        """Return the scope."""
        return self.scope


class AlertRaised(Output, frozen=True, kw_only=True, gc=False):
    """An alert was raised. `severity` is the state that it reports."""

    topic: ClassVar[str | None] = "riskwatch.alerts"

    alert: str
    scope: str
    severity: State
    cause: Cause
    title: str
    reasons: list[str]
    exposure_usd: Decimal
    decision_id: str | None = None

    def key(self) -> str:
        """Return the alert key; there is at most one open alert per key."""
        return self.alert


class AlertResolved(Output, frozen=True, kw_only=True, gc=False):
    """An alert was resolved, because its condition ended."""

    topic: ClassVar[str | None] = "riskwatch.alerts"

    alert: str
    scope: str
    opened_id: str

    def key(self) -> str:
        """Return the alert key."""
        return self.alert


class DataQualityRaised(Output, frozen=True, kw_only=True, gc=False):
    """A feed, a snapshot or the reference data has a data-quality issue; it never halts a scope."""

    topic: ClassVar[str | None] = "riskwatch.alerts"

    issue: QualityIssue
    subject: str
    detail: str
    cause: Cause = Cause.FEED

    def key(self) -> str:
        """Return ``issue|subject``."""
        return f"{self.issue}|{self.subject}"


class DataQualityResolved(Output, frozen=True, kw_only=True, gc=False):
    """A data-quality issue was resolved."""

    topic: ClassVar[str | None] = "riskwatch.alerts"

    issue: QualityIssue
    subject: str

    def key(self) -> str:
        """Return ``issue|subject``."""
        return f"{self.issue}|{self.subject}"


class StageFaulted(Output, frozen=True, kw_only=True, gc=False):
    """A stage failed so often on one message that its worker stays down there: a bug of ours.

    With `stream` :data:`CLOCK` no stage failed: the worker's stored time is ahead of the clock, so
    it makes no ticks and decides nothing, but goes on taking events and commands.

    `position` is that of the message in `stream` (for a tick, ``tick`` and 0), `crashes` the number
    of failures, and `error` the last error. The worker's readings of `counterparties` are not kept
    up to date while it is down. An :class:`AlertResolved` (see :mod:`riskwatch.core.outputs`)
    states that it resumed.
    """

    topic: ClassVar[str | None] = "riskwatch.alerts"

    worker: str
    stream: str
    position: int
    crashes: int
    error: str
    counterparties: list[str]

    def key(self) -> str:
        """Return the worker."""
        return self.worker


class ConfigurationChanged(Output, frozen=True, kw_only=True, gc=False):
    """A worker started with another configuration, or another engine, than was last recorded.

    Attributes
    ----------
    worker : str
        The worker.
    journal : int
        Place in its journal from which the configuration applies.
    digest, previous : str
        SHA-256 of this configuration and of the previous one, hexadecimal; `previous` is empty at
        first.
    changes : list of str
        Changed values; empty at first, or if only the engine differs.
    content : dict
        The whole configuration, by part, from which a decision can be derived again.
    deployment : str, optional
        Deployment whose commands count from there on; absent in a replay in one process, and in
        records of builds that knew no deployments.
    signed_by : list of str, optional
        The people who signed that limits are looser than before; absent if none are.
    policy_diff : str, optional
        Digest of the comparison that was attached to this change (``riskwatch policy diff``).
    """

    topic: ClassVar[str | None] = None

    worker: str
    journal: int
    digest: str
    previous: str
    changes: list[str]
    content: dict[str, Any]
    deployment: str | msgspec.UnsetType = msgspec.UNSET
    signed_by: list[str] | msgspec.UnsetType = msgspec.UNSET
    policy_diff: str | msgspec.UnsetType = msgspec.UNSET

    def key(self) -> str:
        """Return the worker."""
        return self.worker


class DeploymentAdopted(Output, frozen=True, kw_only=True, gc=False):
    """A person gave the database another deployment id, or declared that its broker changed.

    Attributes
    ----------
    number : int
        Number of this entry among those of the database, from 2; the first id has no output.
    deployment, previous : str
        Id from here on, and until here; the same if only the broker changed.
    cluster : str
        Id of the broker's cluster until here; empty if no worker had met one.
    person, reason : str
        Who did it, as they stated, and why.
    """

    topic: ClassVar[str | None] = None

    number: int
    deployment: str
    previous: str
    cluster: str
    person: str
    reason: str

    def key(self) -> str:
        """Return the new id."""
        return self.deployment


AnyOutput = (
    EventRejected
    | ExposureChanged
    | PositionChanged
    | TransferTracked
    | AssetValued
    | ScoreUpdated
    | CounterpartyAssessed
    | LimitMeasured
    | DecisionMade
    | KillSwitchChanged
    | AlertRaised
    | AlertResolved
    | DataQualityRaised
    | DataQualityResolved
    | StageFaulted
    | AuthorityChanged
    | ModelMeasured
    | CommandApplied
    | CommandRefused
    | ControlChanged
    | ConfigurationChanged
    | DeploymentAdopted
    | DrillSignalled
    | DecisionAdvised
    | HaltEffectMeasured
    | DrawdownMeasured
    | PnlMeasured
    | HighWaterMarkSet
)


# The alert of a stage fault.

CLOCK: Final = "clock"
"""Stands for the stream of a :class:`StageFaulted` whose worker's time is ahead of the clock."""
_MAX_NAMED: Final = 20
"""Maximum number of counterparties that the alert names."""
_ADVICE: Final = (
    "nothing is skipped: a build without the bug goes on (riskwatch dlq retry), or two people "
    "set the message aside (riskwatch dlq quarantine)"
)
_CLOCK_ADVICE: Final = (
    "every state holds, HALT is taken, nothing is released, and clients close: it ends when the "
    "clock gets there, or with a backup of before the wrong clock (docs/operations.md)"
)


def fault_scope(worker: str) -> str:
    """Return the scope of a worker.

    Examples
    --------
    >>> fault_scope("ledger/3"), fault_alert_key("ledger/3")
    ('worker:ledger/3', 'worker:ledger/3|fault')
    """
    return f"worker:{worker}"


def fault_alert_key(worker: str) -> str:
    """Return the key of the alert that a worker stays down."""
    return f"{fault_scope(worker)}|fault"


def alert_from_fault(fault: StageFaulted) -> AlertRaised:
    """Return the alert of a stage fault, under the same id.

    It has no exposure, because a failed worker cannot compute the exposure to its counterparties.
    The risk stage raises alerts of its own about them.
    """
    names = fault.counterparties[:_MAX_NAMED]
    more = len(fault.counterparties) - len(names)
    affected = f"what is held with {', '.join(names)} is not kept up" if names else ""
    title = f"{fault.worker} stays down at {fault.stream} {fault.position}"
    reason, advice = f"a stage failed {fault.crashes} times there: {fault.error}", _ADVICE
    if fault.stream == CLOCK:
        title = f"{fault.worker} decides nothing: its time is ahead of the clock"
        reason, advice = fault.error, _CLOCK_ADVICE
    return AlertRaised(
        id=fault.id,
        cause_id=fault.cause_id,
        ts=fault.ts,
        engine=fault.engine,
        alert=fault_alert_key(fault.worker),
        scope=fault_scope(fault.worker),
        severity=State.REDUCE,
        cause=Cause.UNKNOWN,
        title=title,
        reasons=[
            reason,
            *([affected + (f" (and {more} more)" if more else "")] if affected else []),
            advice,
        ],
        exposure_usd=Decimal(0),
    )
