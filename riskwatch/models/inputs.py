"""A state as generations are given it, and what several of them would work out of it alike."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from riskwatch.models.severity import squashed

if TYPE_CHECKING:
    from collections.abc import Mapping

Scales = tuple[tuple[str, float], ...]
Squashed = tuple[list[float], list[bool]]
"""Features in order, and whether each was there at all. Nobody may change either."""


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
        self, known: Mapping[str, float], severity: float, shared: dict[Squasher, Squashed]
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
    ([-0.25, 0.0], [True, False])
    """

    def __init__(self, scales: Scales) -> None:
        self.names = tuple(name for name, _ in scales)
        self._sizes = tuple(size for _, size in scales)

    def present(self, x: Mapping[Any, Any]) -> list[bool]:
        """Whether each feature is there at all; nobody may change the list."""
        if type(x) is Inputs:
            return self(x)[1]
        return [x.get(name) is not None for name in self.names]

    def __call__(self, x: Mapping[Any, Any]) -> Squashed:
        """Squash what is declared of a state."""
        shared = x.shared if type(x) is Inputs else None
        found = None if shared is None else shared.get(self)
        if found is None:
            values = [x.get(name) for name in self.names]
            inputs = list(map(squashed, values, self._sizes))
            found = inputs, [value is not None for value in values]
            if shared is not None:
                shared[self] = found
        return found


@lru_cache(maxsize=64)
def squasher(scales: Scales) -> Squasher:
    """Return one and the same squasher for equal scales, so that its results can be shared."""
    return Squasher(scales)
