"""Wraps a River classifier as a generation."""

from __future__ import annotations

import math
import pickle
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final

from river import base, compose, linear_model, optim
from river.__version__ import __version__ as river_version

from riskwatch.models.base import RulesGeneration, Score, known_severity, sigmoid
from riskwatch.models.frozen import logit_of, occlusion_parts, restricted_loads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_FEATURES: Final = 32
_LARGEST: Final = 1e9


class RiverGeneration:
    """A River classifier as a generation.

    Until both labels have been seen, its score is the rule's. After that, the estimator's share
    of the log-odds is ``m / (m + half)``, where `m` counts the labels of the rarer class.
    Logistic regressions, also behind scalers, are explained exactly. Other estimators are
    explained by leaving out one feature at a time, and the part ``agnostic`` marks that.

    The estimator is stored as a pickle that may contain named classes only
    (:mod:`riskwatch.models.frozen`). An estimator that would grow beyond `max_bytes` stops
    learning: it keeps its last state that fits, and ``full`` in the state is true.

    Parameters
    ----------
    estimator : river.base.Classifier or river.compose.Pipeline
        An untrained classifier.
    features : sequence of str
        Names of the features that it gets, at most 32. ``severity`` may be one of them.
    half : float
        Labels of the rarer class at which its share is one half, positive.
    max_bytes : int
        Largest size of its pickle.
    modules : tuple of str
        Modules of your own package whose classes the estimator contains.

    Raises
    ------
    TypeError
        If it is not a classifier, or gives no probabilities.
    ValueError
        If an option is out of range, or the estimator contains classes that cannot be read back.

    Notes
    -----
    The estimator is pickled and read back at every label, so that a restored model gives equal
    results bit for bit. This takes time, but labels are much rarer than scores. Two processes
    with different string hashes may store different bytes of the same model. The scores are
    equal.

    Examples
    --------
    >>> from river import preprocessing
    >>> model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> generation = RiverGeneration(model, features=["severity", "velocity_bp"])
    >>> generation.score({"severity": 1.0, "velocity_bp": 3.0}).probability
    0.5
    """

    def __init__(
        self,
        estimator: base.Classifier | compose.Pipeline,
        features: Sequence[str],
        half: float = 20.0,
        max_bytes: int = 40_960,
        modules: tuple[str, ...] = (),
    ) -> None:
        if not isinstance(estimator, base.Classifier | compose.Pipeline):
            raise TypeError(f"a River classifier is needed, was {type(estimator).__name__}")
        if not hasattr(estimator, "predict_proba_one"):
            raise TypeError(f"{type(estimator).__name__} gives no probabilities")
        if not 0 < len(features) <= MAX_FEATURES:
            raise ValueError(f"1 to {MAX_FEATURES} features are needed, were {len(features)}")
        if not 0.0 < half <= 1e12:
            raise ValueError(f"half must be in (0, 1e12], was {half}")
        self._features = tuple(sorted(dict.fromkeys(features)))
        self._half = half
        self._max_bytes = max_bytes
        self._modules = modules
        self._rule = RulesGeneration()
        self._made_of = type(estimator).__name__
        self._stored = pickle.dumps(estimator)
        self._estimator = self._read(self._stored)
        self.trues, self.falses, self.full = 0, 0, False

    def _read(self, stored: bytes) -> Any:
        """Read an estimator back; raise ValueError if it is not allowed."""
        return restricted_loads(stored, modules=self._modules, max_bytes=self._max_bytes)

    def score(self, x: Mapping[str, float]) -> Score:
        """Score the features of one moment. This has no side effect."""
        rule = self._rule.score(x)
        rarer = min(self.trues, self.falses)
        share = rarer / (rarer + self._half)
        named = dict.fromkeys(name for name in self._features if name in x)
        if not share:
            parts = {**dict.fromkeys(named, 0.0), **rule.contributions}
            return Score(rule.probability, rule.logit, rule.severity, parts)
        explained = self._explained(self._given(x))
        parts = {name: (1.0 - share) * part for name, part in rule.contributions.items()}
        for name, part in explained.items():
            parts[name] = parts.get(name, 0.0) + share * part
        logit = math.fsum(parts.values())
        return Score(sigmoid(logit), logit, known_severity(x), parts)

    def _given(self, x: Mapping[str, float]) -> dict[str, float]:
        """Return the inputs of the estimator: known features, clipped to ±1e9."""
        return {
            name: min(max(float(x[name]), -_LARGEST), _LARGEST)
            for name in self._features
            if name in x and x[name] == x[name]
        }

    def _explained(self, given: dict[str, float]) -> dict[str, float]:
        """Return parts that sum to the estimator's log-odds."""
        exact = _linear_parts(self._estimator, given)
        if exact is not None and all(map(math.isfinite, exact.values())):
            return exact
        without = {
            name: self._logit({k: v for k, v in given.items() if k != name}) for name in given
        }
        return occlusion_parts(self._logit(given), self._logit({}), without)

    def _logit(self, given: dict[str, float]) -> float:
        try:
            probability = self._estimator.predict_proba_one(dict(given)).get(True, 0.0)
        except (ArithmeticError, ValueError):
            return 0.0
        return logit_of(float(probability))

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Learn from a matured label, unless the estimator is full."""
        self.trues += bool(y)
        self.falses += not y
        if self.full:
            return
        try:
            self._estimator.learn_one(self._given(x), bool(y))
            stored = pickle.dumps(self._estimator)
        except (ArithmeticError, ValueError):
            stored = self._stored  # an example that the estimator cannot take is ignored
        if len(stored) > self._max_bytes:
            stored, self.full = self._stored, True
        self._estimator, self._stored = self._read(stored), stored

    def state(self) -> dict[str, Any]:
        """Return everything learned, as plain JSON."""
        return {
            "estimator": self._made_of,
            "river": river_version,
            "pickle": b64encode(self._stored).decode("ascii"),
            "trues": self.trues,
            "falses": self.falses,
            "full": self.full,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replace what was learned by `state`.

        Raises
        ------
        ValueError
            If `state` is of another estimator or River version, or names a class that is not
            allowed.
        """
        for key, mine in (("estimator", self._made_of), ("river", river_version)):
            if state[key] != mine:
                raise ValueError(f"state must be of {key} {mine}, was of {state[key]}")
        stored = b64decode(state["pickle"], validate=True)
        read = self._read(stored)
        if type(read).__name__ != self._made_of:
            raise ValueError(f"state must hold a {self._made_of}, held a {type(read).__name__}")
        self._estimator, self._stored = read, stored
        self.trues, self.falses = int(state["trues"]), int(state["falses"])
        self.full = bool(state["full"])


def _linear_parts(estimator: Any, given: dict[str, float]) -> dict[str, float] | None:
    """Return the exact parts of a logistic regression, bare or behind transformers; else None."""
    x: dict[Any, Any] = dict(given)
    if isinstance(estimator, compose.Pipeline):
        *before, estimator = estimator.steps.values()
        for step in before:
            if not isinstance(step, base.Transformer):
                return None
            x = step.transform_one(x)
    logistic = isinstance(estimator, linear_model.LogisticRegression)
    if not logistic or not isinstance(estimator.loss, optim.losses.Log) or "bias" in x:
        return None
    weights = estimator.weights
    parts = {name: float(value) * float(weights.get(name, 0.0)) for name, value in x.items()}
    return {"bias": float(estimator.intercept), **parts}
