"""Targets, authority levels, scores, the generation protocol, and generation 0 (the rules)."""

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
    """A prediction target: the event that a measure reaches a threshold within a horizon.

    Onset and escalation are separate targets. An onset target is open while the measure is
    below the threshold. An escalation target is open while the measure is at `start` or above
    and below the threshold.

    Attributes
    ----------
    kind : str
        ``depeg``, ``dislocation``, ``withdrawal_stress``, ``slippage``, ...
    threshold : float
        Positive, in `unit`.
    horizon_s : float
        Positive, seconds.
    side : str
        ``discount`` (the measure is how far the deviation is below zero), ``premium``,
        ``either`` (the absolute deviation), or empty: the measure is the value itself.
    unit : str
        Unit of the threshold: ``bp``, ``s``, ``USD``, ...
    start : float or None
        For escalation: the least measure at which the target is open, below `threshold`.

    Raises
    ------
    ValueError
        If a number is not finite and positive, `start` is not below `threshold`, or `side`
        is not one of those values.

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
        """Name of the target. Equal targets have equal names."""
        what = f"{self.side} {self.threshold:.12g}{self.unit}".strip()
        tail = "" if self.start is None else f", from {self.start:.12g}{self.unit}"
        return f"{self.kind}({what}, {_span(self.horizon_s)}{tail})"

    def measure(self, deviation: float) -> float:
        """Return how far a signed deviation goes to the dangerous side, in `unit`.

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
        """Return whether the target is open at this value of the measure."""
        return measure < self.threshold and (self.start is None or measure >= self.start)


def _span(seconds: float) -> str:
    """Format a duration in the largest unit that divides it."""
    for size, name in _SPANS:
        if seconds % size == 0:
            return f"{seconds / size:.12g}{name}"
    return f"{seconds:.12g}s"


class Authority(StrEnum):
    """What a generation may ask for, from least to most. The configuration grants it."""

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
        """Return the authority `by` steps higher (lower if negative), within the enum.

        Examples
        --------
        >>> Authority.SHADOW.step(1).value, Authority.SHADOW.step(-1).value
        ('advisory', 'shadow')
        """
        order = tuple(Authority)
        return order[min(max(self.rank + by, 0), len(order) - 1)]

    def under(self, ceiling: Authority) -> Authority:
        """Return the lower of this authority and a ceiling.

        Examples
        --------
        >>> Authority.FULL.under(Authority.ADVISORY).value
        'advisory'
        """
        return min(self, ceiling, key=_RANKS.__getitem__)

    @property
    def cap(self) -> State:
        """Strictest state that it may ask for."""
        return _CAPS[self]

    def allows(self, state: State) -> bool:
        """Return whether it may ask for `state`.

        Examples
        --------
        >>> [a.value for a in Authority if a.allows(State.REDUCE)]
        ['bounded', 'full']
        """
        return state.rank <= self.cap.rank


_RANKS: Final = {authority: place for place, authority in enumerate(Authority)}
_CAPS: Final = dict(zip(Authority, State, strict=True))


class Score(msgspec.Struct, frozen=True, gc=False):
    """The score of one generation for one set of features of one scope.

    Attributes
    ----------
    probability : float
        0 to 1. It may be exactly 0 or 1, so use `order` to rank scores.
    logit : float
        Finite log-odds of `probability`.
    severity : float
        The rule's severity among the features; 1 where it was absent or NaN.
    contributions : dict of str to float
        Additive parts by name, in logit units. They sum to `logit` up to rounding.
    """

    probability: float
    logit: float
    severity: float
    contributions: dict[str, float]

    @property
    def order(self) -> tuple[float, float]:
        """Sort key, ascending in danger. Two different severities have different keys."""
        return self.logit, self.severity


