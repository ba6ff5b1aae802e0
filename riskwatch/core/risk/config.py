"""Settings of the risk stage (``[risk]`` in ``rules/policy.toml``)."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from riskwatch.core.bounds import (
    AtLeastOne,
    Count,
    Fraction,
    NotNegative,
    Positive,
    PositiveInt,
    Share,
)
from riskwatch.core.enums import Cause, Mode, Restriction, State
from riskwatch.core.restriction import default_restriction
from riskwatch.core.risk.baseline import BaselineConfig
from riskwatch.core.risk.legs import AdjustmentsConfig, TransitConfig
from riskwatch.core.risk.pretrade import PretradeConfig

ALL: Final = "*"
"""In a list of ids, everything that no other list names."""
Ids = tuple[str, ...] | msgspec.UnsetType
"""Ids of rules, limits and asks; what is not set is not recorded either."""
Keys = dict[str, str] | msgspec.UnsetType
"""Public keys by name; what is not set is not recorded either."""
Horizon = Annotated[float, msgspec.Meta(gt=0.0, lt=31_536_001.0)]
"""Seconds, above zero and at most a year."""


def ask_rule_id(generation: str, target: str, state: str) -> str:
    """Id of the rule that tracks what a model asks for.

    Examples
    --------
    >>> ask_rule_id("anchored", "depeg", State.HALT)
    'model.anchored.depeg.HALT'
    """
    return f"model.{generation}.{target}.{state}"


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ask: the state that a model generation requests from a given probability on.

    The state is capped by the generation's authority. An ask is tracked like a rule.

    Attributes
    ----------
    target, generation : str
        Target and generation of the probability.
    state : State
        The requested state.
    at : float
        Probability from which the state is requested, 0..1.
    dwell_s, observations, exit, exit_dwell_s, unless_cause
        As in :class:`~riskwatch.core.rules.Rule`.
    scope_kind : str
        Kind of scope that the target applies to.
    mode, since, restriction : Mode, str and Restriction, optional
        As of a :class:`~riskwatch.core.rules.Rule`.
    """

    target: str
    generation: str
    state: State
    at: Fraction
    dwell_s: float = 600.0
    observations: AtLeastOne = 2
    exit: Fraction = 0.7
    exit_dwell_s: float = 3600.0
    unless_cause: tuple[Cause, ...] = (Cause.FEED,)
    scope_kind: str = "asset"
    mode: Mode | msgspec.UnsetType = msgspec.UNSET
    since: str | msgspec.UnsetType = msgspec.UNSET
    restriction: Restriction | msgspec.UnsetType = msgspec.UNSET

    @property
    def rule_id(self) -> str:
        """Id of the rule that tracks it."""
        return ask_rule_id(self.generation, self.target, self.state)


