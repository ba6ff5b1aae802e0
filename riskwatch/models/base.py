"""Targets, authority, scores, and the members that every generation must have."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import msgspec

from riskwatch.core.reasons import State

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIDES: Final = ("", "discount", "premium", "either")
_SPANS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


class Target(msgspec.Struct, frozen=True, kw_only=True):
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
    >>> Target(kind="depeg", side="discount", threshold=100, horizon_s=3600).id
    'depeg(discount 100bp, 1h)'
    >>> Target(kind="depeg", side="discount", threshold=200, horizon_s=90, start=50).id
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
        >>> Target(kind="depeg", side="discount", threshold=50, horizon_s=60).measure(-70.0)
        70.0
        """
        if self.side == "discount":
            return -deviation
        return abs(deviation) if self.side == "either" else deviation

    def asked_at(self, measure: float) -> bool:
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

    def may(self, state: State) -> bool:
        """Whether it may ask for `state`.

        Examples
        --------
        >>> [a.value for a in Authority if a.may(State.REDUCE)]
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
