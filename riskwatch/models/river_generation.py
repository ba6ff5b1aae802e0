"""Adapts estimators of River to the members of a generation: the only place that does so.

* :class:`RiverGeneration` takes any classifier. Its share of the log-odds grows with the labels.
* :class:`OffsetGeneration` takes a logistic regression behind transformers. The rule's log-odds
  are its offset, so that it learns the distance from the rule. All scopes of a kind may share it:
  then :class:`PooledMember` holds what is particular to one scope.
* :func:`river_by_name` builds one of both from the configuration.
"""

from __future__ import annotations

import math
import pickle
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final

import msgspec
from river import base, compose, linear_model, optim
from river.__version__ import __version__ as river_version

from riskwatch.models.base import (
    RuleLogit,
    RulesGeneration,
    Score,
    known_severity,
    mode_of,
    sigmoid,
    softsign,
)
from riskwatch.models.frozen import logit_of, occlusion_parts, restricted_loads
from riskwatch.models.river_pipeline import (
    MAX_STATE_BYTES,
    build_estimator,
    export_state,
    import_state,
    is_exportable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_FEATURES: Final = 32
_LARGEST: Final = 1e9
RESERVED: Final = ("bias", "entity", "trust_region", "agnostic")
"""Names of contributions that no feature may have."""


class RiverInputs:
    """The named features that an estimator of River gets.

    Parameters
    ----------
    features : sequence of str
        1 to 32 names. ``severity`` may be one of them.
    scales : mapping
        Size at which a feature counts half, by name: it is passed as ``x / (scale + |x|)``. A
        feature without a scale is passed as it is, within ±1e9.

    Raises
    ------
    ValueError
        If there are too many names or none, one is reserved, or a scale is out of range.
    """

    def __init__(self, features: Sequence[str], scales: Mapping[str, float] = {}) -> None:
        if not 0 < len(features) <= MAX_FEATURES:
            raise ValueError(f"1 to {MAX_FEATURES} features are needed, were {len(features)}")
        for name in features:
            if name in RESERVED:
                raise ValueError(f"{name!r} is reserved and cannot be a feature")
            if not 1e-12 <= scales.get(name, 1.0) <= 1e12:
                raise ValueError(f"scale of {name!r} must be in [1e-12, 1e12], was {scales[name]}")
        self.names = tuple(sorted(dict.fromkeys(features)))
        self._scales = {name: float(scales[name]) for name in self.names if name in scales}

    def __call__(self, x: Mapping[str, float]) -> dict[str, float]:
        """Return the inputs that are known, in the order of their names."""
        out = {}
        for name in self.names:
            value = x.get(name)
            if value is None or value != value:  # noqa: PLR0124 - the test for NaN
                continue
            scale = self._scales.get(name)
            if scale is None:
                out[name] = min(max(float(value), -_LARGEST), _LARGEST)
            else:
                out[name] = softsign(value, scale)
        return out


class RiverGeneration:
    """A River classifier as a generation.

    Until both labels have been seen, its score is the rule's. After that, the estimator's share
    of the log-odds is ``m / (m + half)``, where `m` counts the labels of the rarer class.
    Logistic regressions, also behind scalers, are explained exactly. Other estimators are
    explained by leaving out one feature at a time, and the part ``agnostic`` marks that.

    An estimator with a canonical export (:mod:`riskwatch.models.river_pipeline`) is stored as that.
    Any other is stored as a pickle that may contain named classes only
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
    scales : mapping
        See :class:`RiverInputs`.
    rule : RulesGeneration, optional
        The rule that it starts from.

    Raises
    ------
    TypeError
        If it is not a classifier, or gives no probabilities.
    ValueError
        If an option is out of range, or the estimator contains classes that cannot be read back.

    Notes
    -----
    A pickled estimator is pickled and read back at every label, so that a restored model gives
    equal results bit for bit. This takes time, but labels are much rarer than scores. Two processes
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
        scales: Mapping[str, float] = {},
        rule: RulesGeneration | None = None,
    ) -> None:
        _require_classifier(estimator)
        if not 0.0 < half <= 1e12:
            raise ValueError(f"half must be in (0, 1e12], was {half}")
        self._inputs = RiverInputs(features, scales)
        self._half = half
        self._max_bytes = max_bytes
        self._modules = modules
        self._rule = rule or RulesGeneration()
        self._made_of = type(estimator).__name__
        self._exports = is_exportable(estimator)
        self._blank = pickle.dumps(estimator)
        self._estimator = self._read(self._blank)
        self._stored = self._blank
        self.trues = self.falses = 0
        self.full = False

    def _read(self, stored: bytes) -> Any:
        """Read an estimator back; raise ValueError if it is not allowed."""
        return restricted_loads(stored, modules=self._modules, max_bytes=self._max_bytes)

    def score(self, x: Mapping[str, float]) -> Score:
        """Score the features of one moment. This has no side effect."""
        rule = self._rule.score(x)
        rarer = min(self.trues, self.falses)
        share = rarer / (rarer + self._half)
        named = dict.fromkeys(name for name in self._inputs.names if name in x)
        if not share:
            parts = {**dict.fromkeys(named, 0.0), **rule.contributions}
            return Score(rule.probability, rule.logit, rule.severity, parts)
        explained = self._explained(self._inputs(x))
        parts = {name: (1.0 - share) * part for name, part in rule.contributions.items()}
        for name, part in explained.items():
            parts[name] = parts.get(name, 0.0) + share * part
        logit = math.fsum(parts.values())
        return Score(sigmoid(logit), logit, known_severity(x), parts)

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
        if self._exports:
            self._estimator.learn_one(self._inputs(x), bool(y))
            return
        try:
            self._estimator.learn_one(self._inputs(x), bool(y))
            stored = pickle.dumps(self._estimator)
        except (ArithmeticError, ValueError):
            stored = self._stored  # an example that the estimator cannot take is ignored
        if len(stored) > self._max_bytes:
            stored, self.full = self._stored, True
        self._estimator, self._stored = self._read(stored), stored

    def state(self) -> dict[str, Any]:
        """Return everything learned, as plain JSON."""
        if self._exports:
            learned: dict[str, Any] = {"export": export_state(self._estimator)}
        else:
            learned = {"pickle": b64encode(self._stored).decode("ascii")}
        return {
            "estimator": self._made_of,
            "river": river_version,
            **learned,
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
        if "pickle" not in state:
            if not self._exports:
                raise ValueError(f"a {self._made_of} of these arguments has no canonical export")
            read, stored = self._read(self._blank), self._blank
            import_state(read, state["export"])
        else:
            stored = b64decode(state["pickle"], validate=True)
            read = self._read(stored)
            if type(read).__name__ != self._made_of:
                raise ValueError(f"state must hold a {self._made_of}, held a {type(read).__name__}")
        self._estimator, self._stored = read, stored
        self.trues, self.falses = int(state["trues"]), int(state["falses"])
        self.full = bool(state["full"])


def _require_classifier(estimator: Any) -> None:
    """Raise a TypeError unless an estimator is a classifier that gives probabilities."""
    if not isinstance(estimator, base.Classifier | compose.Pipeline):
        raise TypeError(f"a River classifier is needed, was {type(estimator).__name__}")
    last = _steps(estimator)[-1]
    if not isinstance(last, base.Classifier):
        raise TypeError(f"{type(last).__name__} is no classifier, so it gives no probabilities")


def _require_small(estimator: Any, names: Iterable[str]) -> None:
    """Raise a ValueError if what it learns of these features is larger than a row may be."""
    if not is_exportable(estimator):
        return
    tried = estimator.clone()
    for n in range(1, 4):
        tried.learn_one({name: (n + i) / 7.0 for i, name in enumerate(names)}, n != 2)
    size = len(msgspec.json.encode(export_state(tried)))
    if size > MAX_STATE_BYTES:
        raise ValueError(f"its state would have {size} bytes, more than {MAX_STATE_BYTES}")


def _is_pipeline(estimator: Any) -> bool:
    return isinstance(estimator, compose.Pipeline)


def _steps(estimator: Any) -> list[Any]:
    """Return the steps of a pipeline; an estimator alone is its only step."""
    return list(estimator.steps.values()) if _is_pipeline(estimator) else [estimator]


def _linear_parts(estimator: Any, given: dict[str, float]) -> dict[str, float] | None:
    """Return the exact parts of a logistic regression, bare or behind transformers; else None."""
    x: dict[Any, Any] = dict(given)
    *before, last = _steps(estimator)
    for step in before:
        if not isinstance(step, base.Transformer):
            return None
        x = step.transform_one(x)
    logistic = isinstance(last, linear_model.LogisticRegression)
    if not logistic or not isinstance(last.loss, optim.losses.Log) or "bias" in x:
        return None
    weights = last.weights
    parts = {name: float(value) * float(weights.get(name, 0.0)) for name, value in x.items()}
    return {"bias": float(last.intercept), **parts}


# A logistic regression with the rule as its offset, alone or shared by all scopes of a kind.


class OffsetLog(optim.losses.Log):
    """Logarithmic loss of log-odds to which an offset is added.

    River's regressions have no offset. Their loss sees every prediction, so the offset is added
    there; `offset` is set before each example.
    """

    offset = 0.0

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        """Return the gradient at the prediction with its offset."""
        return super().gradient(y_true, y_pred + self.offset)


class OffsetGeneration:
    r"""A River logistic regression whose offset is the rule.

    The log-odds are the rule's, plus what the regression learned, plus a shift of the scope if the
    model is shared. Before any label it is the rule. What was learned moves the log-odds by at most
    ``radius_max * m / (m + radius_half)``, where `m` counts the labels of the rarer class.

    Parameters
    ----------
    estimator : river estimator
        A logistic regression with the logarithmic loss, bare or behind transformers.
    features : sequence of str
        Names of its inputs, at most 32.
    scales : mapping
        See :class:`RiverInputs`.
    anchor, slope, floor : float
        The rule; see :class:`riskwatch.models.base.RuleLogit`.
    label_weight : float
        Share of a label's information that counts, in (0, 1].
    radius_max, radius_half : float
        Largest distance from the rule, logit units, 0 to 100; and the labels of the rarer class at
        which half of it is allowed, positive.
    shift_sd : float
        Standard deviation of the shifts of scopes around the pool, logit units, in (0, 10].
    shift_half_life : float
        Labels of a scope after which half of its shift is forgotten, 1 to 1e9.

    Raises
    ------
    TypeError
        If the estimator is of another kind, or has no canonical export.
    ValueError
        If an option is out of range.

    Examples
    --------
    >>> from river import preprocessing
    >>> made = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    >>> pool = OffsetGeneration(made, ["velocity_bp"], {"velocity_bp": 10.0}, radius_half=5.0)
    >>> one, other = pool.member(), pool.member()
    >>> fast, calm = {"severity": 0.5, "velocity_bp": 30.0}, {"severity": 0.5, "velocity_bp": 0.0}
    >>> for _ in range(200):
    ...     one.learn(fast, True)
    ...     one.learn(calm, False)
    >>> other.score(fast).probability > other.score(calm).probability
    True
    """

    def __init__(
        self,
        estimator: Any,
        features: Sequence[str],
        scales: Mapping[str, float] = {},
        anchor: float = 0.5,
        slope: float = 1.0,
        floor: float = 0.05,
        label_weight: float = 1.0,
        radius_max: float = 4.0,
        radius_half: float = 20.0,
        shift_sd: float = 0.5,
        shift_half_life: float = 2_000.0,
    ) -> None:
        last = _steps(estimator)[-1]
        if not is_offset_regression(estimator):
            raise TypeError(f"a logistic regression must be its last step, was {type(last)}")
        if not is_exportable(estimator):
            raise TypeError("it has no canonical export: a step of it or its optimizer has none")
        for name, value, most in (
            ("label_weight", label_weight, 1.0),
            ("shift_sd", shift_sd, 10.0),
            ("radius_half", radius_half, 1e12),
        ):
            if not 0.0 < value <= most:
                raise ValueError(f"{name} must be in (0, {most:g}], was {value}")
        if not 0.0 <= radius_max <= 100.0:
            raise ValueError(f"radius_max must be in [0, 100], was {radius_max}")
        if not 1.0 <= shift_half_life <= 1e9:
            raise ValueError(f"shift_half_life must be in [1, 1e9] labels, was {shift_half_life}")
        self._inputs = RiverInputs(features, scales)
        self._rule = RuleLogit(probability=anchor, slope=slope, floor=floor)
        self.label_weight = label_weight
        self.shift_variance = shift_sd * shift_sd
        self.shift_fade = math.pow(0.5, 1.0 / shift_half_life)
        self._radius = (radius_max, radius_half)
        self._blank, self._made_of = estimator, [type(step).__name__ for step in _steps(estimator)]
        self._estimator, self._loss = self._untrained()
        self.trues = self.falses = 0

    def _untrained(self) -> tuple[Any, OffsetLog]:
        """Return an untrained estimator with a loss that has an offset."""
        made, loss = self._blank.clone(), OffsetLog()
        _steps(made)[-1].loss = loss
        return made, loss

    def member(self) -> PooledMember:
        """Return the part of one scope, which has learned nothing yet."""
        return PooledMember(self)

    @property
    def radius(self) -> float:
        """Largest distance from the rule's log-odds now, logit units."""
        most, half = self._radius
        rarer = min(self.trues, self.falses)
        return most * rarer / (rarer + half)

    def distance(self, x: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """Return the learned distance from the rule before the bound, and its parts."""
        parts = _linear_parts(self._estimator, self._inputs(x))
        if parts is None:
            raise ValueError("a transformer gave a feature named 'bias'")
        return math.fsum(parts.values()), parts

    def rule_parts(self, x: Mapping[str, float]) -> tuple[float, float]:
        """Return the bias and the severity part of the rule, logit units."""
        return self._rule.bias, self._rule.slope * self._rule.steps(x.get("severity"))

    def bounded(self, distance: float) -> float:
        """Return a distance from the rule within the radius."""
        radius = self.radius
        return max(min(distance, radius), -radius)

    def explain(self, x: Mapping[str, float], shift: float = 0.0) -> Score:
        """Score the features, with the shift of a scope."""
        bias, severity = self.rule_parts(x)
        free, learned = self.distance(x)
        free += shift
        bounded = self.bounded(free)
        parts = {name: 0.0 for name in self._inputs.names if name in x}
        parts |= {"bias": bias, "severity": severity}
        for name, part in learned.items():
            parts[name] = parts.get(name, 0.0) + part
        if shift:
            parts["entity"] = shift
        parts["trust_region"] = bounded - free
        logit = bias + severity + bounded
        return Score(sigmoid(logit), logit, known_severity(x), parts)

    def score(self, x: Mapping[str, float]) -> Score:
        """Score the features of one moment. This has no side effect."""
        return self.explain(x)

    def probability(self, x: Mapping[str, float], shift: float = 0.0) -> float:
        """Return the probability alone."""
        bias, severity = self.rule_parts(x)
        return sigmoid(bias + severity + self.bounded(self.distance(x)[0] + shift))

    def learn(self, x: Mapping[str, float], y: bool, shift: float = 0.0) -> None:
        """Learn from a matured label of a scope with this shift."""
        bias, severity = self.rule_parts(x)
        self._loss.offset = bias + severity + shift
        self._estimator.learn_one(self._inputs(x), bool(y), w=self.label_weight)
        self.trues += bool(y)
        self.falses += not y

    def state(self) -> dict[str, Any]:
        """Return everything learned, as plain JSON."""
        return {
            "estimator": list(self._made_of),
            "river": river_version,
            "rule": [self._rule.probability, self._rule.slope, self._rule.floor],
            "export": export_state(self._estimator),
            "trues": self.trues,
            "falses": self.falses,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replace what was learned by `state`.

        Raises
        ------
        ValueError
            If `state` is of another estimator, River version or rule.
        """
        rule = [self._rule.probability, self._rule.slope, self._rule.floor]
        mine = {"estimator": self._made_of, "river": river_version, "rule": rule}
        for key, value in mine.items():
            if state[key] != value:
                raise ValueError(f"state must be of {key} {value}, was of {state[key]}")
        made, loss = self._untrained()
        import_state(made, state["export"])
        self._estimator, self._loss = made, loss
        self.trues, self.falses = int(state["trues"]), int(state["falses"])


def is_offset_regression(estimator: Any) -> bool:
    """Return whether an estimator is a logistic regression behind transformers alone."""
    *before, last = _steps(estimator)
    return (
        isinstance(last, linear_model.LogisticRegression)
        and type(last.loss) is optim.losses.Log
        and all(isinstance(step, base.Transformer) for step in before)
    )


class PooledMember:
    """The part of one scope in a shared model: a shift that is drawn to the pool.

    The shift is a normal variable around 0. Each label of the scope moves it by a Laplace step, and
    it fades, so a scope with few labels or old ones is like the pool.

    Parameters
    ----------
    pool : OffsetGeneration
        The shared model. It learns from the labels of all its members.
    """

    __slots__ = ("labels", "mean", "pool", "variance")

    def __init__(self, pool: OffsetGeneration) -> None:
        self.pool = pool
        self.mean, self.variance = 0.0, pool.shift_variance
        self.labels = 0

    def score(self, x: Mapping[str, float]) -> Score:
        """Score the features of one moment. This has no side effect."""
        return self.pool.explain(x, self.mean)

    def probability(self, x: Mapping[str, float]) -> float:
        """Return the probability alone."""
        return self.pool.probability(x, self.mean)

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Learn from a matured label: first the shift, then the pool with the former shift."""
        pool, before = self.pool, self.mean
        bias, severity = pool.rule_parts(x)
        fade = pool.shift_fade
        kept = fade * fade
        mean = fade * before
        variance = kept * self.variance + (1.0 - kept) * pool.shift_variance
        logit = bias + severity + pool.distance(x)[0] + mean
        weight = pool.label_weight
        p = sigmoid(mode_of(logit, weight * variance, label=bool(y)))
        curvature = weight * p * (1.0 - p)
        self.mean = mean + weight * (bool(y) - p) * variance
        self.variance = variance / (1.0 + curvature * variance)
        self.labels += 1
        pool.learn(x, y, before)

    def state(self) -> dict[str, Any]:
        """Return what was learned about the scope, as plain JSON."""
        return {"shift": self.mean, "variance": self.variance, "labels": self.labels}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replace what was learned about the scope by `state`.

        Raises
        ------
        ValueError
            If a number of it is not finite.
        """
        mean, variance = float(state["shift"]), float(state["variance"])
        if not (math.isfinite(mean) and math.isfinite(variance) and variance > 0.0):
            raise ValueError(f"shift and variance must be finite, were {mean} and {variance}")
        self.mean, self.variance, self.labels = mean, variance, int(state["labels"])


def river_by_name(
    pipeline: Sequence[Mapping[str, Any]],
    scales: Mapping[str, float],
    anchor: float = 0.5,
    slope: float = 1.0,
    floor: float = 0.05,
    pickled: bool = False,
    **options: Any,
) -> RiverGeneration | OffsetGeneration:
    """Return a generation whose estimator is named in the configuration.

    Parameters
    ----------
    pipeline : sequence of mapping
        Steps; see :func:`riskwatch.models.river_pipeline.build_estimator`.
    scales : mapping
        Its features with the size at which each counts half; 1 to 32.
    anchor, slope, floor : float
        The rule that it starts from.
    pickled : bool
        Whether an estimator without a canonical export is wanted. The configuration allows it to a
        shadow only.
    **options
        Options of :class:`OffsetGeneration` for a logistic regression behind transformers, and
        else of :class:`RiverGeneration`.

    Raises
    ------
    TypeError, ValueError
        If the pipeline or an option is refused, or a canonical export is missing and `pickled` is
        false.

    Examples
    --------
    >>> steps = [{"use": "preprocessing.StandardScaler"},
    ...          {"use": "linear_model.LogisticRegression", "l2": 0.01}]
    >>> river_by_name(steps, {"velocity_bp": 10.0}).score({"severity": 1.0}).probability
    0.5
    """
    made = build_estimator(pipeline)
    _require_classifier(made)
    _require_small(made, scales)
    if is_offset_regression(made) and is_exportable(made):
        return OffsetGeneration(
            made, list(scales), scales, anchor=anchor, slope=slope, floor=floor, **options
        )
    if not (pickled or is_exportable(made)):
        raise ValueError(
            "its state has no canonical export: set pickled = true, which a shadow alone may"
        )
    rule = RulesGeneration(anchor, slope, floor)
    return RiverGeneration(made, list(scales), scales=scales, rule=rule, **options)
