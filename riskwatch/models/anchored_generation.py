"""Generations 1 and 2: the online models around the rule, as generations beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from riskwatch.models.adaptive import AdaptiveLogisticRegression
from riskwatch.models.anchored import AnchoredLogisticRegression
from riskwatch.models.base import Score, known_severity
from riskwatch.models.severity import sigmoid

if TYPE_CHECKING:
    from collections.abc import Mapping


class AnchoredGeneration:
    """An :class:`~riskwatch.models.anchored.AnchoredLogisticRegression` on the ladder.

    Parameters
    ----------
    **options
        Of the model.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of its range.

    Examples
    --------
    >>> generation = AnchoredGeneration(scales={"velocity": 20.0})
    >>> score = generation.score({"severity": 1.0, "velocity": 500.0})
    >>> score.probability, score.contributions["trust_region"]
    (0.5, 0.0)
    """

    model: AnchoredLogisticRegression | AdaptiveLogisticRegression

    def __init__(self, **options: Any) -> None:
        self.model = AnchoredLogisticRegression(**options)

    def score(self, x: Mapping[str, float]) -> Score:
        """Score a state; no side effect."""
        logit, contributions = self.model.explained(x)
        return Score(sigmoid(logit), logit, known_severity(x), contributions)

    def probability(self, x: Mapping[str, float]) -> float:
        """Return the probability alone."""
        return sigmoid(self.model.logit_one(x))

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Learn from a matured label."""
        self.model.learn_one(dict(x), y)

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain JSON."""
        return self.model.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state` describes."""
        self.model.restore(state)


class AdaptiveGeneration(AnchoredGeneration):
    """An :class:`~riskwatch.models.adaptive.AdaptiveLogisticRegression` on the ladder.

    Parameters
    ----------
    **options
        Of the model.

    Raises
    ------
    TypeError, ValueError
        If an option is unknown or out of its range.

    Examples
    --------
    >>> generation = AdaptiveGeneration(scales={"velocity": 20.0})
    >>> generation.score({"severity": 1.0, "velocity": 500.0}).probability
    0.5
    """

    def __init__(self, **options: Any) -> None:
        self.model = AdaptiveLogisticRegression(**options)
