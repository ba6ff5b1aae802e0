"""Frozen scikit-learn classifiers as generations, and the restricted unpickler that reads them."""

from __future__ import annotations

import math
import pickle
import pickletools
from base64 import b64decode
from functools import lru_cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
import numpy as np

from riskwatch.models.base import Generation, RulesGeneration, Score, known_severity, sigmoid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


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
# scikit-learn, and a few names of the standard library and of numpy. It allows no other function,
# no attribute of a class, and nothing that one of those modules has imported from elsewhere. It
# sets no attribute of a class. It bounds the size, the steps, the containers, the stored parts,
# what is copied, and the sizes that calls name. It cannot bound all that an allowed class does with
# absurd arguments. Use it for your own rows and artefacts, which somebody may have tampered with,
# and not for a stranger's.

MAX_PICKLE_BYTES: Final = 8_388_608
"""Largest size of a pickle, bytes."""
MAX_STEPS: Final = 2_000_000
"""Largest number of steps (opcodes) of a pickle."""
MAX_CONTAINERS: Final = 262_144
"""Largest number of lists, tuples, dictionaries and sets that a pickle makes."""
MAX_STORED: Final = 1_048_576
"""Largest number of parts that a pickle stores to name them again."""
MAX_ARGUMENT: Final = 1_048_576
"""Largest whole number that a pickle may pass to a class of an estimator."""
_SMALL: Final = 4_096
"""Words that even the smallest pickle may copy."""
_CONTAINERS: Final = frozenset(
    {
        "DICT", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "FROZENSET", "LIST", "NEWOBJ", "NEWOBJ_EX",
        "REDUCE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "INST", "OBJ", "BYTEARRAY8",
    }
)  # fmt: skip
_MEMO: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_PythonUnpickler: Any = pickle._Unpickler  # noqa: SLF001 - there is no public one

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