def known_severity(x: Mapping[str, float]) -> float:
    """Return the severity for a :class:`Score`: 1, the anchor, where it is absent or NaN.

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

    A generation uses no clock and no randomness. It changes nothing but its own state, and
    scoring does not change even that. Its authority comes from the configuration and its
    record, never from the model.

    Two optional members save time. ``probability(x)`` returns the same number as
    ``score(x).probability`` without contributions, and raises the same errors. If an attribute
    ``learns`` is false, :meth:`learn` changes nothing and is not called.
    """

    def score(self, x: Mapping[str, float]) -> Score:
        """Score the features of one moment. This has no side effect.

        The contributions name every feature that was used. Only these features are kept with a
        sample and passed to :meth:`learn`.
        """
        ...

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Learn from a matured label."""
        ...

    def state(self) -> dict[str, Any]:
        """Return everything learned, as plain JSON; empty if it never learns."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replace what was learned by `state`; later results are equal bit for bit.

        Raises
        ------
        ValueError
            If the model cannot use `state`.
        """
        ...


# The scale from severity to log-odds, which every generation starts from.
#
# Severity is *value ÷ threshold*, so the scale counts doublings: twice the severity adds the same
# to the logit everywhere. :func:`doublings` is a base-2 logarithm with straight lines between the
# powers of two. It uses exact operations only. Therefore it gives the same number on every
# processor and, unlike a library's logarithm, it never decreases.

_LARGEST: Final = 1.7976931348623157e308


def doublings(value: float) -> float:
    """Return how often 1 must be doubled to reach `value`, linear between powers of two.

    Parameters
    ----------
    value : float
        Positive and finite.

    Returns
    -------
    float
        Within 0.0861 of ``log2(value)``, equal at powers of two, and non-decreasing in
        floating point: both terms come from the exact split of a float into mantissa and
        exponent, and a single rounded addition preserves order.

    Examples
    --------
    >>> doublings(1.0), doublings(3.0), doublings(0.25)
    (0.0, 1.5, -2.0)
    """
    mantissa, exponent = math.frexp(value)
    return exponent + (2.0 * mantissa - 2.0)


def sigmoid(logit: float) -> float:
    """Return the probability of a logit, without overflow.

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
    """Return ``value / (scale + |value|)``, in [-1, 1]; 0 where the value is missing or NaN.

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
    """Return the logit `z` with ``z = prior + spread * (label - sigmoid(z))``.

    It is the mode of a normal prior on a logit (mean `prior`, variance `spread`) times the
    likelihood of one label, found by Newton's method within a bracket.

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
    """Log-odds of a rule: ``logit = bias + slope * steps(severity)``.

    Two severities that differ by more than ``1e-12 * (1 + larger)`` have different logits, and
    the larger severity never has the smaller logit. Floats allow no finer resolution: on a
    logarithmic scale there are more severities than logits. To rank closer severities, compare
    :attr:`riskwatch.models.base.Score.order`.

    Attributes
    ----------
    probability : float
        Probability at severity 1, in (0, 1).
    slope : float
        Log-odds per doubling of the severity, 0.01 to 100.
    floor : float
        Added to the severity, 1e-6 to 1. It keeps the low end of the scale finite, and
        different severities still have different values.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

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
        """Return the doublings from severity 1; below 0 for a smaller severity.

        An unknown severity (absent or NaN) gives 0, the anchor itself, because unknown must not
        look calm. A severity below 0 counts as 0, and infinity as the largest float.
        """
        if severity is None or severity != severity:  # noqa: PLR0124 - the test for NaN
            return 0.0
        bounded = min(max(severity, 0.0), _LARGEST)
        return doublings(bounded + self.floor) - self._origin

    def logit(self, severity: float | None) -> float:
        """Return the log-odds of the rule at a severity."""
        return self.bias + self.slope * self.steps(severity)


class RulesGeneration:
    """Generation 0: it turns the rule's severity into a probability, and never learns.

    Parameters
    ----------
    anchor : float
        Probability at severity 1.
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
        """Score by the severity alone."""
        bias, part = self._rule.bias, self._rule.slope * self._rule.steps(x.get("severity"))
        logit = bias + part
        return Score(sigmoid(logit), logit, known_severity(x), {"bias": bias, "severity": part})

    def probability(self, x: Mapping[str, float]) -> float:
        """Return the probability alone."""
        return sigmoid(self._rule.bias + self._rule.slope * self._rule.steps(x.get("severity")))

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Change nothing: people change rules, labels do not."""

    def state(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Accept the empty state.

        Raises
        ------
        ValueError
            If `state` is not empty: it belongs to another model.
        """
        if state:
            raise ValueError(f"rules keep no state, found {', '.join(sorted(state))}")
