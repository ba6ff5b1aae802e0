"""Reads pickled estimators back, and nothing else: only named classes are ever looked up.

A pickle is a program. This reader lets it name classes of the listed modules of River and
scikit-learn, a few of the standard library and of numpy, and nothing more: no function, no
attribute of a class, nothing that one of those modules has merely imported. It bounds the size
too. What it cannot bound is what an allowed class does with absurd arguments, so it is for
rows and artefacts of one's own, which somebody may have tampered with; not for strangers'.
"""

from __future__ import annotations

import pickle
from typing import Any, Final

MAX_BYTES: Final = 8_388_608
"""Most bytes of a pickle."""

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
MODULES: Final = tuple(
    [f"river.{name}" for name in _RIVER] + [f"sklearn.{name}" for name in _SKLEARN]
)
"""Modules, with all below them, whose own classes may be named."""

NAMES: Final[dict[str, tuple[str, ...]]] = {
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
"""What else may be named, exactly."""


class _Bytes:
    """Bytes as the file that an unpickler wants; nothing is opened."""

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


class _Restricted(pickle.Unpickler):
    """An unpickler that looks up allowed names only."""

    def __init__(self, data: bytes, modules: tuple[str, ...]) -> None:
        super().__init__(_Bytes(data))
        self._modules = modules

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed class; refuse everything else before it is imported."""
        if name in NAMES.get(module, ()):
            return super().find_class(module, name)
        if "." in name or not _below(module, self._modules):
            raise ValueError(f"a stored model may not name {module}.{name}")
        found = super().find_class(module, name)
        if not (isinstance(found, type) and _below(found.__module__, self._modules)):
            raise ValueError(f"a stored model may not name {module}.{name}: it is no class of it")
        return found


def _below(module: str, allowed: tuple[str, ...]) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in allowed)


def loads(data: bytes, *, modules: tuple[str, ...] = (), max_bytes: int = MAX_BYTES) -> Any:
    r"""Read one pickled object.

    Parameters
    ----------
    data : bytes
        A pickle.
    modules : tuple of str, optional
        More modules whose own classes may be named: those of a user's own estimators. They come
        from code, never from what is stored.
    max_bytes : int
        A longer one is refused.

    Raises
    ------
    ValueError
        If it is too long, names what is not allowed, or is damaged.

    Examples
    --------
    >>> loads(pickle.dumps({"a": [1, 2.0]}))
    {'a': [1, 2.0]}
    >>> loads(b"cos\nsystem\n(S'true'\ntR.")
    Traceback (most recent call last):
    ...
    ValueError: a stored model may not name os.system
    """
    if len(data) > max_bytes:
        raise ValueError(f"a stored model must have at most {max_bytes:,} bytes, had {len(data):,}")
    try:
        return _Restricted(data, (*MODULES, *modules)).load()
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle raises whatever it happens to run into
        raise ValueError(f"a stored model cannot be read: {error!r}") from error
