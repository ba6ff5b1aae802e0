"""Interfaces of the models that the risk stage uses: scorer, slippage model, and their settings.

The models are in :mod:`riskwatch.models`, which `core` does not import. The composition root passes
a :class:`Scorer` in.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from riskwatch.core.enums import State
from riskwatch.core.rules import Condition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.outputs import AuthorityChanged, Output
    from riskwatch.core.stage import StageState


# Settings of the models.


class PriorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The prior probability of a target by severity, from which every generation starts.

    Attributes
    ----------
    probability : float
        Probability at severity 1, in (0, 1).
    slope : float
        Log-odds per doubling of the severity.
    floor : float
        Severity below which the scale is flat; see ``riskwatch.models.base.RuleLogit``.
    """

    probability: float = 0.5
    slope: float = 1.0
    floor: float = 0.05


class TargetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target of prediction: that a measure reaches a threshold within a horizon.

    Attributes
    ----------
    kind : str
        ``depeg``, ...
    scope_kind : str
        Kind of scope that the target applies to.
    side : str
        ``discount``, ``premium``, ``either``, or empty.
    threshold : float
        Threshold of the measure, positive, in `unit`.
    horizon_s : float
        Horizon, positive, seconds.
    unit : str
        Unit of the threshold.
    start : float or None
        For escalation: value of the measure from which the target applies, below `threshold`.
    measure : str
        Feature that is measured, if `any` names none.
    any : tuple of Condition
        Measured instead: the largest value ÷ `at` of these features, so that the threshold is 1.
        Every feature that is known when a sample is taken must stay known; otherwise the sample is
        never labelled false.
    ours : bool
        Whether the measure depends on our own business. A sample is censored, not labelled false,
        once we hold nothing there any more.
    label_every_s : float or None
        Event time between two samples, seconds; by default that of all targets.
    prior : PriorConfig
        Prior probability of this target (``riskwatch fit --priors`` measures it).
    """

    kind: str = "depeg"
    scope_kind: str = "asset"
    side: str = "discount"
    threshold: float
    horizon_s: float
    unit: str = "bp"
    start: float | None = None
    measure: str = "discount_bp"
    any: tuple[Condition, ...] = ()
    ours: bool = False
    label_every_s: float | None = None
    prior: PriorConfig = PriorConfig()


class GenerationConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One generation of every target.

    Attributes
    ----------
    model : str
        Name of the model: ``rules``, ``anchored``, or one that another package provides.
    name : str
        Name of the generation in scores and asks; the model's name if empty. A generation with a
        new name starts untrained.
    authority : str
        Initial authority: ``shadow``, ``advisory``, ``bounded`` or ``full``.
    max_authority : str
        Highest authority that evidence or operators may give it; `authority` if empty.
    options : dict
        Options of the model.
    pipeline : tuple of dict
        Of the model ``river``: the steps of its estimator. Each names a class of River under
        ``use`` and its arguments.
    pool : str
        ``kind`` shares one model per target between all scopes of a kind, with a shift per scope;
        empty gives every scope a model of its own.
    """

    model: str
    name: str = ""
    authority: str = "shadow"
    max_authority: str = ""
    options: dict[str, Any] = {}
    pipeline: tuple[dict[str, Any], ...] = ()
    pool: str = ""


class DetectorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A detector of anomalies, whose score is a feature of all scopes of a kind.

    Attributes
    ----------
    feature : str
        Name of the feature, from 0 (usual) to 1.
    scope_kind : str
        Kind of scope. All scopes of the kind share the detector.
    pipeline : tuple of dict
        Steps of a River estimator, as in :class:`GenerationConfig`.
    scales : dict of str to float
        Its inputs, with the size at which each counts half.
    """

    feature: str
    scope_kind: str = "asset"
    pipeline: tuple[dict[str, Any], ...] = ()
    scales: dict[str, float] = {}


class EvidenceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of promotion, demotion and the mixing of the ensemble probability.

    Attributes
    ----------
    alpha : float
        Probability that any generation is ever promoted by evidence although it is no better
        than the one it challenges, over all targets and all time, in (0, 1).
    alpha_down : float
        The same for a demotion on reverse evidence, of one generation on one target, in (0, 1).
    events_advisory, events_bounded, events_full : int
        Independent events on which a generation must be evaluated before it is promoted.
    entities_bounded : int
        Number of scopes that these events must cover, for ``bounded`` and ``full``.
    event_gap_s : float
        A true label belongs to the event of the last one within this time before it, seconds.
    stale_s : float
        A target that is scored but has had no label for longer than this costs its generations one
        step of authority, seconds.
    drift_delta : float
        Confidence of the drift test, in (0, 1).
    share : float
        Share of the weights that is redistributed evenly after each label, in [0, 1).
    status_s : float
        Interval at which the status of each generation is published while it changes, seconds.
    """

    alpha: float = 0.05
    alpha_down: float = 0.05
    events_advisory: int = 3
    events_bounded: int = 10
    events_full: int = 20
    entities_bounded: int = 3
    event_gap_s: float = 86_400.0
    stale_s: float = 2_592_000.0
    drift_delta: float = 0.002
    share: float = 0.001
    status_s: float = 3_600.0


class SlippageConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the slippage model, which learns from our fills by asset and size.

    Attributes
    ----------
    quantile : float
        Share of fills that cost no more than the predicted slippage, in (0, 1).
    sizes_usd : tuple of float
        Boundaries of the size buckets, ascending, USD.
    rate : float
        Step of the logarithm at each fill, in (0, 1].
    horizon_s : float
        A period of this length without a fill counts as unlabelled if we still hold the asset, and
        as censored if we do not, seconds.
    """

    quantile: float = 0.9
    sizes_usd: tuple[float, ...] = (1e3, 1e4, 1e5, 1e6)
    rate: float = 0.1
    horizon_s: float = 3_600.0


class ModelsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of all models: targets, generations and labels.

    Attributes
    ----------
    targets, generations : tuple
        Every generation scores every target.
    label_every_s : float
        Event time between two samples of one scope and target, seconds.
    max_pending : int
        Maximum number of samples of one scope and target that wait for their label. Settings whose
        horizon and `label_every_s` need more are refused.
    max_scopes : int
        Maximum number of scopes with learned state; others are scored without any.
    evidence : EvidenceConfig
        Settings of promotion and demotion.
    slippage : SlippageConfig
        Settings of the slippage model.
    detectors : tuple
        Detectors of anomalies.
    """

    targets: tuple[TargetConfig, ...] = ()
    generations: tuple[GenerationConfig, ...] = ()
    label_every_s: float = 300.0
    max_pending: int = 1_000
    max_scopes: int = 1_000
    evidence: EvidenceConfig = EvidenceConfig()
    slippage: SlippageConfig = SlippageConfig()
    detectors: tuple[DetectorConfig, ...] = ()


Explanation = tuple[dict[str, float], dict[str, float]]
"""The features of a score, and their additive contributions in logit units."""


class ModelScore(msgspec.Struct, frozen=True, gc=False, eq=False):
    """The score of one generation for one target of one scope; numbers are quantised.

    Attributes
    ----------
    cap : State
        The strictest state that the generation's authority lets it request.
    grounds : callable
        Returns the explanation. Most scores are never explained, so it may be computed on demand.
        It must be called before the scorer observes anything else.
    """

    scope: str
    target: str
    generation: str
    authority: str
    cap: State
    probability: float
    severity: float
    grounds: Callable[[], Explanation]

    def __eq__(self, other: object) -> bool:
        """Whether score and explanation are the same."""
        if not isinstance(other, ModelScore):
            return NotImplemented
        return self._fields() == other._fields() and self.grounds() == other.grounds()

    __hash__ = None  # type: ignore[assignment]

    def _fields(self) -> tuple[object, ...]:
        return (
            self.scope, self.target, self.generation, self.authority, self.cap,
            self.probability, self.severity,
        )  # fmt: skip

    @property
    def features(self) -> dict[str, float]:
        """Features of the score."""
        return self.grounds()[0]

    @property
    def contributions(self) -> dict[str, float]:
        """Contributions of the features, additive, in logit units."""
        return self.grounds()[1]


RULES_GENERATION: Final = "rules"
"""Name of generation 0: the static rules, and the model that repeats them.

No authority caps this generation, so no other generation may have its name.
"""
ENSEMBLE: Final = "served"
"""Name of the ensemble probability, which combines all generations."""


