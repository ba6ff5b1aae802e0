"""Online Bayesian logistic regression that stays near a rule, and inputs of such models."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import lru_cache
from itertools import compress
from operator import itemgetter, mul
from typing import TYPE_CHECKING, Any, Final

from river import base

from riskwatch.models.base import RuleLogit, mode_of, sigmoid, softsign

if TYPE_CHECKING:
    from collections.abc import Mapping


# Base class of the regressions around a rule, and the check of their features.

MAX_FEATURES: Final = 16
"""Largest number of declared features, without the severity."""


def check_scales(scales: Mapping[str, float], reserved: tuple[str, ...]) -> None:
    """Check the names and scales of declared features.

    Raises
    ------
    ValueError
        If there are too many features, one has a reserved name, or a scale is out of range.
    """
    if len(scales) > MAX_FEATURES:
        raise ValueError(f"at most {MAX_FEATURES} features may be declared, got {len(scales)}")
    for name, scale in scales.items():
        if name in reserved:
            raise ValueError(f"{name!r} is reserved and cannot be a feature")
        if not 1e-12 <= scale <= 1e12:
            raise ValueError(f"scale of {name!r} must be in [1e-12, 1e12], was {scale}")


class RuleAnchoredRegression(base.Classifier):
    """Base class of logistic regressions around a rule."""

    @abstractmethod
    def logit_one(self, x: Mapping[Any, Any]) -> float:
        """Return the log-odds of the features; finite."""

    @abstractmethod
    def decompose(self, x: Mapping[Any, Any]) -> tuple[float, dict[str, float]]:
        """Return the log-odds of the features and their contributions, in logit units."""

    def explain_one(self, x: Mapping[Any, Any]) -> dict[str, float]:
        """Return additive contributions to :meth:`logit_one`; see :meth:`decompose`."""
        return self.decompose(x)[1]

    def predict_proba_one(
        self,
        x: dict[Any, Any],
        **kwargs: Any,  # noqa: ARG002 - River's signature
    ) -> dict[Any, float]:
        """Return the probability of each label. This has no side effect."""
        p = sigmoid(self.logit_one(x))
        return {False: 1.0 - p, True: p}


# Inputs of generations, with scaled features that several models share.

Scales = tuple[tuple[str, float], ...]
SoftsignFeatures = tuple[list[float], list[bool]]
"""Scaled features in order, and whether each was present. Do not modify them."""


class Inputs(dict[str, float]):
    """Features of one moment, with the severity for one target.

    A scope is scored for several targets at a time, and only the severity differs between them.
    Models keep results that do not depend on the severity in `shared`, for the models of the
    other targets.

    Parameters
    ----------
    known : mapping
        Features.
    severity : float
        Measure ÷ threshold.
    shared : dict
        Results shared by all targets that are scored at this moment.
    """

    __slots__ = ("shared",)

    def __init__(
        self,
        known: Mapping[str, float],
        severity: float,
        shared: dict[SoftsignScaler, SoftsignFeatures],
    ) -> None:
        super().__init__(known)
        self["severity"] = severity
        self.shared = shared


class SoftsignScaler:
    """Scales declared features by softsign; see :func:`riskwatch.models.base.softsign`.

    Parameters
    ----------
    scales : tuple of (str, float)
        Features, with the size at which each counts half; without the severity.

    Examples
    --------
    >>> softsign_scaler((("velocity", 30.0), ("depth", 1.0)))({"velocity": -10.0})
    ([-0.25, 0.0], [True, False])
    """

    def __init__(self, scales: Scales) -> None:
        self.names = tuple(name for name, _ in scales)
        self._sizes = tuple(size for _, size in scales)

    def present(self, x: Mapping[Any, Any]) -> list[bool]:
        """Return whether each feature is present. Do not modify the list."""
        if type(x) is Inputs:
            return self(x)[1]
        return [x.get(name) is not None for name in self.names]

    def __call__(self, x: Mapping[Any, Any]) -> SoftsignFeatures:
        """Return the scaled declared features."""
        shared = x.shared if type(x) is Inputs else None
        found = None if shared is None else shared.get(self)
        if found is None:
            values = [x.get(name) for name in self.names]
            inputs = list(map(softsign, values, self._sizes))
            found = inputs, [value is not None for value in values]
            if shared is not None:
                shared[self] = found
        return found


@lru_cache(maxsize=64)
def softsign_scaler(scales: Scales) -> SoftsignScaler:
    """Return the same scaler object for equal scales, so that its results can be shared."""
    return SoftsignScaler(scales)


RESERVED: Final = ("bias", "severity", "trust_region")
"""Names of contributions that no feature may have."""
_REACH: Final = 5.0  # Doublings of the severity within which a slope is learned.
_SLOPE_SHARE: Final = 0.125  # Least share of the rule's slope that labels can leave.


class AnchoredLogisticRegression(RuleAnchoredRegression):
    r"""Logistic regression on a rule's severity and scaled features, anchored at the rule.

    The prior is the rule: :math:`\mathrm{logit} = b + a\,g(s)`, with `s` the feature
    ``severity`` (largest value ÷ threshold) and `g` its doublings
    (:class:`~riskwatch.models.base.RuleLogit`); every other weight starts at 0. Features enter
    as ``x / (scale + |x|)``, so no input is further than 1 from 0. The learned slope of the
    severity acts within five doublings of 1; beyond that the rule's own slope applies.

    Each label updates mean and full covariance by sequential Laplace approximation: the mode
    of prior times likelihood is found exactly along the one direction that a label informs, and
    the curvature there shrinks the covariance [1]_. A `forgetting` below 1 inflates the
    covariance before each label (a discount factor [2]_), never beyond the prior's.

    The logit stays in a trust region: ``|logit - rule's logit| <= radius`` with
    ``radius = radius_max * m / (m + radius_half)``, where `m` is the smaller of the counts of
    true and false labels so far. Until both labels have been seen the score *is* the rule's. The
    slope stays positive, so more severity never means a lower logit, other features being equal.

    Parameters
    ----------
    scales : dict of str to float, optional
        Features to learn from (at most 16), with the size at which each counts half, in its
        own unit. Other features are ignored. A missing or NaN feature contributes nothing.
    anchor : float
        Probability at severity 1, in (0, 1).
    slope : float
        Log-odds per doubling of the severity, before any label.
    floor : float
        Added to the severity before doublings are counted. Below it the scale turns flat.
    bias_sd, slope_sd, weight_sd : float
        Prior standard deviations, positive, at most 10: the smaller, the stronger the rule.
    label_weight : float
        Share of a label's information that counts, in (0, 1]. Where horizons overlap, use
        about the spacing of labels ÷ the horizon.
    forgetting : float
        Discount factor per label, in (0, 1]; 1 forgets nothing.
    radius_max : float
        Largest distance from the rule, logit units, 0 to 100.
    radius_half : float
        Labels of the rarer class at which the radius is half of `radius_max`, positive.

    Raises
    ------
    ValueError
        If an argument is out of its range, or a feature has a reserved name.

    Notes
    -----
    Arithmetic is plain Python in fixed order with correctly rounded sums, so a replay is equal
    bit for bit. The model uses no random numbers and no clock.

    References
    ----------
    .. [1] D. J. Spiegelhalter and S. L. Lauritzen, "Sequential updating of conditional
       probabilities on directed graphical structures", Networks 20 (1990) 579-605.
    .. [2] M. West and J. Harrison, "Bayesian Forecasting and Dynamic Models", 2nd ed. (1997),
       section 6.3.

    Examples
    --------
    >>> import random
    >>> rng = random.Random(42)
    >>> model = AnchoredLogisticRegression(scales={"velocity": 10.0}, radius_half=20.0)
    >>> calm = {"severity": 0.5, "velocity": 0.0}
    >>> fast = {"severity": 0.5, "velocity": 40.0}
    >>> model.predict_proba_one(calm) == model.predict_proba_one(fast)
    True
    >>> for _ in range(200):
    ...     x = {"severity": rng.random(), "velocity": rng.choice((0.0, 40.0))}
    ...     model.learn_one(x, x["velocity"] > 0.0 and rng.random() < 0.8)
    >>> [round(model.predict_proba_one(x)[True], 2) for x in (calm, fast)]
    [0.15, 0.62]
    >>> {name: round(part, 2) for name, part in model.explain_one(fast).items()}
    {'bias': -1.38, 'severity': -0.35, 'velocity': 2.23, 'trust_region': 0.0}
    """

    def __init__(
        self,
        scales: dict[str, float] | None = None,
        anchor: float = 0.5,
        slope: float = 1.0,
        floor: float = 0.05,
        bias_sd: float = 1.0,
        slope_sd: float = 0.25,
        weight_sd: float = 0.5,
        label_weight: float = 1.0,
        forgetting: float = 1.0,
        radius_max: float = 3.0,
        radius_half: float = 100.0,
    ) -> None:
        self.scales = scales
        self.anchor = anchor
        self.slope = slope
        self.floor = floor
        self.bias_sd = bias_sd
        self.slope_sd = slope_sd
        self.weight_sd = weight_sd
        self.label_weight = label_weight
        self.forgetting = forgetting
        self.radius_max = radius_max
        self.radius_half = radius_half
        self._check()
        self._rule = RuleLogit(probability=anchor, slope=slope, floor=floor)
        self._scaled = tuple((name, float(s)) for name, s in sorted((scales or {}).items()))
        self._scaler = softsign_scaler(self._scaled)
        sds = [bias_sd, slope_sd] + [weight_sd] * len(self._scaled)
        self._prior = [sd * sd for sd in sds]
        self._mean, self._cov = self._start()
        self.positives = 0
        self.negatives = 0

    def _check(self) -> None:
        """Check that the arguments are in range."""
        check_scales(self.scales or {}, RESERVED)
        for name, most in (
            ("bias_sd", 10.0),
            ("slope_sd", 10.0),
            ("weight_sd", 10.0),
            ("label_weight", 1.0),
            ("forgetting", 1.0),
            ("radius_half", 1e12),
        ):
            value = getattr(self, name)
            if not 0.0 < value <= most:
                raise ValueError(f"{name} must be in (0, {most:g}], was {value}")
        if not 0.0 <= self.radius_max <= 100.0:
            raise ValueError(f"radius_max must be in [0, 100], was {self.radius_max}")

    def _start(self) -> tuple[list[float], list[list[float]]]:
        """Return mean and covariance before any label: the rule, with the prior variances."""
        mean = [self._rule.bias, self.slope] + [0.0] * len(self._scaled)
        size = range(len(self._prior))
        return mean, [[self._prior[i] if i == j else 0.0 for j in size] for i in size]

    @property
    def radius(self) -> float:
        """Largest distance from the rule's logit now, logit units."""
        evidence = min(self.positives, self.negatives)
        return self.radius_max * evidence / (evidence + self.radius_half)

    def _inputs(self, x: Mapping[Any, Any]) -> tuple[list[float], float, float]:
        """Return the inputs of the regression, the logit beyond its reach, and the rule's logit."""
        steps = self._rule.steps(x.get("severity"))
        near = min(max(steps, -_REACH), _REACH)
        inputs = [1.0, near, *self._scaler(x)[0]]
        slope = self._rule.slope
        return inputs, slope * (steps - near), self._rule.bias + slope * steps

    def _unclipped(self, inputs: list[float], beyond: float) -> float:
        """Return the logit before clipping, rounded once so that it keeps the severity's order."""
        return math.fsum([beyond, *map(mul, self._mean, inputs)])

    def _clipped(self, free: float, rule: float) -> float:
        """Clip a logit to the trust region around the rule."""
        radius = self.radius
        return max(min(free, rule + radius), rule - radius)

    def logit_one(self, x: Mapping[Any, Any]) -> float:
        """Return the log-odds of the features; finite, and never saturated as a probability is."""
        inputs, beyond, rule = self._inputs(x)
        return self._clipped(self._unclipped(inputs, beyond), rule)

    def decompose(self, x: Mapping[Any, Any]) -> tuple[float, dict[str, float]]:
        """Return the log-odds of the features and their contributions, in logit units.

        The parts are ``bias``, ``severity``, each declared feature that is present, and
        ``trust_region``: the change by clipping. They sum to the logit up to the rounding of
        one float per part.
        """
        inputs, beyond, rule = self._inputs(x)
        parts = list(map(mul, self._mean, inputs))
        free = math.fsum([beyond, *parts])
        logit = self._clipped(free, rule)
        named = {"bias": parts[0], "severity": parts[1] + beyond}
        scaler = self._scaler
        named.update(compress(zip(scaler.names, parts[2:], strict=True), scaler.present(x)))
        named["trust_region"] = logit - free
        return logit, named

    def learn_one(self, x: dict[Any, Any], y: Any) -> None:
        """Learn from one matured label.

        Raises
        ------
        ValueError
            If `y` is not true or false: an unlabelled state is not an example.
        """
        if y not in (False, True):
            raise ValueError(f"label must be True or False, was {y!r}")
        label = bool(y)
        if self.forgetting < 1.0:
            self._forget()
        inputs, beyond, _ = self._inputs(x)
        # An input of zero adds nothing to a sum that is rounded once, so it is skipped.
        present = itemgetter(0, 1, *(i for i, value in enumerate(inputs) if value and i > 1))
        given = present(inputs)
        along = [math.fsum(map(mul, present(row), given)) for row in self._cov]
        spread = max(math.fsum(map(mul, along, inputs)), 0.0)
        weight = self.label_weight
        p = sigmoid(mode_of(self._unclipped(inputs, beyond), weight * spread, label=label))
        step = weight * (label - p)
        self._mean = [m + step * a for m, a in zip(self._mean, along, strict=True)]
        curvature = weight * p * (1.0 - p)
        root = math.sqrt(curvature / (1.0 + curvature * spread))
        taken = [root * a for a in along]
        # Products of two entries commute, so the covariance stays symmetric to the bit.
        self._cov = [
            [c - i * j for c, j in zip(row, taken, strict=True)] if i else row
            for row, i in zip(self._cov, taken, strict=True)
        ]
        self._keep_slope()
        self.positives += label
        self.negatives += not label

    def _forget(self) -> None:
        """Inflate the covariance by the discount, each variance at most to its prior."""
        inflate = 1.0 / self.forgetting
        rows = enumerate(self._cov)
        keep = [min(1.0, math.sqrt(self._prior[i] / (row[i] * inflate))) for i, row in rows]
        self._cov = [
            [c * inflate * (i * j) for c, j in zip(row, keep, strict=True)]
            for row, i in zip(self._cov, keep, strict=True)
        ]

    def _keep_slope(self) -> None:
        """Move the mean to the likeliest point whose slope is at least the minimum."""
        short = _SLOPE_SHARE * self._rule.slope - self._mean[1]
        if short > 0.0:
            row = self._cov[1]
            self._mean = [m + short * c / row[1] for m, c in zip(self._mean, row, strict=True)]
            self._mean[1] = _SLOPE_SHARE * self._rule.slope

    def state(self) -> dict[str, Any]:
        """Return everything learned, as plain JSON (names, numbers, lists)."""
        return {
            "rule": [self.anchor, self.slope, self.floor],
            "scales": [[name, scale] for name, scale in self._scaled],
            "mean": list(self._mean),
            "covariance": [row[: i + 1] for i, row in enumerate(self._cov)],
            "positives": self.positives,
            "negatives": self.negatives,
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
        rule, mean, rows = [self.anchor, self.slope, self.floor], state["mean"], state["covariance"]
        if list(state["rule"]) != rule:
            raise ValueError(f"state must be of the rule {rule}, was of {list(state['rule'])}")
        old = {(name, scale): i for i, (name, scale) in enumerate(state["scales"], start=2)}
        sizes = (len(mean), len(rows), *(len(row) - i for i, row in enumerate(rows)))
        if sizes[:2] != (len(old) + 2,) * 2 or sizes[2:] != (1,) * len(rows):
            raise ValueError(f"state must have {len(old) + 2} weights, had {len(mean)}")
        fresh_mean, fresh_cov = self._start()
        at = [0, 1, *(old.get(key, -1) for key in self._scaled)]
        for i, p in enumerate(at):
            if p >= 0:
                fresh_mean[i] = float(mean[p])
            for j, q in enumerate(at):
                if min(p, q) >= 0:
                    fresh_cov[i][j] = float(rows[max(p, q)][min(p, q)])
        self._mean, self._cov = fresh_mean, fresh_cov
        self.positives, self.negatives = int(state["positives"]), int(state["negatives"])
