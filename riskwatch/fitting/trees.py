"""Fit of one target: boosted trees, monotone in risk features, calibrated out of fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from riskwatch.fitting.walk_forward import blocks, fit_metrics, platt, sigmoid
from riskwatch.models.base import RuleLogit
from riskwatch.models.trees import FittedModel, Tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from riskwatch.models.sample_recorder import LabelledSample

    Column = NDArray[np.float64]

RULE: Final = RuleLogit()
"""The plain rule: the comparison for a target without a prior of its own."""
MIN_POSITIVES: Final = 30
"""Fewest true samples that a fit needs."""
MIN_CALIBRATION_SAMPLES: Final = 10
"""Fewest true samples out of fold that a calibration needs."""
MAX_FEATURES: Final = 24

MONOTONE: Final = (
    "severity", "velocity_bp", "drift_bp", "issuer_failed_weight", "issuer_hacked_weight",
    "backing_failed_share", "failed_weight", "hacked_weight", "suspended_weight",
    "deposits_suspended_weight", "regulatory_weight", "suspended_parts", "withdrawal_age_s",
    "withdrawal_age_ratio", "withdrawals_failed", "overdue_count", "dislocation_bp",
)  # fmt: skip
"""Features that never lower the probability when they grow, other things being equal."""
EXCLUDED_FEATURES: Final = (
    "deviation_bp", "discount_bp", "local_bp", "local_discount_bp", "limit_ratio", "warning_ratio",
)  # fmt: skip
"""Features that repeat the severity, and features of the firm's exposure, not of danger."""


class FitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a fit; the model is small because episodes are few and every score takes time."""

    trees: int = 32
    leaves: int = 6
    learning_rate: float = 0.15
    least_rows: int = 60
    l2: float = 10.0
    folds: int = 5


class NotFittedError(Exception):
    """Why a target has no model; the command prints it and continues."""


def fit(
    rows: Sequence[LabelledSample],
    horizon_s: float,
    settings: FitSettings,
    rule: RuleLogit = RULE,
) -> FittedModel:
    """Fit one target.

    Parameters
    ----------
    rows : sequence of LabelledSample
        All samples of one target, in any order.
    horizon_s : float
        Its horizon, seconds.
    settings : FitSettings
        Size of the model.
    rule : RuleLogit
        The rule that the model is compared with.

    Raises
    ------
    NotFittedError
        If there are too few true labels, or the model is no better than the rule out of fold.
    """
    ordered = sorted(rows)
    labels = np.array([row.label for row in ordered], dtype=bool)
    trues = int(labels.sum())
    if trues < MIN_POSITIVES or len(ordered) - trues < MIN_POSITIVES:
        raise NotFittedError(f"{trues} of {len(ordered)} samples are true: too few to fit")
    features = _features(ordered)
    x, counts = matrix(ordered, features), weights_of(ordered)
    margins, scored, figures = _out_of_fold(ordered, x, labels, features, horizon_s, settings, rule)
    if figures["log_loss"] >= figures["rule_log_loss"]:
        raise NotFittedError(
            f"log loss {figures['log_loss']:.4f} out of fold, the rule has "
            f"{figures['rule_log_loss']:.4f}"
        )
    try:
        slope, intercept = platt(margins[scored], labels[scored], counts[scored])
    except ValueError as error:
        raise NotFittedError(str(error)) from error
    model = fit_trees(x, labels, features, settings, counts)
    return FittedModel(
        features=features,
        monotone=tuple(int(name in MONOTONE) for name in features),
        baseline=float(model._baseline_prediction[0, 0]),  # noqa: SLF001 - has no public name
        trees=export_trees(model),
        slope=slope,
        intercept=intercept,
        seen=tuple((float(np.nanmin(column)), float(np.nanmax(column))) for column in x.T),
        rows=len(ordered),
        positives=trues,
        entities=len({row.scope: None for row in ordered}),
        episodes=len({row.episode: None for row in ordered}),
        metrics=figures,
    )


def matrix(rows: Sequence[LabelledSample], features: Sequence[str]) -> Column:
    """Return a matrix of rows by features, with NaN for a missing value."""
    return np.array([[row.features.get(name, np.nan) for name in features] for row in rows])


def weights_of(rows: Sequence[LabelledSample]) -> Column:
    """Return the weight of every row, 1 in the mean."""
    weights: Column = np.array([row.weight for row in rows], dtype=np.float64)
    weights /= weights.mean()
    return weights


def fit_trees(
    x: Column,
    labels: NDArray[np.bool_],
    features: Sequence[str],
    settings: FitSettings,
    weights: Column | None = None,
) -> Any:
    """Fit the trees. No sampling and no early stopping: the same rows give the same trees."""
    model = HistGradientBoostingClassifier(
        max_iter=settings.trees,
        max_leaf_nodes=settings.leaves,
        learning_rate=settings.learning_rate,
        min_samples_leaf=settings.least_rows,
        l2_regularization=settings.l2,
        monotonic_cst=[int(name in MONOTONE) for name in features],
        early_stopping=False,
        random_state=0,
    )
    # An empty column cannot be binned. A constant column is never split.
    known = np.where(np.isnan(x).all(axis=0), 0.0, x)
    with threadpool_limits(
        limits=1
    ):  # fixes the order of sums; threads do not pay off at this size
        return model.fit(known, labels, sample_weight=weights)


def export_trees(model: Any) -> tuple[Tree, ...]:
    """Return the trees of a fitted model as plain numbers."""
    return tuple(_tree(group[0].nodes) for group in model._predictors)  # noqa: SLF001


def _tree(nodes: Any) -> Tree:
    inner = [not leaf for leaf in nodes["is_leaf"]]
    largest = np.finfo(np.float64).max  # infinity sends all values except missing ones to the left

    def kept(column: str, kind: type) -> tuple[Any, ...]:
        return tuple(kind(v) if i else kind(0) for v, i in zip(nodes[column], inner, strict=True))

    return Tree(
        feature=tuple(
            int(f) if i else -1 for f, i in zip(nodes["feature_idx"], inner, strict=True)
        ),
        threshold=tuple(min(value, float(largest)) for value in kept("num_threshold", float)),
        missing_left=kept("missing_go_to_left", bool),
        left=kept("left", int),
        right=kept("right", int),
        value=tuple(0.0 if i else float(v) for v, i in zip(nodes["value"], inner, strict=True)),
        count=tuple(max(1, int(count)) for count in nodes["count"]),
    )


def _features(rows: Sequence[LabelledSample]) -> tuple[str, ...]:
    """Return the names of the features that vary, ``severity`` first, then alphabetically."""
    values: dict[str, dict[float, None]] = {}
    for row in rows:
        for name, value in row.features.items():
            kinds = values.setdefault(name, {})
            if len(kinds) < 2:
                kinds[value] = None
    missing = {name: sum(name not in row.features for row in rows) for name in values}
    varying = [n for n, kinds in sorted(values.items()) if len(kinds) > 1 or missing[n]]
    usable = [n for n in varying if n not in EXCLUDED_FEATURES and n != "severity"]
    return ("severity", *usable[: MAX_FEATURES - 1])


def _out_of_fold(
    rows: Sequence[LabelledSample],
    x: Column,
    labels: NDArray[np.bool_],
    features: Sequence[str],
    horizon_s: float,
    settings: FitSettings,
    rule: RuleLogit,
) -> tuple[Column, NDArray[np.bool_], dict[str, float]]:
    """Return out-of-fold margins, a mask of the samples that have one, and figures.

    In the figures, the calibration of a block also uses earlier blocks alone.
    """
    margins, scored = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
    predicted, base, counts = np.zeros(len(rows)), np.zeros(len(rows)), weights_of(rows)
    us = [row.us for row in rows]
    for train, test in blocks(us, labels.tolist(), int(horizon_s * 1e6), settings.folds):
        model = fit_trees(x[train], labels[train], features, settings, counts[train])
        margins[test] = model.decision_function(x[test])
        slope, intercept = _calibrate_so_far(margins, labels, scored, counts)
        predicted[test] = sigmoid(intercept + slope * margins[test])
        base[test] = np.average(labels[train], weights=counts[train])
        scored[test] = True
    if int(labels[scored].sum()) < MIN_CALIBRATION_SAMPLES or labels[scored].all():
        raise NotFittedError("too few true samples out of fold to calibrate by")
    stated = sigmoid(np.array([rule.logit(row.features.get("severity")) for row in rows]))
    truth, heavy = labels[scored], counts[scored]
    figures = {
        "rows": float(scored.sum()),
        "positives": float(truth.sum()),
        **fit_metrics(predicted[scored], truth, heavy),
        **fit_metrics(stated[scored], truth, heavy, "rule_"),
        **fit_metrics(base[scored], truth, heavy, "base_"),
    }
    return margins, scored, figures


def _calibrate_so_far(
    margins: Column, labels: NDArray[np.bool_], scored: NDArray[np.bool_], counts: Column
) -> tuple[float, float]:
    """Return the calibration on the samples scored so far; the identity before there are enough."""
    if int(labels[scored].sum()) < MIN_CALIBRATION_SAMPLES or labels[scored].all():
        return 1.0, 0.0
    try:
        return platt(margins[scored], labels[scored], counts[scored])
    except ValueError:
        return 1.0, 0.0
