"""Static rules as data: generation 0, always on, and the prior of generation 1.

A rule watches one *kind* of scope. Each of its conditions compares one feature with a
threshold; ``severity = max(value / at)`` over the conditions. The rule fires when the severity
stays at or above 1 for `dwell_s` **and** for `observations` fresh observations, and lets go
when it stays below `exit` for `exit_dwell_s`. Missing values neither confirm nor clear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.bounds import AtLeastOne, Fraction, Positive
from riskwatch.core.enums import Cause, Mode, State

if TYPE_CHECKING:
    from collections.abc import Mapping


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """``feature >= at`` with the unit it is measured in (bp, s, USD, share, count)."""

    feature: str
    at: Positive
    unit: str = ""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One static rule.

    Attributes
    ----------
    id : str
        Unique name, ``kind.what``.
    scope_kind : str
        ``asset``, ``venue-asset``, ``counterparty``, ``book`` or ``firm``.
    state : State
        The state it asks for.
    any : tuple of Condition
        Conditions, any of which fires it.
    unless_cause : tuple of Cause
        Causes under which it holds still (a feed's fault is not the coin's).
    dwell_s : float
        How long the condition must hold in event time, seconds.
    observations : int
        How many fresh observations must confirm it (dwell in bars).
    exit : float
        Severity below which it may let go, under 1.
    exit_dwell_s : float
        How long it must stay there, seconds.
    text : str
        Plain words with ``{value}``, ``{at}``, ``{unit}``, ``{scope}``.
    mode : Mode, optional
        Whether it binds, unless ``[risk]`` of the policy says otherwise of its id; it does by
        default.
    since : str, optional
        Release that shipped it first. A deployment that is older than the rule runs it as
        advisory until the policy names it in ``binding``.
    """

    id: str
    scope_kind: str
    state: State
    any: tuple[Condition, ...]
    unless_cause: tuple[Cause, ...] = (Cause.FEED,)
    dwell_s: float = 0.0
    observations: AtLeastOne = 1
    exit: Fraction = 0.7
    exit_dwell_s: float = 3600.0
    text: str = "{scope}: {feature} is {value} {unit}, limit {at} {unit}"
    mode: Mode | msgspec.UnsetType = msgspec.UNSET
    since: str | msgspec.UnsetType = msgspec.UNSET

    def severity(self, features: Mapping[str, float]) -> tuple[float, Condition | None]:
        """Largest value ÷ threshold over the conditions that have a value.

        Returns
        -------
        tuple
            Severity (0 if no condition has a value) and the condition it comes from.

        Examples
        --------
        >>> rule = Rule(id="r", scope_kind="asset", state=State.WATCH,
        ...             any=(Condition(feature="discount_bp", at=20.0),))
        >>> rule.severity({"discount_bp": 30.0})[0]
        1.5
        """
        best, which = 0.0, None
        for condition in self.any:
            value = features.get(condition.feature)
            if value is not None:
                s = value / condition.at
                if which is None or s > best:
                    best, which = s, condition
        return best, which


class RulePack(msgspec.Struct, frozen=True, kw_only=True):
    """All rules, in file order."""

    rules: tuple[Rule, ...]

    def of(self, scope_kind: str) -> tuple[Rule, ...]:
        """Rules of one kind of scope, in file order."""
        return tuple(r for r in self.rules if r.scope_kind == scope_kind)
