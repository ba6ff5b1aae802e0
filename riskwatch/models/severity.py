"""From a rule's severity to log-odds: the scale that every generation starts from.

Severity is *value ÷ threshold*, so it reads best in doublings: twice the severity adds the same
to the logit everywhere. :func:`doublings` is a base-2 logarithm with straight lines between the
powers of two. It is made of exact operations only, which makes it the same number on every
processor and, unlike a library's logarithm, never decreasing by construction.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

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


def squashed(value: float | None, scale: float) -> float:
    """``value / (scale + |value|)``, in [-1, 1]; 0 where it is missing or NaN.

    Examples
    --------
    >>> squashed(-10.0, 30.0), squashed(None, 1.0)
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


class Anchor(msgspec.Struct, frozen=True, kw_only=True):
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
    >>> rule = Anchor(probability=0.5, slope=2.0)
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
