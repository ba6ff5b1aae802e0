"""Conversion of a user's scikit-learn classifiers into an artefact for the ensemble."""

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
    """Return the text of an artefact; write it to a file that ``models.toml`` names.

    Parameters
    ----------
    models : mapping
        Fitted binary classifiers with ``predict_proba``, by the id of their target; ``*`` for all
        others.
    features : sequence of str
        Columns that they were fitted on, in order.
    neutral : sequence of float
        By column, the replacement for a missing value.
    name, note : str
        Name of the artefact, and its intended use.

    Raises
    ------
    ValueError
        If the ensemble could not read the artefact: it must consist of scikit-learn's own classes.

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
    FrozenGeneration(text)  # raises if the ensemble would refuse it
    return text
