"""Rule trackers: how long a rule's condition has been met, in event time and observations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.clock import SECOND

if TYPE_CHECKING:
    from riskwatch.core.enums import Cause
    from riskwatch.core.rules import Rule


class RuleTracker(msgspec.Struct, array_like=True):
    """Progress of one rule on one scope, with hysteresis.

    Attributes
    ----------
    active : bool
        Whether the rule requests its state now.
    held : int
        Event time for which its threshold has been met without falling below the exit,
        microseconds; -1 if it is not met.
    seen : int
        Fresh observations in that time.
    below : int
        While active, event time spent below the exit, microseconds.
    """

    active: bool = False
    held: int = -1
    seen: int = 0
    below: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether the tracker holds nothing and can be dropped."""
        return not self.active and self.held < 0

    @property
    def moving(self) -> bool:
        """Whether the passing of time alone can change it."""
        return (self.held >= 0 and not self.active) or (self.active and self.below > 0)


def update_tracker(
    tracker: RuleTracker,
    rule: Rule,
    severity: float | None,
    cause: Cause,
    elapsed: int,
    fresh: int,
) -> bool:
    """Update the tracker of a rule, and return whether it changed.

    Parameters
    ----------
    tracker : RuleTracker
        Changed in place.
    rule : Rule
        The rule.
    severity : float or None
        Largest value ÷ threshold. ``None`` if no feature is known: this neither confirms nor
        clears the rule, and its times do not advance.
    cause : Cause
        Cause of the movement; under a cause in `rule.unless_cause` times do not advance either.
    elapsed : int
        Event time since the last evaluation, microseconds.
    fresh : int
        Fresh observations since the last evaluation.

    Examples
    --------
    >>> from riskwatch.core.enums import Cause, State
    >>> from riskwatch.core.rules import Condition, Rule
    >>> rule = Rule(id="r", scope_kind="asset", state=State.WATCH, dwell_s=60.0,
    ...             any=(Condition(feature="discount_bp", at=20.0),))
    >>> tracker = RuleTracker()
    >>> for severity in (1.2, 0.8, 1.1):
    ...     _ = update_tracker(tracker, rule, severity, Cause.ISSUER, 60_000_000, 1)
    >>> tracker.active
    True
    """
    if severity is None or cause in rule.unless_cause:
        return False
    before = (tracker.active, tracker.held, tracker.seen, tracker.below)
    if severity < rule.exit:
        tracker.held, tracker.seen = -1, 0
        if tracker.active:
            # The first evaluation below the exit only starts the clock.
            tracker.below += elapsed if tracker.below else 1
            if tracker.below >= rule.exit_dwell_s * SECOND:
                tracker.active, tracker.below = False, 0
    else:
        tracker.below = 0
        if tracker.held >= 0:
            tracker.held += elapsed
            tracker.seen += fresh
        elif severity >= 1.0:
            # A rule needs at least one observation; if it needs more, only fresh ones count.
            tracker.held, tracker.seen = 0, 1 if rule.observations == 1 else min(fresh, 1)
        if (
            severity >= 1.0
            and tracker.held >= rule.dwell_s * SECOND
            and tracker.seen >= rule.observations
        ):
            tracker.active = True
        if tracker.active:
            # An active rule counts nothing: it ends only by staying below the exit.
            tracker.held, tracker.seen = 0, 0
    return before != (tracker.active, tracker.held, tracker.seen, tracker.below)
