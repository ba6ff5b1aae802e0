"""Whom the risk stage asks for scores, and for what a fill will cost.

The models themselves live in :mod:`riskwatch.models`, which `core` does not import: the
composition root hands a :class:`Scorer` in.
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


# What the risk stage knows of models: their configuration, and what they say.


class PriorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How likely a target is at a severity, before any label: where every generation starts.

    Attributes
    ----------
    probability : float
        At severity 1, in (0, 1).
    slope : float
        Log-odds per doubling of the severity.
    floor : float
        Severity at which the scale turns flat; see ``riskwatch.models.base.RuleLogit``.
    """

    probability: float = 0.5
    slope: float = 1.0
    floor: float = 0.05


class TargetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to predict: that a measure reaches a threshold within a horizon.

    Attributes
    ----------
    kind : str
        ``depeg``, ...
    scope_kind : str
        Kind of scope it is asked of.
    side : str
        ``discount``, ``premium``, ``either``, or empty.
    threshold : float
        Positive, in `unit`.
    horizon_s : float
        Positive, seconds.
    unit : str
        Of the threshold.
    start : float or None
        For escalation: measure from which it is asked, below `threshold`.
    measure : str
        Feature that is measured, where `any` names none.
    any : tuple of Condition
        What is measured instead: the largest value ÷ `at` of these features, so that the
        threshold is 1. Every one that is known when a sample is taken must stay known, or the
        sample is never called false.
    ours : bool
        Whether the measure rests on our own dealings: once we have nothing there any more, a
        sample is censored, which is not calm.
    label_every_s : float or None
        Event time between two samples, seconds; that of all targets if absent.
    prior : PriorConfig
        The rule as a probability of this target (``riskwatch fit --priors`` measures it).
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
        Which model: ``rules``, ``anchored``, or what another package brings.
    name : str
        What it is called in scores and asks; the model's name if empty. A new name starts
        afresh.
    authority : str
        How far it may go at first: ``shadow``, ``advisory``, ``bounded`` or ``full``.
    max_authority : str
        How far evidence or people may let it go; `authority` if empty.
    options : dict
        Of the model.
    """

    model: str
    name: str = ""
    authority: str = "shadow"
    max_authority: str = ""
    options: dict[str, Any] = {}


class EvidenceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it takes to rise and to fall, and how the served probability is mixed.

    Attributes
    ----------
    alpha : float
        Probability that any generation is ever promoted by evidence though it is no better
        than what it challenges, over all targets and all time, in (0, 1).
    alpha_down : float
        The same of a demotion on reverse evidence, for one generation on one target, in (0, 1).
    events_advisory, events_bounded, events_full : int
        Independent events that a generation must have been judged on before it is promoted.
    entities_bounded : int
        Scopes that these must be spread over, for ``bounded`` and ``full``.
    event_gap_s : float
        A true belongs to the event of the last one within this time before it, seconds.
    stale_s : float
        A target that is asked and has had no label for longer costs its generations a step,
        seconds.
    drift_delta : float
        Confidence of the test for drift, in (0, 1).
    share : float
        Share of the weights that is spread evenly after each label, in [0, 1).
    status_s : float
        How often the standing of each generation is put out while it changes, seconds.
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
    """How the slippage of our fills is learned, by asset and size.

    Attributes
    ----------
    quantile : float
        Share of fills that cost no more than what is stated, in (0, 1).
    sizes_usd : tuple of float
        Edges between the buckets of size, ascending, USD.
    rate : float
        Step of the logarithm at each fill, in (0, 1].
    horizon_s : float
        After so long without a fill it is asked why: no need, or because we left, seconds.
    """

    quantile: float = 0.9
    sizes_usd: tuple[float, ...] = (1e3, 1e4, 1e5, 1e6)
    rate: float = 0.1
    horizon_s: float = 3_600.0


class ModelsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is predicted, by whom, and how labels are taken.

    Attributes
    ----------
    targets, generations : tuple
        Every generation scores every target.
    label_every_s : float
        Event time between two samples of one scope and target, seconds.
    max_pending : int
        Most samples of one scope and target that wait for their label; refused if a horizon
        and `label_every_s` would need more.
    max_scopes : int
        Most scopes that are learned about; others are scored as if nothing had been seen.
    evidence : EvidenceConfig
        What it takes to rise and to fall.
    slippage : SlippageConfig
        How the slippage of our fills is learned.
    """

    targets: tuple[TargetConfig, ...] = ()
    generations: tuple[GenerationConfig, ...] = ()
    label_every_s: float = 300.0
    max_pending: int = 1_000
    max_scopes: int = 1_000
    evidence: EvidenceConfig = EvidenceConfig()
    slippage: SlippageConfig = SlippageConfig()


