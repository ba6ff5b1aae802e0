"""Freezes scikit-learn classifiers into an artefact that a generation can read."""

from __future__ import annotations

import pickle
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import sklearn

from riskwatch.models.frozen import FrozenGeneration, FrozenModels, seal_frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def freeze(
    models: Mapping[str, Any],
    features: Sequence[str],
    neutral: Sequence[float],
    *,
    name: str,
    note: str = "",
) -> str:
    """Return the text of an artefact; write it to a file, and name that in ``models.toml``.

    Parameters
    ----------
    models : mapping
        Fitted binary classifiers with ``predict_proba``, by the id of their target; ``*`` for
        all others.
    features : sequence of str
        Columns that they were fitted on, in order.
    neutral : sequence of float
        By column, what stands in for a missing value.
    name, note : str
        What it is called; what it may be used for.

    Raises
    ------
    ValueError
        If it could not be read back: it must be made of scikit-learn's own classes.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> model = LogisticRegression().fit([[0.0], [0.2], [1.0], [1.2]], [False, False, True, True])
    >>> text = freeze({"*": model}, ["severity"], [0.0], name="mine")
    >>> round(FrozenGeneration(text).score({"severity": 0.6}).probability, 3)
    0.5
    """
    made = FrozenModels(
        name=name,
        note=note,
        scikit_learn=sklearn.__version__,
        features=tuple(features),
        neutral=tuple(float(value) for value in neutral),
        models={
            target: b64encode(pickle.dumps(model)).decode("ascii")
            for target, model in models.items()
        },
    )
    text = seal_frozen(made)
    FrozenGeneration(text)  # refuses what a start would refuse
    return text
