"""Generation 2, fitted in batch: frozen trees, read from an artefact that says what it is."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from riskwatch.models.artefact import opened
from riskwatch.models.base import Generation, Score, known_severity
from riskwatch.models.rules import RulesGeneration
from riskwatch.models.severity import sigmoid
from riskwatch.models.trees import Forest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.models.artefact import Fitted

_SLOPE_MOST = 100.0


class BatchGeneration:
    """Frozen boosted trees of one target; it never learns.

    Parameters
    ----------
    artefact : str
        Text of an artefact; see :mod:`riskwatch.models.artefact`. In ``models.toml`` this
        option names the file, and the configuration hands its text in here.
    target : str
        Id of the target. Of a target that the artefact has no model for, it says what the rule
        says.
    anchor, slope, floor : float
        The rule as a probability; see :class:`~riskwatch.models.rules.RulesGeneration`.

    Raises
    ------
    ValueError
        If the artefact is not what its digest says, or holds what cannot be evaluated.
    """

    learns: Final = False

    def __init__(
        self,
        artefact: str,
        target: str = "",
        anchor: float = 0.5,
        slope: float = 1.0,
        floor: float = 0.05,
    ) -> None:
        self._text = artefact
        self._rule = RulesGeneration(anchor, slope, floor)
        opened(artefact)
        self._fitted, self._forest = _forests(artefact).get(target, (None, None))

    def of_target(self, target: str) -> Generation:
        """Return the generation for one target."""
        made = BatchGeneration(self._text, target)
        made._rule = self._rule
        return made

    def score(self, x: Mapping[str, float]) -> Score:
        """Score a state, with the share of every feature along the paths of the trees."""
        fitted, forest = self._fitted, self._forest
        if fitted is None or forest is None:
            return self._rule.score(x)
        margin, base, shares = forest.explained(x)
        slope = fitted.slope
        logit = fitted.intercept + slope * margin
        parts = {"bias": fitted.intercept + slope * base}
        parts |= {name: slope * share for name, share in shares.items()}
        return Score(sigmoid(logit), logit, known_severity(x), parts)

    def probability(self, x: Mapping[str, float]) -> float:
        """Return the probability alone."""
        fitted, forest = self._fitted, self._forest
        if fitted is None or forest is None:
            return self._rule.probability(x)
        return sigmoid(fitted.intercept + fitted.slope * forest.margin(x))

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Change nothing: it is frozen, and fitted anew by ``riskwatch fit``."""

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
            raise ValueError(f"a frozen model keeps no state, found {', '.join(sorted(state))}")


@lru_cache(maxsize=8)
def _forests(text: str) -> dict[str, tuple[Fitted | None, Forest | None]]:
    """By target, what was fitted, ready to be evaluated."""
    return {target: (fitted, _forest(fitted)) for target, fitted in opened(text).models.items()}


def _forest(fitted: Fitted) -> Forest:
    """Check a model, and make it ready."""
    sizes = {len(fitted.features), len(fitted.monotone), len(fitted.seen)}
    if len(sizes) != 1 or len(dict.fromkeys(fitted.features)) != len(fitted.features):
        raise ValueError("features, monotone and seen must be of one length, without repeats")
    if "bias" in fitted.features:
        raise ValueError("'bias' is reserved and cannot be a feature")
    if not 0.0 < fitted.slope <= _SLOPE_MOST or not abs(fitted.intercept) <= _SLOPE_MOST:
        raise ValueError(f"calibration must be in range, was {fitted.slope}, {fitted.intercept}")
    return Forest(fitted.features, fitted.baseline, fitted.trees)
