"""Any River classifier as a generation: sane before its first label, bounded, restorable."""

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
    """A River classifier on the ladder.

    It says what the rule says until both labels have been seen, and then ever more of what the
    estimator says: its share of the log-odds is ``m / (m + half)``, with `m` the labels of the
    rarer class. Logistic regressions, also behind scalers, are explained exactly; others by
    leaving out one feature at a time, which the part ``agnostic`` marks.

    The estimator is stored as a pickle that only named classes may be in
    (:mod:`riskwatch.models.frozen`). One that would grow beyond `max_bytes` learns no more:
    it stays what it was when it last fitted, and its state says ``full``.

    Parameters
    ----------
    estimator : river.base.Classifier or river.compose.Pipeline
        A fresh one.
    features : sequence of str
        What it is given, at most 32 names; no others. ``severity`` may be one of them.
    half : float
        Labels of the rarer class at which it counts half, positive.
    max_bytes : int
        Of its pickle.
    modules : tuple of str
        Modules of a package of your own whose classes the estimator is made of.

    Raises
    ------
    TypeError
        If it is no classifier, or gives no probabilities.
    ValueError
        If an option is out of range, or the estimator is made of what cannot be read back.

    Notes
    -----
    The estimator is pickled and read back at every label, so that a restored model goes on to
    the last bit. That takes time: labels are seldom, scores are not. Two processes whose
    strings hash otherwise may store other bytes of the same model; what it says is equal.

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
        """Read an estimator back; ValueError if it may not be."""
        return restricted_loads(stored, modules=self._modules, max_bytes=self._max_bytes)

    def score(self, x: Mapping[str, float]) -> Score:
        """Score a state; no side effect."""
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
        """What the estimator is given: known numbers, none beyond a billion."""
        return {
            name: min(max(float(x[name]), -_LARGEST), _LARGEST)
            for name in self._features
            if name in x and x[name] == x[name]
        }

    def _explained(self, given: dict[str, float]) -> dict[str, float]:
        """Parts that sum to the estimator's log-odds."""
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
        """Learn from a matured label."""
        self.trues += bool(y)
        self.falses += not y
        if self.full:
            return
        try:
            self._estimator.learn_one(self._given(x), bool(y))
            stored = pickle.dumps(self._estimator)
        except (ArithmeticError, ValueError):
            stored = self._stored  # what it could not take is as if it had not been
        if len(stored) > self._max_bytes:
            stored, self.full = self._stored, True
        self._estimator, self._stored = self._read(stored), stored

    def state(self) -> dict[str, Any]:
        """Everything learned, as plain JSON."""
        return {
            "estimator": self._made_of,
            "river": river_version,
            "pickle": b64encode(self._stored).decode("ascii"),
            "trues": self.trues,
            "falses": self.falses,
            "full": self.full,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state` describes.

        Raises
        ------
        ValueError
            If it is of another estimator or another River, or names what it may not.
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
    """Exact parts of a logistic regression, bare or behind transformers; else ``None``."""
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
