"""Explains any model at all, where nothing exact exists; and says that it is not exact."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

AGNOSTIC: Final = "agnostic"
"""Name of the part that marks an explanation as not exact: what features do only together."""
_CLIP: Final = 1e-6


def logit_of(probability: float) -> float:
    """Log-odds of a probability within [1e-6, 1 - 1e-6]; NaN counts as a half.

    Examples
    --------
    >>> logit_of(0.5), logit_of(0.0) == logit_of(1e-9), logit_of(float("nan"))
    (0.0, True, 0.0)
    """
    if math.isnan(probability):
        return 0.0
    p = min(max(probability, _CLIP), 1.0 - _CLIP)
    return math.log(p) - math.log1p(-p)


def occluded(whole: float, nothing: float, without: Mapping[str, float]) -> dict[str, float]:
    """Parts that sum to the log-odds, from what they are without each feature.

    A feature's part is what the log-odds lose without it. What features do only together is in
    no part of one of them: that remainder is the part :data:`AGNOSTIC`.

    Parameters
    ----------
    whole : float
        Log-odds of the state.
    nothing : float
        Log-odds with no feature at all.
    without : mapping
        Log-odds without one feature, by its name.

    Examples
    --------
    >>> occluded(2.0, -1.0, {"a": 0.5, "b": 1.0})
    {'bias': -1.0, 'a': 1.5, 'b': 1.0, 'agnostic': 0.5}
    """
    parts = {"bias": nothing, **{name: whole - less for name, less in without.items()}}
    return {**parts, AGNOSTIC: whole - math.fsum(parts.values())}
