"""Parser of the name of a prediction target, such as ``depeg(discount 50bp, 1h)``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from riskwatch.core.clock import DAY, HOUR, MINUTE, SECOND

_SPANS: Final = {"d": DAY, "h": HOUR, "min": MINUTE, "m": MINUTE, "s": SECOND}
_PATTERN: Final = re.compile(
    r"depeg\((?:(?P<side>discount|premium|either) )?(?P<level>[\d.]+) ?bp, "
    r"(?P<span>[\d.]+) ?(?P<unit>d|h|min|m|s)(?:, from (?P<start>[\d.]+) ?bp)?\)"
)


@dataclass(frozen=True, slots=True)
class DepegTarget:
    """``depeg``: a deviation reaches `level_bp` within `horizon` (microseconds).

    `side` is ``discount``, ``premium`` or ``either``. The target is open while the measure is below
    the level and, for an escalation, at `start_bp` or above.
    """

    level_bp: float
    horizon: int
    side: str = "discount"
    start_bp: float | None = None

    def measure(self, deviation_bp: float) -> float:
        """Return the size of a deviation to the dangerous side, bp."""
        if self.side == "discount":
            return -deviation_bp
        return abs(deviation_bp) if self.side == "either" else deviation_bp

    def open(self, deviation_bp: float) -> bool:
        """Return whether the target is open at this deviation."""
        measure = self.measure(deviation_bp)
        return measure < self.level_bp and (self.start_bp is None or measure >= self.start_bp)


def parse(target: str) -> DepegTarget | None:
    """Parse a target's name; return ``None`` for a target that is not scored here.

    Examples
    --------
    >>> parse("depeg(discount 200bp, 1h, from 50bp)")
    DepegTarget(level_bp=200.0, horizon=3600000000, side='discount', start_bp=50.0)
    >>> parse("slippage(USDC, 1m)") is None
    True
    """
    found = _PATTERN.fullmatch(target)
    if found is None:
        return None
    start = found["start"]
    return DepegTarget(
        level_bp=float(found["level"]),
        horizon=int(float(found["span"]) * _SPANS[found["unit"]]),
        side=found["side"] or "discount",
        start_bp=None if start is None else float(start),
    )
