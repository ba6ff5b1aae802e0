"""Facts that go out: what the stages tell the world, in the past participle.

Every output has an `id` that is a digest of the engine version, what caused it, its kind and
its key (:func:`riskwatch.core.ids.output_id`); a replay gives the same ids, and consumers drop
repeats by id. `topic` and `key()` say where it is published; outputs with `topic` ``None`` are
for SQL alone.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Final, TypedDict

import msgspec

from riskwatch.core.clock import moment
from riskwatch.core.enums import Cause, CommandRefusal, Quality, QualityIssue, RejectReason, State
from riskwatch.core.ids import output_id
from riskwatch.version import ENGINE

# What every fact that goes out has in common, and how it is stamped.


class Output(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """What every output carries: `id`, `cause_id`, event time `ts` and `engine`."""

    topic: ClassVar[str | None] = None

    id: str
    cause_id: str
    ts: datetime
    engine: str = ENGINE

    def key(self) -> str:
        """Key of the record on its topic, and of its row in SQL."""
        raise NotImplementedError(type(self).__name__)


class Stamp(TypedDict):
    """The fields of an output that say what it comes from."""

    id: str
    cause_id: str
    ts: datetime


class Origin(msgspec.Struct, frozen=True, gc=False):
    """What outputs come from, and when. It stamps each of them.

    Attributes
    ----------
    cause_id : str
        Identity of the causing event, or ``tick/<time>``.
    ts : datetime
        Event time.
    occasion : str
        What ids are made of where one event comes again and again, and each time counts; else
        empty, and they are made of `cause_id`.

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
        """Return the origin of what a tick brings about, `us` in microseconds."""
        return cls(f"tick/{us}", moment(us))

    def stamp(self, kind: type[Output], key: str) -> Stamp:
        """Return id, cause and time of the output of `kind` about `key`."""
        return {
            "id": output_id(self.occasion or self.cause_id, kind.__name__, key),
            "cause_id": self.cause_id,
            "ts": self.ts,
        }


# A drill as a fact that goes out: it says that order paths are exercised, and changes nothing.

CLIENT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of order paths."""
SCHEDULED_BY: Final = "schedule"
"""Stands where the person stands, if the configuration asked for the drill."""


class DrillSignalled(Output, frozen=True, kw_only=True, gc=False):
    """Order paths are to rehearse: as if `scope` went to HALT. Nothing real changes.

    Attributes
    ----------
    scope : str
        What is exercised.
    plan : str
        Plan that asked for it; empty if a person did.
    person, reason : str
        Who asked for it, and why.
    expect : list of str
        Order paths that must answer, beside all that are known.
    """

    topic: ClassVar[str | None] = "riskwatch.drills"

    scope: str
    plan: str
    person: str
    reason: str
    expect: list[str]

    def key(self) -> str:
        """The scope."""
        return self.scope


# What people did, as outputs: commands taken or refused, and what is in force of them.


class Unwind(msgspec.Struct, frozen=True, gc=False):
    """What a HALT lets pass, because people opened it within what was authorised beforehand.

    Attributes
    ----------
    max_usd : Decimal
        Most that may be traded in all since the decision that the switch names, USD: the sum of
        what was opened since then.
    max_slip_bp : float
        Furthest from the mid that it may be traded, bp.
    until : datetime
        When it ends.
    """

    max_usd: Decimal
    max_slip_bp: float
    until: datetime


class UnwindColumns:
    """What has an `unwind` says it in columns, too; all are ``None`` where there is none."""

    __slots__ = ()
    unwind: Unwind | None

    @property
    def unwind_max_usd(self) -> Decimal | None:
        """Most that may be traded, USD."""
        return None if self.unwind is None else self.unwind.max_usd

    @property
    def unwind_max_slip_bp(self) -> float | None:
        """Furthest from the mid, bp."""
        return None if self.unwind is None else self.unwind.max_slip_bp

    @property
    def unwind_until(self) -> datetime | None:
        """When it ends."""
        return None if self.unwind is None else self.unwind.until


class CommandApplied(Output, frozen=True, kw_only=True, gc=False):
    """A command that was accepted.

    `outcome` is ``applied``; ``requested``, where a second person has to approve `request_id`;
    ``approved``, where this was the second person; or ``repeated``, where the same command had
    come before and nothing happened. `commanded_at` is the `ts` that was signed.
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

    def key(self) -> str:
        """The scope."""
        return self.scope


