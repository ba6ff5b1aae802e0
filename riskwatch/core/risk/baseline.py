"""Baselines: the usual location and scale of a quantity, which adapt slowly.

A baseline must tell two things apart. In a new *regime* the quantity moves, say, ten times as much;
the scale adapts to it with a stated half-life. A *bleed* of, say, two basis points an hour for days
must never become the new normal. The location is therefore slow, stays near par if there is one,
and is frozen while the scope is at WATCH or above, for at most `freeze_max_s`.

The scale measures movements within hours: the distance to a fast level, not to the location. A
bleed therefore neither widens the scale nor hides in it. Distances are clipped at four scales, so
that one bad print has little effect. Clipping slows the adaptation; a shorter memory compensates
for this, so that half of a tenfold volatility is taken up within the stated half-life.

Exponential weights in event time; see R. G. Brown, "Smoothing, Forecasting and Prediction of
Discrete Time Series" (1963). The clipping is P. J. Huber's, "Robust Estimation of a Location
Parameter", Ann. Math. Statist. 35 (1964).
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Final

import msgspec

from riskwatch.core.bounds import Positive
from riskwatch.core.clock import SECOND

CLIP: Final = 4.0
"""Distances are clipped at this many scales."""
MAKE_UP: Final = 0.7
"""Memory of the scale as a share of the stated half-life; it compensates for the clipping."""
SCALE_MIN: Final = 0.1
"""Smallest scale, in the unit of the quantity: a feed that does not move is not exact."""
GAP_S: Final = 900.0
"""Longest time for which one price counts, whatever time passed before it, seconds."""
_NORMAL: Final = sqrt(pi / 2.0)  # standard deviation of a normal ÷ its mean absolute deviation


class BaselineConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of baselines (``[risk.baseline]``).

    Attributes
    ----------
    location_half_life_s : float
        Half-life of the location of a pegged asset's deviation, seconds.
    scale_half_life_s : float
        Half-life of every scale, seconds: half of a new volatility is taken up within it.
    level_half_life_s : float
        Half-life of the fast level that the scale is measured against, seconds.
    party_half_life_s : float
        Half-life of the location of a venue's withdrawal time, seconds.
    freeze_max_s : float
        Longest time for which a location is frozen at WATCH and above, seconds.
    par_bp : float
        Largest distance of an asset's location from its peg, bp.
    bleed_bp, bleed_scales : float
        ``bleed_ratio`` is 1 when an asset's level is below its location by the larger of the two:
        a distance in bp, and a number of scales.
    """

    location_half_life_s: Positive = 86_400.0
    scale_half_life_s: Positive = 21_600.0
    level_half_life_s: Positive = 1_200.0
    party_half_life_s: Positive = 604_800.0
    freeze_max_s: Positive = 604_800.0
    par_bp: Positive = 5.0
    bleed_bp: Positive = 10.0
    bleed_scales: Positive = 4.0


class Baseline(msgspec.Struct, array_like=True):
    """Baseline of one quantity.

    Attributes
    ----------
    us : int
        Time of the last observation, microseconds.
    location, level : float
        The slow and the fast mean.
    scale : float
        Standard deviation about the level.
    frozen : int
        Time since which the location is frozen, microseconds; -1 if it is not.
    held : float
        The scale at that time.
    """

    us: int
    location: float
    level: float
    scale: float
    frozen: int = -1
    held: float = 0.0

    def current_scale(self) -> float:
        """Return the scale for comparisons: while the location is frozen, at most the held scale.

        Otherwise the volatility of a break would make the break itself look normal.
        """
        return min(self.scale, self.held) if self.frozen >= 0 else self.scale

    def update(
        self,
        value: float,
        us: int,
        config: BaselineConfig,
        *,
        half_life_s: float,
        alarmed: bool,
        bound: float | None = None,
        gap_s: float = GAP_S,
    ) -> None:
        """Update the baseline by one observation.

        Parameters
        ----------
        value : float
            Observed value.
        us : int
            Its time, microseconds; an observation not newer than the last one is ignored.
        config : BaselineConfig
            Half-lives.
        half_life_s : float
            Half-life of the location, seconds.
        alarmed : bool
            Whether the scope is at WATCH or above.
        bound : float, optional
            Largest absolute value of the location.
        gap_s : float
            Longest time for which the observation counts, seconds.
        """
        if us <= self.us:
            return
        passed = min((us - self.us) / SECOND, gap_s)
        self.us = us
        if not alarmed:
            self.frozen = -1
        elif self.frozen < 0:
            self.frozen, self.held = us, self.scale
        distance = max(-CLIP * self.scale, min(CLIP * self.scale, value - self.level))
        self.level += _weight(passed, config.level_half_life_s) * distance
        spread = _weight(passed, MAKE_UP * config.scale_half_life_s)
        self.scale += spread * (_NORMAL * abs(distance) - self.scale)
        self.scale = max(self.scale, SCALE_MIN)
        if self.frozen < 0 or us - self.frozen > config.freeze_max_s * SECOND:
            # The location follows the level, which is clipped: one print cannot move it either.
            self.location += _weight(passed, half_life_s) * (self.level - self.location)
            if bound is not None:
                self.location = max(-bound, min(bound, self.location))


def _weight(passed_s: float, half_life_s: float) -> float:
    """Return the weight of the newest observation after `passed_s` seconds."""
    return 1.0 - float(2.0 ** (-passed_s / half_life_s))
