"""What is usual: a location and a scale that adapt, without forgetting what went wrong.

Two things must not be confused. A *regime* (it moves ten times as much today) is taken up by the
scale, whose half-life is stated. A *bleed* (two basis points an hour, for days) must never become
the new normal: the location is slow, stays near par where there is one, and stands still while
the scope is at WATCH or above, for at most `freeze_max_s`.

The scale is that of what moves within hours: the distance to a fast level, not to the location.
So a bleed does not widen it and cannot hide in it. Distances count up to four scales, so that one
bad print is next to nothing; what that costs in speed is made up for by a shorter memory, so that
half of a tenfold volatility is taken up within the stated half-life.

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
"""Distances count up to this many scales."""
MAKE_UP: Final = 0.7
"""Memory of the scale as a share of the stated half-life, for what clipping holds it up."""
SCALE_MIN: Final = 0.1
"""No scale is smaller, in the unit of the quantity: a feed that stands still is not exact."""
GAP_S: Final = 900.0
"""One price speaks for no longer than this, whatever time passed before it, seconds."""
_NORMAL: Final = sqrt(pi / 2.0)  # standard deviation of a normal ÷ its mean absolute deviation


class BaselineConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast baselines adapt, and when they do not.

    Attributes
    ----------
    location_half_life_s : float
        Of the location of a pegged coin's deviation, seconds.
    scale_half_life_s : float
        Of every scale, seconds: half of a new volatility is taken up after this long or sooner.
    level_half_life_s : float
        Of the fast level that the scale is measured against, seconds.
    party_half_life_s : float
        Of the location of a venue's usual withdrawal time, seconds.
    freeze_max_s : float
        Longest time for which a location stands still at WATCH and above, seconds.
    par_bp : float
        Furthest from its peg that the location of a coin can get, bp.
    bleed_bp, bleed_scales : float
        ``bleed_ratio`` is 1 where a coin's level is below its location by the larger of the two:
        bp, and scales.
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
    """Where one quantity usually is, and how much it usually moves.

    Attributes
    ----------
    us : int
        When it was last seen, microseconds.
    location, level : float
        The slow and the fast mean.
    scale : float
        Standard deviation about the level.
    frozen : int
        Since when the location stands still, microseconds; -1 if it does not.
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
        """Scale to judge by: while the location stands still, no more than when it stopped.

        Otherwise the turmoil of a break would excuse it.
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
        """Take in an observation.

        Parameters
        ----------
        value : float
            What was seen.
        us : int
            When, microseconds; what is not newer than the last one is ignored.
        config : BaselineConfig
            Half-lives.
        half_life_s : float
            Of the location, seconds.
        alarmed : bool
            Whether the scope is at WATCH or above.
        bound : float, optional
            Largest size of the location.
        gap_s : float
            Longest time that the observation speaks for, seconds.
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
            # From the level, which is clipped: a print cannot move what is usual either.
            self.location += _weight(passed, half_life_s) * (self.level - self.location)
            if bound is not None:
                self.location = max(-bound, min(bound, self.location))


def _weight(passed_s: float, half_life_s: float) -> float:
    """Weight of the newest observation after so much time."""
    return 1.0 - float(2.0 ** (-passed_s / half_life_s))