class ImpactLaw(msgspec.Struct, frozen=True, gc=False):
    """The square-root law of market impact for one asset now: the prior cost of a fill.

    Attributes
    ----------
    spread_bp : float
        Half of the quoted spread, bp.
    root_bp : float
        Impact of a fill of one USD, bp; it grows with the square root of the value.
    """

    spread_bp: float
    root_bp: float

    def bp(self, value: float) -> float:
        """Return the cost of a fill of `value` USD, bp.

        Examples
        --------
        >>> ImpactLaw(1.0, 0.01).bp(1e6)
        11.0
        """
        return self.spread_bp + self.root_bp * sqrt(value)


class SlippageModel(Protocol):
    """Predicts the slippage of fills, and learns from their actual slippage."""

    def bp(self, state: Any, asset: str, value: float, law: ImpactLaw) -> float:
        """Return the slippage quantile of a fill of `value` USD, bp; by `law` before any fill."""
        ...

    def learn(self, state: Any, asset: str, value: float, law: ImpactLaw, bp: float) -> None:
        """Evaluate the prediction for a fill of `value` USD that slipped by `bp`, then learn."""
        ...

    def miss(self, state: Any, asset: str) -> None:
        """Count a fill that cannot be learned from, because its market was not live."""
        ...

    def ask(self, state: Any, us: int, asset: str, *, held: bool) -> None:
        """Record that time passed, and whether we hold the asset."""
        ...


class SquareRootSlippage:
    """The square-root law as a slippage model; it learns nothing."""

    def bp(self, state: Any, asset: str, value: float, law: ImpactLaw) -> float:
        """Return the slippage by the law, bp."""
        del state, asset
        return law.bp(value)

    def learn(self, state: Any, asset: str, value: float, law: ImpactLaw, bp: float) -> None:
        """Change nothing."""

    def miss(self, state: Any, asset: str) -> None:
        """Change nothing."""

    def ask(self, state: Any, us: int, asset: str, *, held: bool) -> None:
        """Change nothing."""


class Scorer(Protocol):
    """Scores scopes, and learns from labels.

    Attributes
    ----------
    slippage : SlippageModel
        Predicts the slippage of fills; its state is part of the scorer's.
    """

    slippage: SlippageModel

    def fresh(self) -> StageState:
        """Return the state of models that have learned nothing."""
        ...

    def observe(
        self,
        state: Any,
        us: int,
        scope: str,
        kind: str,
        features: Mapping[str, float],
        *,
        labelled: bool,
        ours: bool = True,
        due: bool = True,
    ) -> list[ModelScore]:
        """Score a scope, then learn from labels that have matured, then take a new sample.

        Parameters
        ----------
        state : StageState
            State from :meth:`fresh`; changed in place.
        us : int
            Event time, microseconds.
        scope, kind : str
            The scope and its kind.
        features : mapping
            Its present features.
        labelled : bool
            Whether the measure is reliable enough for a label now.
        ours : bool
            Whether we hold anything on the scope now. If not, targets that depend on our own
            business are censored.
        due : bool
            Whether scores are published now. If not, scores that may request nothing are left out.
        """
        ...

    def report(self, state: Any, us: int) -> list[Output]:
        """Return the changes since the last report, and the status of generations that is due.

        Parameters
        ----------
        state : StageState
            Changed in place.
        us : int
            Event time, microseconds.
        """
        ...

    def move(
        self,
        state: Any,
        us: int,
        target: str,
        generation: str,
        to: str,
        *,
        by: str,
        why: str,
        cause_id: str,
    ) -> AuthorityChanged:
        """Change the authority of a generation by an operator's command.

        Parameters
        ----------
        state : StageState
            Changed in place.
        us : int
            Event time, microseconds.
        target, generation : str
            Target and generation.
        to : str
            ``shadow``, ``advisory``, ``bounded`` or ``full``; this also ends a quarantine.
        by, why : str
            The operator and the reason given.
        cause_id : str
            Identity of the command.

        Raises
        ------
        ModelError
            If the target, generation or authority is unknown, the authority exceeds the maximum,
            the generation is that of the rules, or nothing would change. The state is unchanged.
        """
        ...
