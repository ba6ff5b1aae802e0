"""The anchored and the adaptive generation, and the regression that forgets with a half-life."""

from __future__ import annotations

import math
from itertools import compress
from operator import mul
from typing import TYPE_CHECKING, Any, Final

from riskwatch.models.anchored import (
    AnchoredLogisticRegression,
    RuleAnchoredRegression,
    check_scales,
    softsign_scaler,
)
from riskwatch.models.base import RuleLogit, Score, known_severity, mode_of, sigmoid

if TYPE_CHECKING:
    from collections.abc import Mapping


RESERVED: Final = ("bias", "severity")
"""Names of contributions that no feature may have."""
_REACH: Final = 5.0  # Doublings of the severity within which a slope is learned.
_SLOPE_SHARE: Final = 0.125  # Least share of the rule's slope that labels can leave.


class AdaptiveLogisticRegression(RuleAnchoredRegression):
    r"""Dynamic logistic regression whose weights return to a rule.

    The log-odds are the rule's plus :math:`w^\top z`, with `z` one, the doublings of the
    severity (within five of 1), and each feature as ``x / (scale + |x|)``. Before any label
    `w` is 0: the model is the rule.

    The weights are a dynamic state [1]_. Before each label they fade by
    :math:`\varphi = 2^{-1/\mathrm{half\_life}}` towards 0, and their variances towards the
    prior's, :math:`v \leftarrow \varphi^2 v + (1-\varphi^2) v_0`. So an unobserved weight returns
    to its prior (a stationary first-order autoregression [2]_). Then a Laplace step with
    independent weights applies the label: the mode along the direction that the label informs is
    found exactly, and the curvature there shrinks each variance.

    Unlike the anchored model it has no trust region: only the prior holds it near the rule. So it
    learns the base rate of calm within a day, and follows a change of regime within its
    half-life.

    Parameters
    ----------
    scales : dict of str to float, optional
        Features to learn from (at most 16), with the size at which each counts half, in its
        own unit. Other features are ignored. A missing or NaN feature contributes nothing.
    anchor : float
        Probability at severity 1 before any label, in (0, 1).
    slope : float
        Log-odds per doubling of the severity before any label.
    floor : float
        See :class:`~riskwatch.models.base.RuleLogit`.
    half_life : float
        Labels after which half of what was learned is forgotten, 1 to 1e9.
    bias_sd, slope_sd, weight_sd : float
        Prior standard deviations, positive, at most 10.
    label_weight : float
        Share of a label's information that counts, in (0, 1]. Where horizons overlap, use
        about the spacing of labels ÷ the horizon.

    Raises
    ------
    ValueError
        If an argument is out of its range, or a feature has a reserved name.

    Notes
    -----
    Arithmetic is plain Python in fixed order with correctly rounded sums. The model uses no
    random numbers and no clock. Time and memory per label are linear in the features.

    References
    ----------
    .. [1] T. H. McCormick, A. E. Raftery, D. Madigan, R. S. Burd, "Dynamic logistic regression
       and dynamic model averaging for binary classification", Biometrics 68 (2012) 23-30.
    .. [2] M. West and J. Harrison, "Bayesian Forecasting and Dynamic Models", 2nd ed. (1997),
       section 9.

    Examples
    --------
    >>> model = AdaptiveLogisticRegression(scales={"velocity": 10.0}, half_life=200.0)
    >>> calm, fast = {"severity": 0.5, "velocity": 0.0}, {"severity": 0.5, "velocity": 40.0}
    >>> round(model.predict_proba_one(fast)[True], 2)
    0.28
    >>> for _ in range(100):
    ...     model.learn_one(calm, False)
    ...     model.learn_one(fast, True)
    >>> [round(model.predict_proba_one(x)[True], 2) for x in (calm, fast)]
    [0.17, 0.86]
    >>> {name: round(part, 2) for name, part in model.explain_one(fast).items()}
    {'bias': -0.53, 'severity': -1.09, 'velocity': 3.44}
    """

    def __init__(
        self,
        scales: dict[str, float] | None = None,
        anchor: float = 0.5,
        slope: float = 1.0,
        floor: float = 0.05,
        half_life: float = 2_000.0,
        bias_sd: float = 2.0,
        slope_sd: float = 0.5,
        weight_sd: float = 1.0,
        label_weight: float = 1.0,
    ) -> None:
        self.scales = scales
        self.anchor = anchor
        self.slope = slope
        self.floor = floor
        self.half_life = half_life
        self.bias_sd = bias_sd
        self.slope_sd = slope_sd
        self.weight_sd = weight_sd
        self.label_weight = label_weight
        self._check()
        self._rule = RuleLogit(probability=anchor, slope=slope, floor=floor)
        self._scaled = tuple((name, float(s)) for name, s in sorted((scales or {}).items()))
        self._scaler = softsign_scaler(self._scaled)
        self._fade = math.pow(0.5, 1.0 / half_life)
        sds = [bias_sd, slope_sd] + [weight_sd] * len(self._scaled)
        self._prior = [sd * sd for sd in sds]
        self._mean, self._var = [0.0] * len(sds), list(self._prior)
        self.labels = 0

    def _check(self) -> None:
        """Check that the arguments are in range."""
        check_scales(self.scales or {}, RESERVED)
        for name in ("bias_sd", "slope_sd", "weight_sd"):
            if not 0.0 < getattr(self, name) <= 10.0:
                raise ValueError(f"{name} must be in (0, 10], was {getattr(self, name)}")
        if not 0.0 < self.label_weight <= 1.0:
            raise ValueError(f"label_weight must be in (0, 1], was {self.label_weight}")
        if not 1.0 <= self.half_life <= 1e9:
            raise ValueError(f"half_life must be in [1, 1e9] labels, was {self.half_life}")

    def _inputs(self, x: Mapping[Any, Any]) -> tuple[list[float], float]:
        """Return the inputs of the regression, and the rule's part of the severity."""
        steps = self._rule.steps(x.get("severity"))
        inputs = [1.0, min(max(steps, -_REACH), _REACH), *self._scaler(x)[0]]
        return inputs, self._rule.slope * steps

    def logit_one(self, x: Mapping[Any, Any]) -> float:
        """Return the log-odds of the features; finite."""
        inputs, rule = self._inputs(x)
        return math.fsum([self._rule.bias, rule, *map(mul, self._mean, inputs)])

    def decompose(self, x: Mapping[Any, Any]) -> tuple[float, dict[str, float]]:
        """Return the log-odds of the features and their contributions, in logit units.

        The parts are ``bias``, ``severity`` and each declared feature that is present. They sum
        to the log-odds up to the rounding of one float per part.
        """
        inputs, rule = self._inputs(x)
        parts = list(map(mul, self._mean, inputs))
        named = {"bias": self._rule.bias + parts[0], "severity": rule + parts[1]}
        scaler = self._scaler
        named.update(compress(zip(scaler.names, parts[2:], strict=True), scaler.present(x)))
        return math.fsum([self._rule.bias, rule, *parts]), named

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        """Learn from one matured label.

        Raises
        ------
        ValueError
            If `y` is not true or false: an unlabelled state is not an example.
        """
        if y not in (False, True):
            raise ValueError(f"label must be True or False, was {y!r}")
        label, fade = bool(y), self._fade
        mean = [fade * m for m in self._mean]
        kept = fade * fade
        var = [kept * v + (1.0 - kept) * p for v, p in zip(self._var, self._prior, strict=True)]
        inputs, rule = self._inputs(x)
        along = list(map(mul, var, inputs))
        spread = math.fsum(map(mul, along, inputs))
        before = math.fsum([self._rule.bias, rule, *map(mul, mean, inputs)])
        weight = self.label_weight
        p = sigmoid(mode_of(before, weight * spread, label=label))
        step = weight * (label - p)
        curvature = weight * p * (1.0 - p)
        shrink = curvature / (1.0 + curvature * spread)
        self._mean = [m + step * a for m, a in zip(mean, along, strict=True)]
        self._var = [v - shrink * a * a for v, a in zip(var, along, strict=True)]
        # More severity must never lower the score, whatever the labels are.
        self._mean[1] = max(self._mean[1], (_SLOPE_SHARE - 1.0) * self._rule.slope)
        self.labels += 1

    def state(self) -> dict[str, Any]:
        """Return everything learned, as plain JSON (names, numbers, lists)."""
        return {
            "rule": [self.anchor, self.slope, self.floor],
            "scales": [[name, scale] for name, scale in self._scaled],
            "mean": list(self._mean),
            "variance": list(self._var),
            "labels": self.labels,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replace what was learned by `state`.

        A feature that is missing in the state, or has another scale there, starts at its prior.
        A feature that is no longer declared is dropped.

        Raises
        ------
        ValueError
            If the state was learned around another rule, or is inconsistent.
        """
        rule, mean, var = [self.anchor, self.slope, self.floor], state["mean"], state["variance"]
        if list(state["rule"]) != rule:
            raise ValueError(f"state must be of the rule {rule}, was of {list(state['rule'])}")
        old = {(name, scale): i for i, (name, scale) in enumerate(state["scales"], start=2)}
        if len(mean) != len(old) + 2 or len(var) != len(mean):
            raise ValueError(f"state must have {len(old) + 2} weights, had {len(mean)}")
        at = [0, 1, *(old.get(key, -1) for key in self._scaled)]
        self._mean = [float(mean[p]) if p >= 0 else 0.0 for p in at]
        self._var = [float(var[p]) if p >= 0 else v for p, v in zip(at, self._prior, strict=True)]
        self.labels = int(state["labels"])


class AnchoredGeneration:
    """Generation 1: an online :class:`~riskwatch.models.anchored.AnchoredLogisticRegression`.

    Parameters
    ----------
    **options
        Options of the model.

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
        """Score the features of one moment. This has no side effect."""
        logit, contributions = self.model.decompose(x)
        return Score(sigmoid(logit), logit, known_severity(x), contributions)

    def probability(self, x: Mapping[str, float]) -> float:
        """Return the probability alone."""
        return sigmoid(self.model.logit_one(x))

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Learn from a matured label."""
        self.model.learn_one(dict(x), y)

    def state(self) -> dict[str, Any]:
        """Return everything learned, as plain JSON."""
        return self.model.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Replace what was learned by `state`."""
        self.model.restore(state)


class AdaptiveGeneration(AnchoredGeneration):
    """Generation 2: an online :class:`~riskwatch.models.adaptive.AdaptiveLogisticRegression`.

    Parameters
    ----------
    **options
        Options of the model.

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
