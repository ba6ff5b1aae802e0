"""Static rules (generation 0): their conditions, thresholds and dwell, and how they end.

A rule applies to one *kind* of scope. Each of its conditions compares one feature with a threshold;
``severity = max(value / at)`` over the conditions. The rule fires if the severity stays at or above
1 for `dwell_s` **and** for `observations` fresh observations. It ends if the severity stays below
`exit` for `exit_dwell_s`. Missing values neither confirm nor clear it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.core.bounds import AtLeastOne, Fraction, Positive
from riskwatch.core.enums import Cause, Mode, Restriction, State

if TYPE_CHECKING:
    from collections.abc import Mapping


DRAWDOWN_FEATURE: Final = "drawdown_bp"
"""Feature of firm and books: how far the unitised equity is below the high-water mark, bp."""
LOSS_FEATURES: Final = ("loss_day_bp", "loss_24h_bp")
"""Features of firm and books: the loss since midnight UTC and over the last 24 hours, bp."""
COVERAGE_FEATURE: Final = "equity_coverage"
"""Feature of firm and books: share of the equity that is known, 0..1."""
MIN_COVERAGE: Final = 0.95
"""Coverage below which a drawdown or a loss asks for no more than WATCH."""


def requested_state(
    rule: Rule, condition: Condition | None, features: Mapping[str, float]
) -> State:
    """Return the state that a rule requests by its decisive condition.

    A drawdown or loss of an equity that is not known well enough asks for no more than WATCH.

    Examples
    --------
    >>> fall = Condition(feature="drawdown_bp", at=1000.0)
    >>> rule = Rule(id="r", scope_kind="firm", state=State.HALT, any=(fall,))
    >>> [requested_state(rule, fall, {"equity_coverage": c}).value for c in (0.95, 0.94)]
    ['HALT', 'WATCH']
    """
    if condition is None or condition.feature not in (DRAWDOWN_FEATURE, *LOSS_FEATURES):
        return rule.state
    known = features.get(COVERAGE_FEATURE, 0.0) >= MIN_COVERAGE
    return rule.state if known else rule.state.at_most(State.WATCH)


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """The condition ``feature >= at``.

    Attributes
    ----------
    feature : str
        Name of the feature that is compared.
    at : float
        Value from which the condition holds, in `unit`.
    unit : str
        Unit of the feature, for the explanation: bp, s, USD, share or count.
    """

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
        The state it requests.
    any : tuple of Condition
        Conditions; any of them fires the rule.
    unless_cause : tuple of Cause
        Causes under which the rule does not advance (a feed's fault is not the asset's).
    dwell_s : float
        How long the condition must be met in event time, seconds.
    observations : int
        Number of fresh observations that must confirm it (dwell in bars).
    exit : float
        Severity below which the rule may end, under 1.
    exit_dwell_s : float
        How long the severity must stay below `exit`, seconds.
    text : str
        Sentence with ``{value}``, ``{at}``, ``{unit}``, ``{scope}``, ``{feature}``; about a limit,
        also ``{limit}`` (its id), ``{subject}`` (the scope that it measures), ``{used}`` (in per
        cent), ``{warning}`` (from where it warns, in per cent) and ``{why}`` (why it is unknown).
    mode : Mode, optional
        Whether it binds, unless ``[risk]`` of the policy says otherwise of its id; it does by
        default.
    since : str, optional
        Release that shipped it first. A deployment that is older than the rule runs it as
        advisory until the policy names it in ``binding``.
    restriction : Restriction, optional
        What it restricts, unless ``[risk.restriction]`` of the policy says otherwise of its id; by
        default what that section says of the kind of its scope.
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
    restriction: Restriction | msgspec.UnsetType = msgspec.UNSET

    def severity(self, features: Mapping[str, float]) -> tuple[float, Condition | None]:
        """Return the largest value ÷ threshold over the conditions that have a value.

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
    """All rules, in file order.

    Attributes
    ----------
    rules : tuple of Rule
        The rules.
    """

    rules: tuple[Rule, ...]

    def of(self, scope_kind: str) -> tuple[Rule, ...]:
        """Return the rules of one kind of scope, in file order."""
        return tuple(r for r in self.rules if r.scope_kind == scope_kind)