class CommandRefused(Output, frozen=True, kw_only=True, gc=False):
    """A command that had no effect, and why. Until `authentic`, nobody knows whose it is."""

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

    def key(self) -> str:
        """The scope."""
        return self.scope


class ControlChanged(Output, UnwindColumns, frozen=True, kw_only=True, gc=False):
    """What people have in force or in hand on one scope; with nothing left the row is closed.

    Attributes
    ----------
    request_id, request_action, request_by, request_until
        What waits for a second person.
    override_state, override_by, override_approved_by, override_until
        A HALT that is lifted for a while although its condition holds.
    silence_by, silence_until
        Nobody is paged, but for a HALT.
    retired_by, retired_ts
        Closed for good.
    acknowledged_by, acknowledged_ts
        Who has seen the open alert.
    unwind_by, unwind
        What passes in spite of the HALT.
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
        """The scope."""
        return self.scope

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        names = ("request_id", "override_by", "silence_by", "retired_by", "acknowledged_by")
        return self.unwind is None and all(getattr(self, n) is None for n in names)


# Facts that go out about models: how far each may go, and how good it has been.


class AuthorityChanged(Output, frozen=True, kw_only=True, gc=False):
    """A model generation may do more or less than before, on one target.

    Attributes
    ----------
    former, authority : str
        Before and after: ``shadow``, ``advisory``, ``bounded`` or ``full``.
    ceiling : str
        How far it may ever go.
    reason : str
        ``evidence``, ``reverse`` (evidence against it), ``drift``, ``stale``, ``check``,
        ``ceiling`` (the configuration) or ``command``.
    detail : str
        The same in words.
    by : str
        Who: ``evidence`` rules themselves, or an operator.
    evidence : dict of str to float
        The numbers that it rests on.
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
        """``target|generation``."""
        return f"{self.target}|{self.generation}"


class ModelMeasured(Output, frozen=True, kw_only=True, gc=False):
    """How good one generation has been on one target, over all scopes; for SQL alone.

    Attributes
    ----------
    authority, ceiling : str
        How far it may go now, and ever.
    reason : str
        Of the last change of its authority, as of :class:`AuthorityChanged`; empty before one.
    changed : datetime or None
        When that was.
    quarantined : bool
        Whether it failed a check and waits for people.
    e_up, e_down : float
        Evidence that it is better than what it challenges, and that it is worse than the rules.
    needed : float
        Value of `e_up` from which it is promoted; 0 where it cannot be.
    labels, positives, events, entities : int
        Matured labels, those that were true, independent events, scopes with any.
    log_loss, brier : float
        Means; nats, and squared error.
    reliability, resolution, uncertainty : float
        Parts of the Brier score.
    bins : list
        Per tenth of the probability: labels, sum of probabilities, trues.
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
        """``target|generation``."""
        return f"{self.target}|{self.generation}"


# The aliases say that these are part of this module: everybody finds every output here.


class EventRejected(Output, frozen=True, kw_only=True, gc=False):
    """A well-formed event that a stage refused; its bytes go to the dead letters."""

    topic: ClassVar[str | None] = None

    reason: RejectReason
    detail: str

    def key(self) -> str:
        """The refused event."""
        return self.cause_id


class ExposureChanged(Output, frozen=True, kw_only=True, gc=False):
    """Exposure of one (book, counterparty, account, asset, component).

    `amount` is exact, in units of the asset; `price_usd` and `value_usd` are ``None`` where no
    price is known. An `amount` of zero closes the row.
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

    def key(self) -> str:
        """``book/counterparty/account/asset/component``."""
        return f"{self.book}/{self.counterparty}/{self.account}/{self.asset}/{self.component}"


