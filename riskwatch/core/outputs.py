"""Facts that go out: what the stages tell the world, in the past participle.

Every output has an `id` that is a digest of the engine version, what caused it, its kind and
its key (:func:`riskwatch.core.ids.output_id`); a replay gives the same ids, and consumers drop
repeats by id. `topic` and `key()` say where it is published; outputs with `topic` ``None`` are
for SQL alone.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

# The aliases say that these are part of this module: everybody finds every output here.
from riskwatch.core.drilled import DrillSignalled as DrillSignalled  # noqa: PLC0414
from riskwatch.core.output import Output as Output  # noqa: PLC0414
from riskwatch.core.people import CommandApplied as CommandApplied  # noqa: PLC0414
from riskwatch.core.people import CommandRefused as CommandRefused  # noqa: PLC0414
from riskwatch.core.people import ControlChanged as ControlChanged  # noqa: PLC0414
from riskwatch.core.people import Unwind as Unwind  # noqa: PLC0414
from riskwatch.core.people import Unwinding
from riskwatch.core.reasons import Cause, Quality, QualityIssue, RejectReason, State
from riskwatch.core.standing import AuthorityChanged as AuthorityChanged  # noqa: PLC0414
from riskwatch.core.standing import ModelMeasured as ModelMeasured  # noqa: PLC0414


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


class KillSwitchChanged(Output, Unwinding, frozen=True, kw_only=True, gc=False):
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
    is down. An :class:`AlertResolved` (see :mod:`riskwatch.core.faults`) says that it went on.
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
)
