"""Frozen scikit-learn classifiers as generations, and the restricted unpickler that reads them."""

from __future__ import annotations

import math
import pickle
from base64 import b64decode
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.models.base import Generation, RulesGeneration, Score, known_severity, sigmoid

if TYPE_CHECKING:
    from collections.abc import Mapping


# Explanation by occlusion, for models without an exact one.

AGNOSTIC: Final = "agnostic"
"""Contribution that marks an explanation as not exact: the joint effect of features."""
_CLIP: Final = 1e-6


def logit_of(probability: float) -> float:
    """Return the log-odds of a probability clipped to [1e-6, 1 - 1e-6]; NaN counts as 0.5.

    Examples
    --------
    >>> logit_of(0.5), logit_of(0.0) == logit_of(1e-9), logit_of(float("nan"))
    (0.0, True, 0.0)
    """
    if math.isnan(probability):
        return 0.0
    p = min(max(probability, _CLIP), 1.0 - _CLIP)
    return math.log(p) - math.log1p(-p)


def occlusion_parts(whole: float, nothing: float, without: Mapping[str, float]) -> dict[str, float]:
    """Return parts that sum to the log-odds, computed by leaving out one feature at a time.

    The part of a feature is the amount that the log-odds lose without it. The joint effect of
    features is in none of these parts. This remainder is the part :data:`AGNOSTIC`.

    Parameters
    ----------
    whole : float
        Log-odds with all features.
    nothing : float
        Log-odds with no feature.
    without : mapping
        Log-odds without one feature, by its name.

    Examples
    --------
    >>> occlusion_parts(2.0, -1.0, {"a": 0.5, "b": 1.0})
    {'bias': -1.0, 'a': 1.5, 'b': 1.0, 'agnostic': 0.5}
    """
    parts = {"bias": nothing, **{name: whole - less for name, less in without.items()}}
    return {**parts, AGNOSTIC: whole - math.fsum(parts.values())}


# Restricted unpickling: a stored estimator may name allowed classes only.
#
# A pickle is a program. This reader allows classes of the listed modules of River and
# scikit-learn, and a few names of the standard library and of numpy. It allows no function, no
# attribute of a class, and nothing that one of those modules has imported from elsewhere. It also
# bounds the size. It cannot bound what an allowed class does with absurd arguments. Use it for
# your own rows and artefacts, which somebody may have tampered with, and not for a stranger's.

MAX_PICKLE_BYTES: Final = 8_388_608
"""Largest size of a pickle, bytes."""

_RIVER: Final = (
    "_river_rust", "anomaly", "base", "compose", "drift", "ensemble", "feature_extraction",
    "feature_selection", "forest", "imblearn", "linear_model", "metrics", "multiclass",
    "naive_bayes", "neighbors", "neural_net", "optim", "preprocessing", "proba", "rules", "stats",
    "tree", "utils",
)  # fmt: skip
_SKLEARN: Final = (
    "_loss", "base", "calibration", "compose", "decomposition", "discriminant_analysis", "dummy",
    "ensemble", "impute", "isotonic", "kernel_approximation", "linear_model", "naive_bayes",
    "neighbors", "neural_network", "pipeline", "preprocessing", "svm", "tree",
)  # fmt: skip
ALLOWED_MODULES: Final = tuple(
    [f"river.{name}" for name in _RIVER] + [f"sklearn.{name}" for name in _SKLEARN]
)
"""Modules (with their submodules) whose own classes are allowed."""

ALLOWED_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "builtins": (
        "bool", "bytearray", "complex", "dict", "float", "frozenset", "int", "list", "object",
        "set", "slice", "tuple",
    ),
    "collections": ("Counter", "OrderedDict", "defaultdict", "deque"),
    "copyreg": ("_reconstructor",),
    "datetime": ("date", "datetime", "timedelta", "timezone"),
    "functools": ("partial",),
    "numpy": ("dtype", "ndarray"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.random._mt19937": ("MT19937",),
    "numpy.random._pcg64": ("PCG64",),
    "numpy.random._pickle": (
        "__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor",
    ),
    "numpy.random.bit_generator": ("SeedSequence", "__pyx_unpickle_SeedSequence"),
    "random": ("Random",),
}  # fmt: skip
"""Other allowed names, by module."""


