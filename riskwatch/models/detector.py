"""Detectors of anomalies: their score of the telemetry of a scope is a feature of models.

A detector is an anomaly detector of River that all scopes of a kind share. It learns from the calm
moments at which a sample for a label is taken, after it has scored them. Its score is a feature of
models alone: no rule reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from river import base

from riskwatch.core.money import quantise
from riskwatch.errors import ModelError
from riskwatch.models.river_generation import RiverInputs
from riskwatch.models.river_pipeline import (
    build_estimator,
    export_state,
    import_state,
    is_exportable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.risk.scorer import DetectorConfig

MIDDLE = 0.5
"""Input of a feature that is unknown."""
DIGITS = 6
"""Decimal digits of its score."""


class Detector:
    """An anomaly detector of River over some features, each mapped to 0 to 1.

    Parameters
    ----------
    config : DetectorConfig
        Feature, estimator and inputs.

    Raises
    ------
    ModelError
        If the estimator is no anomaly detector, has no canonical export, or is refused.

    Examples
    --------
    >>> from riskwatch.core.risk.scorer import DetectorConfig
    >>> trees = {"use": "anomaly.HalfSpaceTrees", "n_trees": 5, "height": 4, "window_size": 20,
    ...          "seed": 1}
    >>> made = Detector(DetectorConfig(
    ...     feature="anomaly", pipeline=(trees,), scales={"vol_bp": 10.0, "sd_bp": 10.0}))
    >>> for n in range(40):
    ...     made.learn({"vol_bp": 1.0 + n % 3, "sd_bp": 2.0})
    >>> made.score({"vol_bp": 500.0, "sd_bp": 90.0}) > made.score({"vol_bp": 2.0, "sd_bp": 2.0})
    True
    """

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config
        try:
            self._inputs = RiverInputs(tuple(config.scales), config.scales)
            self._estimator: Any = build_estimator(config.pipeline)
        except ValueError as error:
            raise ModelError(f"detector {config.feature!r}: {error}") from error
        steps = getattr(self._estimator, "steps", {"": self._estimator})
        if not isinstance(list(steps.values())[-1], base.AnomalyDetector):
            raise ModelError(f"detector {config.feature!r} must end with an anomaly detector")
        if not is_exportable(self._estimator):
            raise ModelError(
                f"detector {config.feature!r} has no canonical export: does it have a seed?"
            )

    def fresh(self) -> Detector:
        """Return an untrained detector of the same configuration."""
        return Detector(self.config)

    def _given(self, x: Mapping[str, float]) -> dict[str, float]:
        """Return every input, from 0 to 1; an unknown one is in the middle."""
        known = self._inputs(x)
        return {
            name: 0.5 + 0.5 * known[name] if name in known else MIDDLE
            for name in self._inputs.names
        }

    def score(self, x: Mapping[str, float]) -> float:
        """Return how unusual some features are, 0 to 1; 0 until it has learned enough."""
        found = float(self._estimator.score_one(self._given(x)))
        return quantise(min(max(found, 0.0), 1.0), DIGITS)

    def learn(self, x: Mapping[str, float]) -> None:
        """Learn the features of a moment."""
        self._estimator.learn_one(self._given(x))

    def state(self) -> dict[str, Any]:
        """Return everything learned, as plain JSON."""
        return {"names": list(self._inputs.names), "export": export_state(self._estimator)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replace what was learned by `state`.

        Raises
        ------
        ValueError
            If `state` is of other features or another estimator.
        """
        if list(state["names"]) != list(self._inputs.names):
            raise ValueError(
                f"state must be of {', '.join(self._inputs.names)}, was of {state['names']}"
            )
        made = build_estimator(self.config.pipeline)
        import_state(made, state["export"])
        self._estimator = made