class PositionChanged(Output, frozen=True, kw_only=True, gc=False):
    """One open derivative position; zero `qty` closes the row. Notional in USD."""

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

    def key(self) -> str:
        """``book/counterparty/account/instrument/position``."""
        return f"{self.book}/{self.counterparty}/{self.account}/{self.instrument}/position"


class AssetValued(Output, frozen=True, kw_only=True, gc=False):
    """Value and health of one asset, throttled by event time."""

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
        """``asset:<id>``."""
        return f"asset:{self.asset}"


class ScoreUpdated(Output, frozen=True, kw_only=True, gc=False):
    """Probability of one target for one scope by one generation, with its explanation.

    `contributions` are exact and additive in logit units: they sum to ``logit(probability)``.
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
        """``scope|target|generation``."""
        return f"{self.scope}|{self.target}|{self.generation}"


class CounterpartyAssessed(Output, frozen=True, kw_only=True, gc=False):
    """Credit view of one counterparty, issuer or bank: EAD, PD, LGD, EL, cost to leave.

    Amounts in USD; `pd` over `horizon_s` seconds; `jump_to_default_share` is the loss if it
    failed now as a share of the firm's equity. `stuck_usd` is what could not be withdrawn if
    it shut now.
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
        """The scope."""
        return self.scope


class LimitMeasured(Output, frozen=True, kw_only=True, gc=False):
    """Utilisation of one limit. `status` is ``ok``, ``warning`` or ``breach``."""

    topic: ClassVar[str | None] = "riskwatch.exposures"

    limit: str
    scope: str
    used_usd: Decimal
    hard_usd: Decimal
    warning_usd: Decimal
    utilisation: float
    status: str

    def key(self) -> str:
        """``limit|scope``."""
        return f"{self.limit}|{self.scope}"


class DecisionMade(Output, frozen=True, kw_only=True, gc=False):
    """A change of state of a scope, with everything needed to re-derive and to explain it.

    Attributes
    ----------
    scope : str
        What it is about.
    previous, state : State
        Before and after.
    quality : Quality
        Trust in the data at that moment.
    cause : Cause
        What moved.
    generation : str
        Who asked for it: ``rules`` or a model generation.
    rule : str
        Id of the deciding rule or model.
    reasons : list of str
        Plain sentences with numbers and units, most decisive first.
    features : dict of str to float
        Every input of the decision, quantised.
    contributions : dict of str to float
        What each condition (severity) or feature (logit) contributed.
    limits : dict of str to float
        Thresholds in force for the deciding rule.
    support, refute : list of str
        Feeds and facts that agree and that contradict.
    flip : dict
        The smallest change that would have altered it:
        ``{"feature", "value", "needed", "unit"}``.
    exposure_usd : Decimal
        Our dollars on the scope at that moment.
    el_usd, exit_cost_usd : Decimal
        Expected loss of staying against the cost of leaving.
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

    def key(self) -> str:
        """The scope."""
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
    """The switch of one scope, as order paths obey it.

    `effective` is the stricter of `state` and what bad `quality` asks for. `valid_until`
    counts from the decision, never from the sending. `unwind` is what passes in spite of a HALT.
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

    def key(self) -> str:
        """The scope."""
        return self.scope


class AlertRaised(Output, frozen=True, kw_only=True, gc=False):
    """Something a person should know. `severity` ranks by *our* dollars (see the policy)."""

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
        """Alert key: one open alert per key."""
        return self.alert


class AlertResolved(Output, frozen=True, kw_only=True, gc=False):
    """An alert's condition ended."""

    topic: ClassVar[str | None] = "riskwatch.alerts"

    alert: str
    scope: str
    opened_id: str

    def key(self) -> str:
        """Alert key."""
        return self.alert


