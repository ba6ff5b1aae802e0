"""From which probability on a model should ask for WATCH: tried on invented paths, and no others.

An ask is judged like the rule that everybody has: by how often it is raised in vain, and by how
long before a break is plain it is raised. The paths count by how often days like them come.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

from riskwatch.models.base import sigmoid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from riskwatch.models.base import RuleLogit

DEPEG_BP: Final = 80.0
"""A path that comes so far is a break."""
FALSE_ALARM_MIN: Final = 360
"""What was raised so long before a break, at most, was not raised in vain, minutes."""
RELEASE_MIN: Final = 60
"""It lets go after so long below where it lets go, minutes."""
EXIT: Final = 0.3
"""An ask lets go below this share of its level: about where the rule does."""
LEVELS: Final = (0.5, 0.6, 0.7, 0.8, 0.84, 0.87, 0.9)
DWELLS: Final = (0, 1, 2, 5)
MONTH_MIN: Final = 30 * 24 * 60


class AskTrial(NamedTuple):
    """How one ask did.

    Attributes
    ----------
    name : str
        Level and dwell.
    vain : float
        Alarms in vain per coin and month.
    lead_min : float
        Median minutes from the alarm to the break; negative where it came after.
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
    rule : Anchor
        Prior of the target: where every generation starts.
    threshold : float
        Of the target, bp.
    paths : sequence of sequence of float
        Discounts, minute by minute, bp.
    weights : sequence of float
        How much each path counts.
    """
    for dwell in DWELLS:
        yield _try_ask(f"20 bp for {dwell} min", 20.0, 14.0, dwell, paths, weights)
    for level in LEVELS:
        at, let = (_discount(rule, threshold, share * level) for share in (1.0, EXIT))
        for dwell in DWELLS:
            name = f"p >= {level:g} ({at:.1f} bp) for {dwell} min"
            yield _try_ask(name, at, let, dwell, paths, weights)


def _discount(rule: RuleLogit, threshold: float, probability: float) -> float:
    """Discount at which the rule gives a target this probability, bp: by bisection."""
    low, high = 0.0, 4.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if sigmoid(rule.logit(middle)) < probability else (low, middle)
    return high * threshold


def _try_ask(
    name: str,
    at: float,
    let: float,
    dwell: int,
    paths: Sequence[Sequence[float]],
    weights: Sequence[float],
) -> AskTrial:
    vain, months, leads = 0.0, 0.0, []
    for path, weight in zip(paths, weights, strict=True):
        months += weight * len(path) / MONTH_MIN
        broken = next((n for n, bp in enumerate(path) if bp >= DEPEG_BP), None)
        raised = list(_alarm_minutes(path, at, let, dwell))
        near = [n for n in raised if broken is not None and n >= broken - FALSE_ALARM_MIN]
        vain += weight * (len(raised) - len(near))
        if broken is not None:
            # Evenly by break: how deep it went afterwards makes none of them dearer to miss.
            leads.append(float(broken - near[0]) if near else -float(len(path)))
    return AskTrial(name, vain / months, median(leads) if leads else float("nan"))


def _alarm_minutes(path: Sequence[float], at: float, let: float, dwell: int) -> Iterator[int]:
    """Minutes at which it is raised."""
    since: int | None = None
    below: int | None = None
    active = False
    for n, bp in enumerate(path):
        since = (n if since is None else since) if bp >= (at if since is None else let) else None
        below = None if bp >= let else n if below is None else below
        if not active and since is not None and bp >= at and n - since >= dwell:
            active = True
            yield n
        elif active and below is not None and n - below >= RELEASE_MIN:
            active = False
