"""Choice of the probability from which a model requests WATCH, on random episodes only.

A request is measured like the most common static rule: by its false alarms, and by its lead before
a break. Each path counts by the frequency of such days.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from riskwatch.models.base import sigmoid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from riskwatch.models.base import RuleLogit

DEPEG_BP: Final = 80.0
"""A path that reaches this discount is a break."""
FALSE_ALARM_MIN: Final = 360
"""An alarm at most this long before a break is not a false alarm, minutes."""
RELEASE_MIN: Final = 60
"""An alarm ends after this long below its exit level, minutes."""
EXIT: Final = 0.3
"""Exit level as a share of the level: about the same as the rule's."""
LEVELS: Final = (0.5, 0.6, 0.7, 0.8, 0.84, 0.87, 0.9)
DWELLS: Final = (0, 1, 2, 5)
MONTH_MIN: Final = 30 * 24 * 60


class AskTrial(NamedTuple):
    """The result of one request.

    Attributes
    ----------
    name : str
        Level and dwell.
    vain : float
        False alarms per coin and month.
    lead_min : float
        Median minutes from the alarm to the break; negative if the alarm came after it.
    """

    name: str
    vain: float
    lead_min: float


def try_asks(
    rule: RuleLogit, threshold: float, paths: Sequence[Sequence[float]], weights: Sequence[float]
) -> Iterator[AskTrial]:
    """Try the plain rule with every dwell, then every level and dwell on one probability.

    Parameters
    ----------
    rule : RuleLogit
        Prior of the target, from which every generation starts.
    threshold : float
        Threshold of the target, bp.
    paths : sequence of sequence of float
        Discounts, minute by minute, bp.
    weights : sequence of float
        Weight of each path.
    """
    for dwell in DWELLS:
        yield _try_ask(f"20 bp for {dwell} min", 20.0, 14.0, dwell, paths, weights)
    for level in LEVELS:
        at, exit_level = (_discount(rule, threshold, share * level) for share in (1.0, EXIT))
        for dwell in DWELLS:
            name = f"p >= {level:g} ({at:.1f} bp) for {dwell} min"
            yield _try_ask(name, at, exit_level, dwell, paths, weights)


def _discount(rule: RuleLogit, threshold: float, probability: float) -> float:
    """Return the discount at which the rule gives this probability, bp, by bisection."""
    low, high = 0.0, 4.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if sigmoid(rule.logit(middle)) < probability else (low, middle)
    return high * threshold


def _try_ask(
    name: str,
    at: float,
    exit_level: float,
    dwell: int,
    paths: Sequence[Sequence[float]],
    weights: Sequence[float],
) -> AskTrial:
    false_alarms, months, leads = 0.0, 0.0, []
    for path, weight in zip(paths, weights, strict=True):
        months += weight * len(path) / MONTH_MIN
        broken = next((n for n, bp in enumerate(path) if bp >= DEPEG_BP), None)
        raised = list(_alarm_minutes(path, at, exit_level, dwell))
        near = [n for n in raised if broken is not None and n >= broken - FALSE_ALARM_MIN]
        false_alarms += weight * (len(raised) - len(near))
        if broken is not None:
            # Every break has the same weight, whatever its depth afterwards.
            leads.append(float(broken - near[0]) if near else -float(len(path)))
    return AskTrial(name, false_alarms / months, median(leads) if leads else float("nan"))


def _alarm_minutes(
    path: Sequence[float], at: float, exit_level: float, dwell: int
) -> Iterator[int]:
    """Yield the minutes at which the alarm is raised."""
    since: int | None = None
    below: int | None = None
    active = False
    for n, bp in enumerate(path):
        since = (
            (n if since is None else since) if bp >= (at if since is None else exit_level) else None
        )
        below = None if bp >= exit_level else n if below is None else below
        if not active and since is not None and bp >= at and n - since >= dwell:
            active = True
            yield n
        elif active and below is not None and n - below >= RELEASE_MIN:
            active = False
