"""Targets, authority, scores, and the members that every generation must have."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import msgspec

from riskwatch.core.enums import State

if TYPE_CHECKING:
    from collections.abc import Mapping


_SIDES: Final = ("", "discount", "premium", "either")
_SPANS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


class PredictionTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Something to predict: that a measure reaches a threshold within a horizon.

    Onset and escalation are separate targets. An onset target is asked while the measure is
    below the threshold; an escalation target only while it is already at `start` or above, and
    still below the threshold.

    Attributes
    ----------
    kind : str
        ``depeg``, ``dislocation``, ``withdrawal_stress``, ``slippage``, ...
    threshold : float
        Positive, in `unit`.
    horizon_s : float
        Positive, seconds.
    side : str
        ``discount`` (the measure is what the deviation falls below zero), ``premium``,
        ``either`` (its size), or empty: the measure is the value as it comes.
    unit : str
        Of the threshold: ``bp``, ``s``, ``USD``, ...
    start : float or None
        For escalation: measure from which it is asked, below `threshold`.

    Raises
    ------
    ValueError
        If a number is not finite and positive, `start` is not below `threshold`, or the side
        is none of those.

    Examples
    --------
    >>> PredictionTarget(kind="depeg", side="discount", threshold=100, horizon_s=3600).id
    'depeg(discount 100bp, 1h)'
    >>> PredictionTarget(kind="depeg", side="discount", threshold=200, horizon_s=90, start=50).id
    'depeg(discount 200bp, 90s, from 50bp)'
    """

    kind: str
    threshold: float
    horizon_s: float
    side: str = ""
    unit: str = "bp"
    start: float | None = None

    def __post_init__(self) -> None:
        for name in ("threshold", "horizon_s", "start"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise ValueError(f"{name} must be finite and positive, was {value}")
        if self.start is not None and self.start >= self.threshold:
            raise ValueError(
                f"start must be below the threshold {self.threshold}, was {self.start}"
            )
        if self.side not in _SIDES:
            raise ValueError(f"side must be one of {_SIDES}, was {self.side!r}")

    @property
    def id(self) -> str:
        """Name of the target, the same for equal targets."""
        what = f"{self.side} {self.threshold:.12g}{self.unit}".strip()
        tail = "" if self.start is None else f", from {self.start:.12g}{self.unit}"
        return f"{self.kind}({what}, {_span(self.horizon_s)}{tail})"

    def measure(self, deviation: float) -> float:
        """Return the size of a signed deviation to the dangerous side, in `unit`.

        Examples
        --------
        >>> target = PredictionTarget(kind="depeg", side="discount", threshold=50, horizon_s=60)
        >>> target.measure(-70.0)
        70.0
        """
        if self.side == "discount":
            return -deviation
        return abs(deviation) if self.side == "either" else deviation

    def is_open_at(self, measure: float) -> bool:
        """Whether this is a question at all while the measure is where it is."""
        return measure < self.threshold and (self.start is None or measure >= self.start)


def _span(seconds: float) -> str:
    """Return a duration in the largest unit that divides it."""
    for size, name in _SPANS:
        if seconds % size == 0:
            return f"{seconds / size:.12g}{name}"
    return f"{seconds:.12g}s"


class Authority(StrEnum):
    """How far a generation may go, from least to most; the configuration says so."""

    SHADOW = "shadow"
    """Its scores are stored."""
    ADVISORY = "advisory"
    """It may raise WATCH."""
    BOUNDED = "bounded"
    """It may raise REDUCE, on at most a stated share of the firm's exposure."""
    FULL = "full"
    """It may raise HALT."""

    @property
    def rank(self) -> int:
        """Place in the order of this enum, 0 (shadow) to 3 (full)."""
        return _RANKS[self]

    def step(self, by: int) -> Authority:
        """Return the authority so many steps up, or down if `by` is negative; never off it.

        Examples
        --------
        >>> Authority.SHADOW.step(1).value, Authority.SHADOW.step(-1).value
        ('advisory', 'shadow')
        """
        order = tuple(Authority)
        return order[min(max(self.rank + by, 0), len(order) - 1)]

    def under(self, ceiling: Authority) -> Authority:
        """Return what is left of it under a ceiling.

        Examples
        --------
        >>> Authority.FULL.under(Authority.ADVISORY).value
        'advisory'
        """
        return min(self, ceiling, key=_RANKS.__getitem__)

    @property
    def cap(self) -> State:
        """Return the strictest state that it may ask for."""
        return _CAPS[self]

    def allows(self, state: State) -> bool:
        """Whether it may ask for `state`.

        Examples
        --------
        >>> [a.value for a in Authority if a.allows(State.REDUCE)]
        ['bounded', 'full']
        """
        return state.rank <= self.cap.rank


_RANKS: Final = {authority: place for place, authority in enumerate(Authority)}
_CAPS: Final = dict(zip(Authority, State, strict=True))


class Score(msgspec.Struct, frozen=True, gc=False):
    """What one generation says of one state of one scope.

    Attributes
    ----------
    probability : float
        0 to 1; may be exactly 0 or 1 at the ends, so rank by `order`.
    logit : float
        Finite log-odds of `probability`.
    severity : float
        The rule's severity that it was given; 1 where none was known.
    contributions : dict of str to float
        Additive, in logit units; they sum to `logit` up to rounding.
    """

    probability: float
    logit: float
    severity: float
    contributions: dict[str, float]

    @property
    def order(self) -> tuple[float, float]:
        """Sort key, ascending in danger, that no two different severities share."""
        return self.logit, self.severity


def known_severity(x: Mapping[str, float]) -> float:
    """Severity of a state for :class:`Score`; 1, the anchor, where it is absent or NaN.

    Examples
    --------
    >>> known_severity({"severity": 0.4}), known_severity({})
    (0.4, 1.0)
    """
    severity = x.get("severity", 1.0)
    return 1.0 if math.isnan(severity) else float(severity)


@runtime_checkable
class Generation(Protocol):
    """One model of one target of one scope.

    It has no clock, no chance and no side effects beyond its own state. Scoring does not change
    even that. The configuration and its record say how far it may go; the model does not.

    Two more members may be there and save time. ``probability(x)`` returns what
    ``score(x).probability`` would, without reasons; it refuses what `score` refuses. An
    attribute ``learns`` that is false says that :meth:`learn` changes nothing: it is not called.
    """

    def score(self, x: Mapping[str, float]) -> Score:
        """Score a state; no side effect.

        The contributions name every feature that was looked at: only these are kept with a
        sample, and come back to :meth:`learn`.
        """
        ...

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Learn from a matured label."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain JSON; empty if it never learns."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state` describes, and go on from there bit for bit.

        Raises
        ------
        ValueError
            If it cannot use it.
        """
        ...


# From a rule's severity to log-odds: the scale that every generation starts from.
#
# Severity is *value ÷ threshold*, so it reads best in doublings: twice the severity adds the same
# to the logit everywhere. :func:`doublings` is a base-2 logarithm with straight lines between the
# powers of two. It is made of exact operations only, which makes it the same number on every
# processor and, unlike a library's logarithm, never decreasing by construction.

_LARGEST: Final = 1.7976931348623157e308


def doublings(value: float) -> float:
    """How often 1 must be doubled to reach `value`, linear between powers of two.

    Parameters
    ----------
    value : float
        Positive and finite.

    Returns
    -------
    float
        Within 0.0861 of ``log2(value)``, equal at powers of two, and non-decreasing in
        floating point: both terms come from the exact split of a float into mantissa and
        exponent, and one rounded addition keeps order.

    Examples
    --------
    >>> doublings(1.0), doublings(3.0), doublings(0.25)
    (0.0, 1.5, -2.0)
    """
    mantissa, exponent = math.frexp(value)
    return exponent + (2.0 * mantissa - 2.0)


def sigmoid(logit: float) -> float:
    """Probability of a logit, without overflow.

    Examples
    --------
    >>> sigmoid(0.0), sigmoid(-4000.0), sigmoid(4000.0)
    (0.5, 0.0, 1.0)
    """
    if logit >= 0.0:
        return 1.0 / (1.0 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1.0 + odds)


def softsign(value: float | None, scale: float) -> float:
    """``value / (scale + |value|)``, in [-1, 1]; 0 where it is missing or NaN.

    Examples
    --------
    >>> softsign(-10.0, 30.0), softsign(None, 1.0)
    (-0.25, 0.0)
    """
    if value is None or value != value:  # noqa: PLR0124 - the test for NaN
        return 0.0
    share = value / (scale + abs(value))
    return share if share == share else math.copysign(1.0, value)  # noqa: PLR0124 - infinity


def mode_of(prior: float, spread: float, *, label: bool) -> float:
    """Logit `z` with ``z = prior + spread * (label - sigmoid(z))``: Newton within a bracket.

    It is the mode of a normal prior on a logit, of this variance, times one label's likelihood.

    Examples
    --------
    >>> round(mode_of(0.0, 4.0, label=True), 4)
    1.0426
    """
    low, high = (prior, prior + spread) if label else (prior - spread, prior)
    z = prior
    for _ in range(64):
        p = sigmoid(z)
        excess = z - prior - spread * (label - p)
        low, high = (low, z) if excess > 0.0 else (z, high)
        after = z - excess / (1.0 + spread * p * (1.0 - p))
        if not low <= after <= high:
            after = 0.5 * (low + high)
        if abs(after - z) <= 1e-12 * (1.0 + abs(z)):
            return after
        z = after
    return z


class RuleLogit(msgspec.Struct, frozen=True, kw_only=True):
    """The rule as log-odds: ``logit = bias + slope * steps(severity)``.

    Two severities that differ by more than ``1e-12 * (1 + larger)`` have different logits, and
    the larger severity never has the smaller logit. No float could do better: there are more
    severities than logits on a logarithmic scale. Where even closer ones must be told apart,
    compare :attr:`riskwatch.models.base.Score.order`.

    Attributes
    ----------
    probability : float
        Stated probability at severity 1, in (0, 1).
    slope : float
        Log-odds per doubling of the severity, 0.01 to 100.
    floor : float
        Added to the severity, 1e-6 to 1, so that the calm end of the scale stays finite
        without two severities sharing a value.

    Raises
    ------
    ValueError
        If one of them is out of its range.

    Examples
    --------
    >>> rule = RuleLogit(probability=0.5, slope=2.0)
    >>> rule.logit(1.0), rule.logit(0.0) < rule.logit(1e-9) < rule.logit(0.5)
    (0.0, True)
    """

    probability: float = 0.5
    slope: float = 1.0
    floor: float = 0.05
    _bias: float = 0.0
    _origin: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 < self.probability < 1.0:
            raise ValueError(f"anchor probability must be in (0, 1), was {self.probability}")
        if not 0.01 <= self.slope <= 100.0:
            raise ValueError(f"slope must be in [0.01, 100], was {self.slope}")
        if not 1e-6 <= self.floor <= 1.0:
            raise ValueError(f"floor must be in [1e-6, 1], was {self.floor}")
        bias = math.log(self.probability) - math.log1p(-self.probability)
        msgspec.structs.force_setattr(self, "_bias", bias)
        msgspec.structs.force_setattr(self, "_origin", doublings(1.0 + self.floor))

    @property
    def bias(self) -> float:
        """Log-odds at severity 1."""
        return self._bias

    def steps(self, severity: float | None) -> float:
        """Doublings from severity 1, below 0 for less.

        An unknown severity (absent or NaN) is 0, the anchor itself: what is not known does not
        read as calm. Below 0 counts as 0, and infinity as the largest float.
        """
        if severity is None or severity != severity:  # noqa: PLR0124 - the test for NaN
            return 0.0
        bounded = min(max(severity, 0.0), _LARGEST)
        return doublings(bounded + self.floor) - self._origin

    def logit(self, severity: float | None) -> float:
        """Log-odds of the rule at a severity."""
        return self.bias + self.slope * self.steps(severity)


# Generation 0: the static rules, as a generation beside the others.


class RulesGeneration:
    """The rule's severity as a probability; never learning.

    Parameters
    ----------
    anchor : float
        Stated probability at severity 1.
    slope : float
        Log-odds per doubling of the severity.
    floor : float
        See :class:`riskwatch.models.base.RuleLogit`.

    Examples
    --------
    >>> RulesGeneration().score({"severity": 1.0}).probability
    0.5
    """

    learns: Final = False

    def __init__(self, anchor: float = 0.5, slope: float = 1.0, floor: float = 0.05) -> None:
        self._rule = RuleLogit(probability=anchor, slope=slope, floor=floor)

    def score(self, x: Mapping[str, float]) -> Score:
        """Score a state by its severity alone."""
        bias, part = self._rule.bias, self._rule.slope * self._rule.steps(x.get("severity"))
        logit = bias + part
        return Score(sigmoid(logit), logit, known_severity(x), {"bias": bias, "severity": part})

    def probability(self, x: Mapping[str, float]) -> float:
        """Return the probability alone."""
        return sigmoid(self._rule.bias + self._rule.slope * self._rule.steps(x.get("severity")))

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Change nothing: people change rules, labels do not."""

    def state(self) -> dict[str, Any]:
        """Nothing was learned."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Accept the empty state.

        Raises
        ------
        ValueError
            If there is anything in it, which is another model's.
        """
        if state:
            raise ValueError(f"rules keep no state, found {', '.join(sorted(state))}")
