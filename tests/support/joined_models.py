"""Models of a user's own, as an entry point would name them, and small fitted artefacts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from river import linear_model, preprocessing, tree
from sklearn.ensemble import RandomForestClassifier

from riskwatch.fitting.frozen import freeze
from riskwatch.models.river_generation import RiverGeneration
from riskwatch.models.sample_recorder import LabelledSample
from riskwatch.scenarios.market import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES: Final = ("severity", "velocity_bp", "sd_bp")
TARGET: Final = "depeg(discount 50bp, 1h)"
HORIZON_S: Final = 3_600.0


def scaled_regression() -> RiverGeneration:
    """A scaler and a logistic regression of River."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    return RiverGeneration(model, NAMES)


def hoeffding_tree() -> RiverGeneration:
    """A Hoeffding adaptive tree of River, which soon outgrows a small limit."""
    model = tree.HoeffdingAdaptiveTreeClassifier(grace_period=50, seed=1)
    return RiverGeneration(model, NAMES, max_bytes=8_000)


def labelled(count: int = 600, seed: int = 1) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """States of three features, some of them missing, and labels that follow the first two."""
    rng = generator("labelled", seed)
    rows, labels = [], []
    for _ in range(count):
        severity, velocity = rng.random() * 1.2, rng.gauss(0.0, 10.0)
        danger = 4.0 * severity + 0.1 * velocity - 3.5
        rows.append([severity, velocity if rng.random() < 0.9 else math.nan, rng.random()])
        labels.append(rng.random() < 1.0 / (1.0 + math.exp(-danger)))
    return np.array(rows), np.array(labels)


def rows_of(count: int = 600, seed: int = 1) -> list[LabelledSample]:
    """The same as rows off a tape, five minutes apart."""
    x, labels = labelled(count, seed)
    out = []
    for n, (values, label) in enumerate(zip(x, labels, strict=True)):
        features = {
            name: float(v) for name, v in zip(NAMES, values, strict=True) if not math.isnan(v)
        }
        out.append(
            LabelledSample(n * 300_000_000, "made", "asset:USDC", TARGET, bool(label), features)
        )
    return out


def frozen_forest() -> str:
    """Text of an artefact with a small random forest of scikit-learn."""
    x, labels = labelled()
    model = RandomForestClassifier(5, max_depth=3, random_state=0)
    model.fit(np.nan_to_num(x), labels)
    return freeze({"*": model}, NAMES, [0.0, 0.0, 0.5], name="forest")