class _BytesFile:
    """Presents bytes as the file object that an unpickler needs."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        end = len(self._data) if size < 0 else self._at + size
        out = self._data[self._at : end]
        self._at += len(out)
        return out

    def readline(self) -> bytes:
        """Return the rest of the line."""
        end = self._data.find(b"\n", self._at)
        return self.read(-1 if end < 0 else end + 1 - self._at)


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that resolves allowed names only."""

    def __init__(self, data: bytes, modules: tuple[str, ...]) -> None:
        super().__init__(_BytesFile(data))
        self._modules = modules

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class. Any other name is refused before it is imported."""
        if name in ALLOWED_NAMES.get(module, ()):
            return super().find_class(module, name)
        if "." in name or not _is_allowed(module, self._modules):
            raise ValueError(f"a stored model may not name {module}.{name}")
        found = super().find_class(module, name)
        if not (isinstance(found, type) and _is_allowed(found.__module__, self._modules)):
            raise ValueError(f"a stored model may not name {module}.{name}: it is no class of it")
        return found


def _is_allowed(module: str, allowed: tuple[str, ...]) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in allowed)


def restricted_loads(
    data: bytes, *, modules: tuple[str, ...] = (), max_bytes: int = MAX_PICKLE_BYTES
) -> Any:
    r"""Read one pickled object.

    Parameters
    ----------
    data : bytes
        A pickle.
    modules : tuple of str, optional
        More modules whose own classes are allowed: those of a user's own estimators. They come
        from code, never from stored data.
    max_bytes : int
        Largest allowed size.

    Raises
    ------
    ValueError
        If the pickle is too long, names something that is not allowed, or is damaged.

    Examples
    --------
    >>> restricted_loads(pickle.dumps({"a": [1, 2.0]}))
    {'a': [1, 2.0]}
    >>> restricted_loads(b"cos\nsystem\n(S'true'\ntR.")
    Traceback (most recent call last):
    ...
    ValueError: a stored model may not name os.system
    """
    if len(data) > max_bytes:
        raise ValueError(f"a stored model must have at most {max_bytes:,} bytes, had {len(data):,}")
    try:
        return _RestrictedUnpickler(data, (*ALLOWED_MODULES, *modules)).load()
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle can raise any exception
        raise ValueError(f"a stored model cannot be read: {error!r}") from error


FORMAT: Final = "riskwatch-sklearn-1"
_LARGEST: Final = 1e9


class FrozenModels(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen classifiers by target, as :func:`riskwatch.fitting.frozen.freeze` writes them.

    Attributes
    ----------
    format : str
        :data:`FORMAT`.
    name, note : str
        Name, and a note in words on what it may be used for.
    scikit_learn : str
        Version of scikit-learn that pickled it. Any other version is refused.
    features : tuple of str
        Names of the columns, in order.
    neutral : tuple of float
        Replacement of a missing value by column, for example the median of the fit.
    models : dict of str to str
        Pickles in base64, by target. The target ``*`` is for all others.
    sha256 : str
        Digest over all other fields.
    """

    format: str = FORMAT
    name: str
    note: str = ""
    scikit_learn: str
    features: tuple[str, ...]
    neutral: tuple[float, ...]
    models: dict[str, str]
    sha256: str = ""


def seal_frozen(frozen: FrozenModels) -> str:
    """Return the text of frozen models, with their digest."""
    whole = msgspec.structs.replace(frozen, sha256=_digest(frozen))
    return msgspec.json.encode(whole, order="sorted").decode("utf-8") + "\n"


def _digest(frozen: FrozenModels) -> str:
    bare = msgspec.structs.replace(frozen, sha256="")
    return sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


@lru_cache(maxsize=8)
def _open_frozen(text: str) -> tuple[FrozenModels, dict[str, Any]]:
    """Parse frozen models. The digest is checked before any pickle is read."""
    import sklearn  # noqa: PLC0415 - slow to import, and most ensembles have no such model

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
    read = {target: restricted_loads(b64decode(text)) for target, text in made.models.items()}
    for target, estimator in read.items():
        classes = [bool(c) for c in getattr(estimator, "classes_", ())]
        if not hasattr(estimator, "predict_proba") or classes != [False, True]:
            raise ValueError(f"the model of {target} must give probabilities of false and true")
    return made, read


class FrozenGeneration:
    """A frozen scikit-learn classifier; it never learns.

    A logistic regression is explained exactly. Other classifiers are explained by replacing one
    feature at a time by its neutral value, and the part ``agnostic`` marks that.

    Parameters
    ----------
    artefact : str
        Text of :class:`FrozenModels`. In the configuration this option names the file.
    target : str
        Id of the target. For a target without a model the score is the rule's.

    Raises
    ------
    ValueError
        If the artefact does not match its digest, is of another version of scikit-learn, or
        names a class that is not allowed.
    """

    learns: Final = False

    def __init__(self, artefact: str, target: str = "") -> None:
        self._text = artefact
        self._rule = RulesGeneration()
        self._frozen, models = _open_frozen(artefact)
        self._estimator = models.get(target, models.get("*"))

    def of_target(self, target: str) -> Generation:
        """Return the generation for one target."""
        return FrozenGeneration(self._text, target)

    def score(self, x: Mapping[str, float]) -> Score:
        """Score the features of one moment. This has no side effect."""
        if self._estimator is None:
            return self._rule.score(x)
        names, neutral = self._frozen.features, self._frozen.neutral
        row = [
            _value_or_neutral(x.get(name), neutral_value)
            for name, neutral_value in zip(names, neutral, strict=True)
        ]
        parts = self._exact(row)
        if parts is None:
            each = [
                [neutral_value if j == i else value for j, value in enumerate(row)]
                for i, neutral_value in enumerate(neutral)
            ]
            probabilities = self._estimator.predict_proba([row, list(neutral), *each])[:, 1]
            whole, nothing, *without = (logit_of(float(p)) for p in probabilities)
            parts = occlusion_parts(whole, nothing, dict(zip(names, without, strict=True)))
        logit = math.fsum(parts.values())
        return Score(sigmoid(logit), logit, known_severity(x), parts)

    def _exact(self, row: list[float]) -> dict[str, float] | None:
        """Return the parts of a logistic regression; ``None`` for any other classifier."""
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - slow to import

        model: Any = self._estimator
        if type(model) is not LogisticRegression:
            return None
        weights = [float(w) for w in model.coef_[0]]
        parts = {n: w * v for n, w, v in zip(self._frozen.features, weights, row, strict=True)}
        return {"bias": float(model.intercept_[0]), **parts}

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Change nothing: the model is frozen."""

    def state(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Accept the empty state.

        Raises
        ------
        ValueError
            If `state` is not empty: it belongs to another model.
        """
        if state:
            raise ValueError(f"a frozen model keeps no state, found {', '.join(sorted(state))}")


def _value_or_neutral(value: float | None, neutral_value: float) -> float:
    """Return the value clipped to ±1e9, or the neutral value if it is missing."""
    if value is None or math.isnan(value):
        return neutral_value
    return min(max(float(value), -_LARGEST), _LARGEST)
