"""What the regressions around a rule share: the features they take, and how they are asked."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

from river import base

from riskwatch.models.severity import sigmoid

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FEATURES: Final = 16
"""Beside the severity."""


def check_scales(scales: Mapping[str, float], reserved: tuple[str, ...]) -> None:
    """Refuse features that could not be learned from.

    Raises
    ------
    ValueError
        If there are too many, one has a reserved name, or its scale is out of range.
    """
    if len(scales) > MAX_FEATURES:
        raise ValueError(f"at most {MAX_FEATURES} features may be declared, got {len(scales)}")
    for name, scale in scales.items():
        if name in reserved:
            raise ValueError(f"{name!r} is reserved and cannot be a feature")
        if not 1e-12 <= scale <= 1e12:
            raise ValueError(f"scale of {name!r} must be in [1e-12, 1e12], was {scale}")


class AroundRule(base.Classifier):
    """A logistic regression around a rule: asked for a probability, or for its parts."""

    @abstractmethod
    def logit_one(self, x: Mapping[Any, Any]) -> float:
        """Log-odds of a state; finite."""

    @abstractmethod
    def explained(self, x: Mapping[Any, Any]) -> tuple[float, dict[str, float]]:
        """Log-odds of a state and what it is made of, in logit units."""

    def explain_one(self, x: Mapping[Any, Any]) -> dict[str, float]:
        """Additive contributions to :meth:`logit_one`; see :meth:`explained`."""
        return self.explained(x)[1]

    def predict_proba_one(
        self,
        x: dict[Any, Any],
        **kwargs: Any,  # noqa: ARG002 - River's signature
    ) -> dict[Any, float]:
        """Probability of each label; no side effect."""
        p = sigmoid(self.logit_one(x))
        return {False: 1.0 - p, True: p}
