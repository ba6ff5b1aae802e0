"""Rule trackers: dwell time, hysteresis, and missing values."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from riskwatch.core.clock import MINUTE
from riskwatch.core.enums import Cause, State
from riskwatch.core.risk.tracker import RuleTracker, update_tracker
from riskwatch.core.rules import Condition, Rule

RULE = Rule(
    id="r", scope_kind="asset", state=State.REDUCE, any=(Condition(feature="x", at=1.0),),
    dwell_s=300.0, observations=2, exit=0.7, exit_dwell_s=600.0,
)  # fmt: skip


def go(*looks: tuple[float | None, int, int], cause: Cause = Cause.ISSUER) -> RuleTracker:
    """Track (severity, minutes since the last evaluation, fresh observations)."""
    tracker = RuleTracker()
    for severity, minutes, fresh in looks:
        update_tracker(tracker, RULE, severity, cause, minutes * MINUTE, fresh)
    return tracker


def test_fires_after_its_dwell_and_observations() -> None:
    """The rule does not fire before both are complete."""
    assert not go((1.5, 0, 1), (1.5, 4, 1)).active
    assert not go((1.5, 0, 1), (1.5, 5, 0)).active
    assert go((1.5, 0, 1), (1.5, 5, 1)).active


def test_the_band_between_exit_and_threshold_neither_fires_nor_starts_again() -> None:
    """A value in the band keeps the dwell; a fall below the exit resets it."""
    assert not go((1.5, 0, 1), (0.8, 5, 1)).active
    assert go((1.5, 0, 1), (0.8, 3, 1), (1.1, 2, 1)).active
    assert not go((1.5, 0, 1), (0.6, 3, 1), (1.1, 2, 1)).active


def test_lets_go_after_the_exit_dwell_below_the_exit() -> None:
    """In the band the rule stays active, and returning into it restarts the exit dwell."""
    on = ((1.5, 0, 1), (1.5, 5, 1))
    assert go(*on, (0.8, 100, 1)).active
    assert go(*on, (0.5, 1, 1), (0.5, 9, 1)).active
    assert not go(*on, (0.5, 1, 1), (0.5, 10, 1)).active
    assert go(*on, (0.5, 1, 1), (0.8, 5, 1), (0.5, 1, 1), (0.5, 5, 1)).active


def test_what_is_not_known_stands_still() -> None:
    """Without a value, or under an excused cause, no time is counted."""
    assert not go((1.5, 0, 1), (None, 60, 1), (1.5, 4, 1)).active
    assert go((1.5, 0, 1), (None, 60, 1), (1.5, 5, 1)).active
    on = ((1.5, 0, 1), (1.5, 5, 1))
    assert go(*on, (None, 6000, 0)).active
    assert not go(*on, cause=Cause.FEED).active


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.floats(0.0, 3.0)), st.integers(1, 20), st.integers(0, 3)),
        max_size=30,
    )
)
def test_never_without_enough_evidence(looks: list[tuple[float | None, int, int]]) -> None:
    """An active tracker has completed its dwell time and observations, and met the threshold."""
    tracker = RuleTracker()
    held, seen, reached = 0, 0, False
    for severity, minutes, fresh in looks:
        was = tracker.active
        update_tracker(tracker, RULE, severity, Cause.ISSUER, minutes * MINUTE, fresh)
        if severity is None:
            assert tracker.active == was
            continue
        if severity < RULE.exit:
            held, seen, reached = 0, 0, False
        elif not reached:
            held, seen, reached = 0, min(fresh, 1), severity >= 1.0
        else:
            held, seen = held + minutes, seen + fresh
        if tracker.active and not was:
            assert severity >= 1.0
            assert held >= 5
            assert seen >= RULE.observations
