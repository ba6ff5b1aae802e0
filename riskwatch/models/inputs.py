"""A state as generations are given it, and what several of them would work out of it alike."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from riskwatch.models.severity import squashed

if TYPE_CHECKING:
    from collections.abc import Mapping

Scales = tuple[tuple[str, float], ...]


class Inputs(dict[str, float]):
    """What is known at one moment, with the severity for one target.

    One scope is asked about several targets at a time: nothing but the severity differs. What a
    model makes of everything else it may leave in `shared`, for the models of the other targets.

    Parameters
    ----------
    known : mapping
        Features.
    severity : float
        Measure ÷ threshold.
    shared : dict
        The same for all targets that are asked about at this moment.
    """

    __slots__ = ("shared",)

    def __init__(
        self, known: Mapping[str, float], severity: float, shared: dict[Squasher, list[float]]
    ) -> None:
        super().__init__(known)
        self["severity"] = severity
        self.shared = shared


class Squasher:
    """Squashes declared features; see :func:`riskwatch.models.severity.squashed`.

    Parameters
    ----------
    scales : tuple of (str, float)
        Features and the size at which each counts half; the severity is none of them.

    Examples
    --------
    >>> squasher((("velocity", 30.0), ("depth", 1.0)))({"velocity": -10.0})
    [-0.25, 0.0]
    """

    def __init__(self, scales: Scales) -> None:
        self.scales = scales

    def __call__(self, x: Mapping[Any, Any]) -> list[float]:
        """Return the squashed features in order; nobody may change the list."""
        shared = x.shared if type(x) is Inputs else None
        found = None if shared is None else shared.get(self)
        if found is None:
            found = [squashed(x.get(name), scale) for name, scale in self.scales]
            if shared is not None:
                shared[self] = found
        return found


@lru_cache(maxsize=64)
def squasher(scales: Scales) -> Squasher:
    """Return one and the same squasher for equal scales, so that its results can be shared."""
    return Squasher(scales)
