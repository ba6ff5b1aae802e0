"""Generation 0: the static rules, as a generation beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from riskwatch.models.base import Score, known_severity
from riskwatch.models.severity import Anchor, sigmoid

if TYPE_CHECKING:
    from collections.abc import Mapping


class RulesGeneration:
    """The rule's severity as a probability; never learning.

    Parameters
    ----------
    anchor : float
        Stated probability at severity 1.
    slope : float
        Log-odds per doubling of the severity.
    floor : float
        See :class:`riskwatch.models.severity.Anchor`.

    Examples
    --------
    >>> RulesGeneration().score({"severity": 1.0}).probability
    0.5
    """

    learns: Final = False

    def __init__(self, anchor: float = 0.5, slope: float = 1.0, floor: float = 0.05) -> None:
        self._rule = Anchor(probability=anchor, slope=slope, floor=floor)

    def score(self, x: Mapping[str, float]) -> Score:
        """Score a state by its severity alone."""
        bias, part = self._rule.bias, self._rule.slope * self._rule.steps(x.get("severity"))
        logit = bias + part
        return Score(sigmoid(logit), logit, known_severity(x), {"bias": bias, "severity": part})

    def probability(self, x: Mapping[str, float]) -> float:
        """Return the probability alone."""
        return sigmoid(self._rule.bias + self._rule.slope * self._rule.steps(x.get("severity")))

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Change nothing: people change rules, labels do not."""

    def state(self) -> dict[str, Any]:
        """Nothing was learned."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Accept the empty state.

        Raises
        ------
        ValueError
            If there is anything in it, which is another model's.
        """
        if state:
            raise ValueError(f"rules keep no state, found {', '.join(sorted(state))}")