class DataQualityRaised(Output, frozen=True, kw_only=True, gc=False):
    """A feed, a snapshot or the reference data is not what it should be. Never a kill."""

    topic: ClassVar[str | None] = "riskwatch.alerts"

    issue: QualityIssue
    subject: str
    detail: str
    cause: Cause = Cause.FEED

    def key(self) -> str:
        """``issue|subject``."""
        return f"{self.issue}|{self.subject}"


class DataQualityResolved(Output, frozen=True, kw_only=True, gc=False):
    """A data-quality issue ended."""

    topic: ClassVar[str | None] = "riskwatch.alerts"

    issue: QualityIssue
    subject: str

    def key(self) -> str:
        """``issue|subject``."""
        return f"{self.issue}|{self.subject}"


class StageFaulted(Output, frozen=True, kw_only=True, gc=False):
    """A stage raised so often at one message that its worker stays down there: a bug of ours.

    `position` is the message's in `stream` (for a tick, ``tick`` and 0), `crashes` how often,
    `error` what was said last. What the worker says of `counterparties` is not kept up while it
    is down. An :class:`AlertResolved` (see :mod:`riskwatch.core.outputs`) says that it went on.
    """

    topic: ClassVar[str | None] = "riskwatch.alerts"

    worker: str
    stream: str
    position: int
    crashes: int
    error: str
    counterparties: list[str]

    def key(self) -> str:
        """The worker."""
        return self.worker


class ConfigurationChanged(Output, frozen=True, kw_only=True, gc=False):
    """A worker began with another configuration, or another engine, than was last recorded.

    Attributes
    ----------
    worker : str
        Who began.
    journal : int
        Place in its journal from which on it counts.
    digest, previous : str
        SHA-256 of what it says and of what the one before said, hexadecimal; empty at first.
    changes : list of str
        What differs, value by value; empty at first, or if only the engine does.
    content : dict
        The whole of it, by part: a decision can be derived again from it.
    """

    topic: ClassVar[str | None] = None

    worker: str
    journal: int
    digest: str
    previous: str
    changes: list[str]
    content: dict[str, Any]

    def key(self) -> str:
        """The worker."""
        return self.worker


AnyOutput = (
    EventRejected
    | ExposureChanged
    | PositionChanged
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
    | DrillSignalled
    | DecisionAdvised
)


# A stage fault as an alert: what it is called, how grave it is, and what to do.

_NAMED: Final = 20
"""Counterparties that are named one by one."""
_AFTER: Final = (
    "nothing is skipped: a build without the bug goes on (riskwatch dlq retry), or two people "
    "set the message aside (riskwatch dlq quarantine)"
)


def fault_scope(worker: str) -> str:
    """Scope of a worker.

    Examples
    --------
    >>> fault_scope("ledger/3"), fault_alert_key("ledger/3")
    ('worker:ledger/3', 'worker:ledger/3|fault')
    """
    return f"worker:{worker}"


def fault_alert_key(worker: str) -> str:
    """Key of the alert that a worker stays down."""
    return f"{fault_scope(worker)}|fault"


def alert_from_fault(fault: StageFaulted) -> AlertRaised:
    """Alert that a stage fault is, under the same id.

    It ranks by severity alone: a worker that is down cannot say how many dollars are with those
    that it answers for. The risk stage raises alerts of its own about them.
    """
    names = fault.counterparties[:_NAMED]
    more = len(fault.counterparties) - len(names)
    about = f"what is held with {', '.join(names)} is not kept up" if names else ""
    return AlertRaised(
        id=fault.id,
        cause_id=fault.cause_id,
        ts=fault.ts,
        engine=fault.engine,
        alert=fault_alert_key(fault.worker),
        scope=fault_scope(fault.worker),
        severity=State.REDUCE,
        cause=Cause.UNKNOWN,
        title=f"{fault.worker} stays down at {fault.stream} {fault.position}",
        reasons=[
            f"a stage failed {fault.crashes} times there: {fault.error}",
            *([about + (f" (and {more} more)" if more else "")] if about else []),
            _AFTER,
        ],
        exposure_usd=Decimal(0),
    )