class ScorePd(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the probability of a target enters the PD; one of the two is above zero.

    Attributes
    ----------
    half_odds : float
        Odds of the target at which the PD is one half. For a target that is a sign of failure.
    loss : float
        Share of value that is lost if the target comes, 0..1. For a target about the price of an
        issuer's assets.
    """

    half_odds: NotNegative = 0.0
    loss: Share = 0.0


class PeopleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of operators' commands and of their alerts (``[risk.people]``).

    Attributes
    ----------
    replay_s : float
        A command signed longer than this before its arrival is refused, seconds.
    request_s : float
        How long a request waits for its second operator, seconds.
    override_max_s : float
        Longest override, seconds.
    silence_max_s : float
        Longest silence, seconds.
    unwind_max_usd : float
        Maximum sum of all unwinds of one HALT, USD; 0 authorises none.
    unwind_max_slip_bp : float
        Widest price band of an unwind, bp from the mid.
    unwind_max_s : float
        Longest unwind, seconds.
    watch_alerts_month : int
        Alerts of WATCH in a calendar month of event time; those beyond it are folded into one.
    key_memory_s : float
        How long an idempotency key is stored, seconds; at least `replay_s`.
    max_keys : int
        Maximum number of stored keys. Those who may not release have half of it together.
    max_scopes : int
        Maximum number of scopes with operator controls.
    raise_max_s : float
        How long a limit that people raised stays raised, seconds; 0 for without end.
    max_operator_keys : int
        Maximum number of stored keys of one operator; at most half of `max_keys` count.
    """

    replay_s: Positive = 300.0
    request_s: Positive = 900.0
    override_max_s: Positive = 14_400.0
    silence_max_s: Positive = 86_400.0
    unwind_max_usd: NotNegative = 250_000.0
    unwind_max_slip_bp: Positive = 50.0
    unwind_max_s: Positive = 3_600.0
    watch_alerts_month: Count = 500
    key_memory_s: Positive = 86_400.0
    max_keys: PositiveInt = 4_096
    max_scopes: PositiveInt = 4_096
    raise_max_s: NotNegative = 0.0
    max_operator_keys: PositiveInt = 256


class RestrictionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What switches restrict, and what passes nevertheless (``[risk.restriction]``).

    Attributes
    ----------
    rules : dict of str to Restriction
        Restriction by the id of a rule or ask, whatever the rule says of itself.
    kinds : dict of str to Restriction
        Restriction of rules by the kind of their scope; what is not named has the default
        (:func:`riskwatch.core.restriction.default_restriction`).
    command : Restriction
        Restriction of a person's HALT that states none.
    closing_usd, closing_share : float
        At a HALT of restriction `claim`, closing orders pass up to the larger of these USD and this
        share of the position, per scope and hour.
    """

    rules: dict[str, Restriction] = {}
    kinds: dict[str, Restriction] = {}
    command: Restriction = Restriction.FULL
    closing_usd: NotNegative = 250_000.0
    closing_share: Share = 0.25

    def of(
        self, name: str, scope_kind: str, declared: Restriction | msgspec.UnsetType
    ) -> Restriction:
        """Return what a rule or ask restricts.

        Parameters
        ----------
        name, scope_kind : str
            Its id, and the kind of its scope.
        declared : Restriction or unset
            What it says of itself.

        Examples
        --------
        >>> config = RestrictionConfig(rules={"r": Restriction.FULL})
        >>> [config.of(name, "book", msgspec.UNSET).value for name in ("r", "s")]
        ['full', 'market']
        """
        if name in self.rules:
            return self.rules[name]
        if declared is not msgspec.UNSET:
            return declared
        return self.kinds.get(scope_kind, default_restriction(scope_kind))


class DrillPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan of drills that are signalled at regular times (``[[risk.drills]]``).

    Attributes
    ----------
    id : str
        Name of the plan.
    scope : str
        Scope of the drill.
    every_s : float
        Time between two drills, seconds; whole weeks if a `weekday` is given.
    at : str
        Time of day, ``HH:MM`` UTC. Due times are counted from the first such time (on such a
        weekday) of 1970.
    weekday : str
        ``mon`` to ``sun``, or empty.
    expect : tuple of str
        Clients that must acknowledge the drill, in addition to all known ones.
    """

    id: str
    scope: str
    every_s: Annotated[float, msgspec.Meta(ge=10.0)]
    at: str = "00:00"
    weekday: str = ""
    expect: tuple[str, ...] = ()


class RiskConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the risk stage (``[risk]``).

    Attributes
    ----------
    coverage_good : float
        Share of an asset's known feeds that must be live for its quality to be ``good``, 0..1.
    sd_stale_bp : float
        Standard deviation of a pegged asset's value from which its quality is ``stale``, bp.
    unknown_reduce_s : float
        If we hold something on a scope and its quality has been ``unknown`` for longer than this,
        the effective state is at least REDUCE, seconds.
    valid_s : float
        How long a switch is valid after the decision, and a heartbeat after it was made, seconds.
    pending_share : float
        Share of the equity that snapshots of one account may take away without fills or transfers;
        if more is gone, the former amounts count until a second snapshot confirms it.
    report_s : float
        While nothing happens, limits and assessments are published at most this often, seconds of
        event time. Values and scores that changed are published at most this often, those that did
        not change never.
    revalue_s : float
        A holding whose amount does not change is revalued this often, seconds.
    move_bp : float
        A value that moved by more than this is published at once, bp.
    calm_bp : float
        While an asset is nearer than this to its peg and no rule tracks it, the models score it
        only every `report_s`, bp.
    horizon_s : float
        Horizon of PD and EL, seconds.
    gated_horizon_s : float
        Horizon while withdrawals are gated, seconds; at most a year.
    gated_lgd_factor : float
        Factor on the LGD while withdrawals are gated (the product is at most 1).
    exit_s : float
        Time that leaving a party takes if nothing else is known, seconds.
    stress_sd : float
        Adverse move over that time in the exposure at default, standard deviations.
    impact : float
        Factor Y of the square-root law of market impact.
    volume_usd_day : float
        Daily traded value to assume if it is unknown, USD.
    baseline_min_s : float
        Smallest baseline of a venue's withdrawal time, seconds.
    baseline_default_s : float
        Baseline withdrawal time of a venue with too few withdrawals, seconds.
    baseline_from : int
        Number of withdrawals from which the venue's own baseline is used.
    source_weight : float
        Weight of a source of credit news that `source_weights` does not name; a total of 1
        confirms the news.
    source_weights : dict of str to float
        Weight by source, 0..1.
    source_keys : dict of str to str
        Ed25519 public key by source of credit news. A live worker refuses a record in the name of
        such a source that it did not sign.
    topic_sources : tuple of str
        Sources whose weight rests on the rights to write ``riskwatch.credit`` alone.
    unproven : tuple of str
        Sources with a declared weight that count as ordinary, because nothing protects their name
        (:mod:`riskwatch.config.sources`). A live worker works it out when it begins.
    client_keys : dict of str to str
        Ed25519 public key by client. Acknowledgements in the name of such a client must be signed.
    credit_memory_s : float
        Credit events about incidents expire after this long, seconds.
    alert_from_usd : float
        Exposure on a scope from which alerts are raised about it, USD.
    bounded_share : float
        Share of the firm's exposure that models of bounded authority may hold at REDUCE, 0..1.
    max_credit : int
        Maximum number of credit events kept per subject (:mod:`.credit` says of whom).
    asks : tuple of Ask
        Asks of models.
    score_pd : dict of str to ScorePd
        By target: how its served probability enters the PD (:mod:`.default_probability`).
    calm_dislocation_bp : float
        While a venue's dislocation is below this, its oldest withdrawal has waited no longer than
        its baseline, and no source reports suspended withdrawals, the models score it only every
        `report_s`, bp.
    baseline : BaselineConfig
        Settings of baselines.
    people : PeopleConfig
        Bounds of operators' commands and of their alerts.
    drills : tuple of DrillPlan
        Planned drills, in event time.
    advisory, binding : tuple of str, optional
        Ids of rules, limits and asks that only advise, and that bind, whatever they say of
        themselves. ``*`` is everything that the other list does not name.
    unconfirmed : tuple of str, optional
        Ids of what is newer than the deployment, and that `binding` does not name: they only
        advise. A worker works it out when it begins (:mod:`riskwatch.config.unconfirmed`); no
        file says it.
    pretrade : PretradeConfig, optional
        Limits before the trade; they need at least one client.
    restriction : RestrictionConfig
        What switches restrict.
    outage_floor : State
        State of everything at order paths during an outage of riskwatch: REDUCE for as long as it
        lasts, or HALT after `outage_reduce_s`.
    outage_reduce_s : float
        How long REDUCE lasts before HALT if `outage_floor` is HALT, seconds.
    transit : TransitConfig
        How legs of transfers are linked, and when a transfer is overdue.
    unlisted : State
        State of an order with an asset or a counterparty that nothing lists, at order paths.
    adjustments : AdjustmentsConfig
        What each kind of adjustment explains.
    """

    coverage_good: Share = 0.5
    sd_stale_bp: Positive = 100.0
    unknown_reduce_s: float = 1_800.0
    valid_s: Positive = 60.0
    report_s: Positive = 300.0
    revalue_s: float = 900.0
    pending_share: Share = 0.05
    move_bp: Positive = 5.0
    calm_bp: NotNegative = 10.0
    horizon_s: Horizon = 2_592_000.0
    gated_horizon_s: Horizon = 31_536_000.0
    gated_lgd_factor: Annotated[float, msgspec.Meta(ge=1.0)] = 1.25
    exit_s: float = 86_400.0
    stress_sd: NotNegative = 1.65
    impact: NotNegative = 1.0
    volume_usd_day: Positive = 1_000_000.0
    baseline_min_s: Positive = 1_800.0
    baseline_default_s: Positive = 7_200.0
    baseline_from: AtLeastOne = 5
    source_weight: Share = 0.34
    source_weights: dict[str, float] = {}
    credit_memory_s: float = 7_776_000.0
    alert_from_usd: Positive = 1.0
    bounded_share: Share = 0.25
    max_credit: AtLeastOne = 256
    asks: tuple[Ask, ...] = ()
    score_pd: dict[str, ScorePd] = {}
    calm_dislocation_bp: NotNegative = 25.0
    baseline: BaselineConfig = BaselineConfig()
    people: PeopleConfig = PeopleConfig()
    drills: tuple[DrillPlan, ...] = ()
    advisory: Ids = msgspec.UNSET
    binding: Ids = msgspec.UNSET
    unconfirmed: Ids = msgspec.UNSET
    client_keys: Keys = msgspec.UNSET
    pretrade: PretradeConfig | msgspec.UnsetType = msgspec.UNSET
    source_keys: Keys = msgspec.UNSET
    topic_sources: Ids = msgspec.UNSET
    unproven: Ids = msgspec.UNSET
    restriction: RestrictionConfig = RestrictionConfig()
    outage_floor: State = State.REDUCE
    outage_reduce_s: NotNegative = 30.0
    transit: TransitConfig = TransitConfig()
    unlisted: State = State.NORMAL
    adjustments: AdjustmentsConfig = AdjustmentsConfig()

    def news_weight(self, source: str) -> float:
        """Return the weight of a source of credit news.

        Examples
        --------
        >>> risk = RiskConfig(source_weights={"court": 1.0, "desk": 1.0}, unproven=("desk",))
        >>> [risk.news_weight(source) for source in ("court", "desk", "press")]
        [1.0, 0.34, 0.34]
        """
        weight = self.source_weights.get(source, self.source_weight)
        return min(weight, self.source_weight) if source in (self.unproven or ()) else weight

    def declares(self, source: str) -> bool:
        """Whether the policy names a source of credit news, so that its room is its own.

        Examples
        --------
        >>> risk = RiskConfig(source_weights={"court": 1.0})
        >>> risk.declares("court"), risk.declares("press")
        (True, False)
        """
        return (
            source in self.source_weights
            or source in (self.source_keys or ())
            or source in (self.topic_sources or ())
        )

    def is_advisory(self, name: str, mode: Mode | msgspec.UnsetType) -> bool:
        """Say whether a rule, a limit or an ask only advises.

        Parameters
        ----------
        name : str
            Its id.
        mode : Mode or unset
            What it says of itself.

        Examples
        --------
        >>> from msgspec import UNSET
        >>> config = RiskConfig(advisory=("*",), binding=("venue.gate.halt",))
        >>> config.is_advisory("venue.gate.halt", Mode.ADVISORY), config.is_advisory("x", UNSET)
        (False, True)
        """
        advisory, binding = self.advisory or (), self.binding or ()
        if name in advisory or name in binding:
            return name in advisory
        if ALL in advisory or ALL in binding:
            return ALL in advisory
        return mode is Mode.ADVISORY or name in (self.unconfirmed or ())
