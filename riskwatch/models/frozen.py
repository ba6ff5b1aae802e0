"""A scikit-learn classifier of one's own, fitted elsewhere and frozen, as a generation."""

from __future__ import annotations

import math
from base64 import b64decode
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.models.base import Generation, Score, known_severity
from riskwatch.models.occlusion import logit_of, occluded
from riskwatch.models.rules import RulesGeneration
from riskwatch.models.severity import sigmoid
from riskwatch.models.unpickle import loads

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = "riskwatch-sklearn-1"
_LARGEST: Final = 1e9


class FrozenModels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Classifiers by target, as :func:`riskwatch.fitting.frozen.freeze` writes them.

    Attributes
    ----------
    format : str
        :data:`FORMAT`.
    name, note : str
        What it is called, and what it may be used for, in words.
    scikit_learn : str
        Version that pickled it; another one refuses it.
    features : tuple of str
        Columns, in order.
    neutral : tuple of float
        By column, what stands in for a missing value: the median of the fit, for example.
    models : dict of str to str
        By target, the pickle in base64; the target ``*`` is for all others.
    sha256 : str
        Over all of the above.
    """

    format: str = FORMAT
    name: str
    note: str = ""
    scikit_learn: str
    features: tuple[str, ...]
    neutral: tuple[float, ...]
    models: dict[str, str]
    sha256: str = ""


def sealed(frozen: FrozenModels) -> str:
    """Text of frozen models with their digest in it."""
    whole = msgspec.structs.replace(frozen, sha256=_digest(frozen))
    return msgspec.json.encode(whole, order="sorted").decode("utf-8") + "\n"


def _digest(frozen: FrozenModels) -> str:
    bare = msgspec.structs.replace(frozen, sha256="")
    return sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


@lru_cache(maxsize=8)
def _opened(text: str) -> tuple[FrozenModels, dict[str, Any]]:
    """Frozen models of a text, digest checked first and pickles read after that."""
    import sklearn  # noqa: PLC0415 - slow to import, and most ladders have no such model

    try:
        made = msgspec.json.decode(text, type=FrozenModels)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the artefact cannot be read: {error}") from error
    if made.format != FORMAT or made.sha256 != _digest(made):
        raise ValueError(f"the artefact is not of format {FORMAT}, or not what its digest says")
    if made.scikit_learn != sklearn.__version__:
        raise ValueError(
            f"the artefact is of scikit-learn {made.scikit_learn}, this is {sklearn.__version__}: "
            "fit and freeze it again"
        )
    if not made.features or len(made.features) != len(made.neutral):
        raise ValueError("features and neutral values must be of one length")
    read = {target: loads(b64decode(text)) for target, text in made.models.items()}
    for target, estimator in read.items():
        classes = [bool(c) for c in getattr(estimator, "classes_", ())]
        if not hasattr(estimator, "predict_proba") or classes != [False, True]:
            raise ValueError(f"the model of {target} must give probabilities of false and true")
    return made, read


class FrozenGeneration:
    """A frozen scikit-learn classifier; it never learns.

    A logistic regression is explained exactly. Others are explained by putting the neutral value
    in the place of one feature at a time, which the part ``agnostic`` marks.

    Parameters
    ----------
    artefact : str
        Text of :class:`FrozenModels`; in the configuration this option names the file.
    target : str
        Id of the target. Of a target without a model it says what the rule says.

    Raises
    ------
    ValueError
        If the artefact is not what its digest says, of another scikit-learn, or names what a
        stored model may not name.
    """

    learns: Final = False

    def __init__(self, artefact: str, target: str = "") -> None:
        self._text = artefact
        self._rule = RulesGeneration()
        self._frozen, models = _opened(artefact)
        self._estimator = models.get(target, models.get("*"))

    def of_target(self, target: str) -> Generation:
        """Return the generation for one target."""
        return FrozenGeneration(self._text, target)

    def score(self, x: Mapping[str, float]) -> Score:
        """Score a state; no side effect."""
        if self._estimator is None:
            return self._rule.score(x)
        names, neutral = self._frozen.features, self._frozen.neutral
        row = [_known(x.get(name), usual) for name, usual in zip(names, neutral, strict=True)]
        parts = self._exact(row)
        if parts is None:
            each = [
                [usual if j == i else value for j, value in enumerate(row)]
                for i, usual in enumerate(neutral)
            ]
            said = self._estimator.predict_proba([row, list(neutral), *each])[:, 1]
            whole, nothing, *without = (logit_of(float(p)) for p in said)
            parts = occluded(whole, nothing, dict(zip(names, without, strict=True)))
        logit = math.fsum(parts.values())
        return Score(sigmoid(logit), logit, known_severity(x), parts)

    def _exact(self, row: list[float]) -> dict[str, float] | None:
        """Parts of a logistic regression; ``None`` for anything else."""
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import

        model: Any = self._estimator
        if type(model) is not LogisticRegression:
            return None
        weights = [float(w) for w in model.coef_[0]]
        parts = {n: w * v for n, w, v in zip(self._frozen.features, weights, row, strict=True)}
        return {"bias": float(model.intercept_[0]), **parts}

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Change nothing: it is frozen."""

    def state(self) -> dict[str, Any]:
        """Nothing was learned."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Accept the empty state.

        Raises
        ------
        ValueError
            If there is anything in it, which is another model's.
        """
        if state:
            raise ValueError(f"a frozen model keeps no state, found {', '.join(sorted(state))}")


def _known(value: float | None, usual: float) -> float:
    """Return a number that every estimator can take; the usual one where it is missing."""
    if value is None or math.isnan(value):
        return usual
    return min(max(float(value), -_LARGEST), _LARGEST)