Explanation = tuple[dict[str, float], dict[str, float]]
"""Features that were looked at, and additive contributions in logit units."""


class ModelScore(msgspec.Struct, frozen=True, gc=False, eq=False):
    """What one generation says of one target of one scope; numbers are quantised.

    Attributes
    ----------
    cap : State
        The strictest state that its authority lets it ask for.
    grounds : callable
        Says what it rests on. Most scores are never asked: it may be worked out then, so it is
        to be called before the scorer observes anything else.
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
        """Whether the same was said, on the same grounds."""
        if not isinstance(other, ModelScore):
            return NotImplemented
        return self._said() == other._said() and self.grounds() == other.grounds()

    __hash__ = None  # type: ignore[assignment]

    def _said(self) -> tuple[object, ...]:
        return (
            self.scope, self.target, self.generation, self.authority, self.cap,
            self.probability, self.severity,
        )  # fmt: skip

    @property
    def features(self) -> dict[str, float]:
        """What was looked at."""
        return self.grounds()[0]

    @property
    def contributions(self) -> dict[str, float]:
        """Additive, in logit units."""
        return self.grounds()[1]


RULES_GENERATION: Final = "rules"
"""Name of generation 0: the static rules, and the model that repeats them.

Nothing caps what goes by this name, so nothing else may have it.
"""
ENSEMBLE: Final = "served"
"""Name of the probability that the generations give together."""


class ImpactLaw(msgspec.Struct, frozen=True, gc=False):
    """The square-root law of market impact for one asset now: what a fill costs before we know.

    Attributes
    ----------
    spread_bp : float
        Half of the quoted spread, bp.
    root_bp : float
        Impact of one dollar, bp; it grows with the root of the value.
    """

    spread_bp: float
    root_bp: float

    def bp(self, value: float) -> float:
        """Cost of a fill of `value` USD, bp.

        Examples
        --------
        >>> ImpactLaw(1.0, 0.01).bp(1e6)
        11.0
        """
        return self.spread_bp + self.root_bp * sqrt(value)


class SlippageModel(Protocol):
    """Says what a fill will cost, and learns from what it did."""

    def bp(self, state: Any, asset: str, value: float, law: ImpactLaw) -> float:
        """Quantile of the slippage of a fill of `value` USD, bp; the law's before any fill."""
        ...

    def learn(self, state: Any, asset: str, value: float, law: ImpactLaw, bp: float) -> None:
        """Learn from a fill of `value` USD that slipped by `bp`; what was said is judged first."""
        ...

    def miss(self, state: Any, asset: str) -> None:
        """Count a fill of which too little is known to learn from it."""
        ...

    def ask(self, state: Any, us: int, asset: str, *, held: bool) -> None:
        """Take note of time passing, and of whether we hold the asset."""
        ...


class SquareRootSlippage:
    """The law itself, which learns nothing."""

    def bp(self, state: Any, asset: str, value: float, law: ImpactLaw) -> float:
        """Slippage by the law, bp."""
        del state, asset
        return law.bp(value)

    def learn(self, state: Any, asset: str, value: float, law: ImpactLaw, bp: float) -> None:
        """Change nothing."""

    def miss(self, state: Any, asset: str) -> None:
        """Change nothing."""

    def ask(self, state: Any, us: int, asset: str, *, held: bool) -> None:
        """Change nothing."""


class Scorer(Protocol):
    """Scores scopes and learns from what becomes of them.

    Attributes
    ----------
    slippage : Slipper
        What fills cost; its state is that of the scorer.
    """

    slippage: SlippageModel

    def fresh(self) -> StageState:
        """Make the state of models that have seen nothing."""
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
            As made by :meth:`fresh`; changed in place.
        us : int
            Event time, microseconds.
        scope, kind : str
            Which scope, and its kind.
        features : mapping
            What is known of it now.
        labelled : bool
            Whether the measure can be trusted as a label now.
        ours : bool
            Whether we have anything on the scope now: where not, targets that rest on our own
            dealings are censored.
        due : bool
            Whether scores go out now. Where not, those are left out that may ask for nothing.
        """
        ...

    def report(self, state: Any, us: int) -> list[Output]:
        """Say what changed since the last report, and how good everybody is, where it is due.

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
        """Change the authority of a generation because a person says so.

        Parameters
        ----------
        state : StageState
            Changed in place.
        us : int
            Event time, microseconds.
        target, generation : str
            Whose authority on what.
        to : str
            ``shadow``, ``advisory``, ``bounded`` or ``full``; this also ends a quarantine.
        by, why : str
            Who says so, and the reason given.
        cause_id : str
            Identity of the command.

        Raises
        ------
        ModelError
            If it cannot be: no such target, generation or authority, beyond the ceiling, the
            rules', or nothing would change. Then nothing has changed.
        """
        ...