class _RestrictedUnpickler(_PythonUnpickler):  # type: ignore[misc]
    """An unpickler that resolves allowed names only, changes no class, and copies little.

    It is the unpickler that the standard library has in Python, because the one in C lets nobody
    see what it calls.
    """

    def __init__(self, data: bytes, modules: tuple[str, ...]) -> None:
        super().__init__(_BytesFile(data))
        self._modules = modules
        self._found: dict[tuple[str, str], Any] = {}
        """What the pickle named, by module and name."""
        self._most = 2 * len(data) + _SMALL
        self._copied = 0

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class. Any other name is refused before it is imported."""
        if name in ALLOWED_NAMES.get(module, ()):
            found = super().find_class(module, name)
        elif "." in name or not _is_allowed(module, self._modules):
            raise ValueError(f"a stored model may not name {module}.{name}")
        else:
            found = super().find_class(module, name)
            if not (isinstance(found, type) and _is_allowed(found.__module__, self._modules)):
                raise ValueError(
                    f"a stored model may not name {module}.{name}: it is no class of it"
                )
        self._found[module, name] = found
        return found

    def _is_named(self, value: Any) -> bool:
        return any(value is each for each in self._found.values())

    def _check_call(self, func: Any, args: Sequence[Any]) -> None:
        """Refuse a call of anything but an allowed name, and one that allocates by a number."""
        if not self._is_named(func):
            raise ValueError("a stored model may only call what it names")
        self._charge(args)
        name = getattr(func, "__name__", "")
        module = getattr(func, "__module__", None) or ""
        if name == "partial" and args:
            self._check_call(args[0], args[1:])
        elif name == "bytearray" and args and not isinstance(args[0], bytes | str):
            raise ValueError("a stored model may not make a bytearray of a size")
        elif name == "ndarray" and module == "numpy":
            raise ValueError("a stored model may not make an array of a size")
        elif name == "_reconstruct":
            self._check_shape(args[1] if len(args) > 1 else None)
        elif name == "scalar" and not (len(args) == 2 and args[0].itemsize <= self._most):
            raise ValueError("a stored model may not make a number of a size")
        elif _is_allowed(module, (*ALLOWED_MODULES, *self._modules)):
            large = [each for each in args if isinstance(each, int) and abs(each) > MAX_ARGUMENT]
            if large:
                raise ValueError(f"a stored model may not pass {large[0]} to {module}.{name}")

    def _check_shape(self, shape: Any) -> None:
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("a stored model must give the shape of an array as sizes")
        if math.prod(shape) > self._most:
            raise ValueError(f"a stored model may not make an array of {math.prod(shape):,}")

    def _charge(self, value: Any) -> None:
        """Count what a call or a state may copy, so that nothing small is copied many times."""
        self._copied += _size(value) + sum(map(_size, _parts(value)))
        if self._copied > self._most:
            raise ValueError("a stored model may not copy the same parts again and again")

    def load_reduce(self) -> None:
        """Call what is on the stack, if it may be called."""
        self._check_call(self.stack[-2], self.stack[-1])
        super().load_reduce()

    def load_newobj(self) -> None:
        """Make an object of a class, if it may be made."""
        self._check_call(self.stack[-2], self.stack[-1])
        super().load_newobj()

    def load_newobj_ex(self) -> None:
        """Make an object of a class with named arguments, if it may be made."""
        self._check_call(self.stack[-3], (*self.stack[-2], *self.stack[-1].values()))
        super().load_newobj_ex()

    def _instantiate(self, klass: Any, args: Any) -> None:
        """Make an object for the opcodes of protocols 0 and 1, if it may be made."""
        self._check_call(klass, args)
        super()._instantiate(klass, args)

    def load_build(self) -> None:
        """Give an object its state. A class or a function is no object that has one."""
        target, state = self.stack[-2:]
        if isinstance(target, type) or self._is_named(target):
            raise ValueError("a stored model may not set attributes of a class or a function")
        self._charge(state)
        if isinstance(target, partial):
            self._check_call(state[0], (*state[1], *(state[2] or {}).values()))
        elif isinstance(target, np.ndarray):
            self._check_shape(state[1])
        super().load_build()

    dispatch: ClassVar[dict[int, Any]] = {
        **_PythonUnpickler.dispatch,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.BUILD[0]: load_build,
    }


def _parts(value: Any) -> Iterable[Any]:
    """Return what is directly in a container; nothing of anything else."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple | set | frozenset) else ()


def _size(value: Any) -> int:
    """Return how much a copy of a value takes, in words of eight bytes."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes) // 8
    if isinstance(value, bytes | bytearray | str):
        return len(value) // 8
    return len(value) if isinstance(value, dict | list | tuple | set | frozenset) else 0


def _check_opcodes(data: bytes) -> None:
    """Refuse a pickle with too many steps, containers or stored parts, before anything is made.

    It also reads each length, so a length beyond the data is an error and allocates nothing.
    """
    steps = containers = stored = 0
    try:
        for code, arg, _ in pickletools.genops(data):
            steps += 1
            containers += code.name in _CONTAINERS
            if code.name in _MEMO:
                stored = max(stored + 1, arg if isinstance(arg, int) else 0)
            if steps > MAX_STEPS:
                break
    except ValueError as error:
        raise ValueError(f"a stored model cannot be read: {error}") from error
    for what, count, most in (
        ("have {:,} steps", steps, MAX_STEPS),
        ("make {:,} containers", containers, MAX_CONTAINERS),
        ("store {:,} parts", stored, MAX_STORED),
    ):
        if count > most:
            raise ValueError(f"a stored model may {what.format(most)} at most")


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
        If the pickle is too long, names something that is not allowed, sets attributes of a class,
        would allocate too much, or is damaged.

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
        _check_opcodes(data)
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

    @property
    def features(self) -> tuple[str, ...]:
        """Features of the fitted model of the target; none where there is no such model."""
        return () if self._estimator is None else self._frozen.features

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
