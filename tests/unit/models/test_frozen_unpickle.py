"""The restricted unpickler: it restores estimators and refuses programs."""

from __future__ import annotations

import functools
import pickle
import random
import tracemalloc
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from river import ensemble, linear_model, tree
from sklearn.ensemble import HistGradientBoostingClassifier

from riskwatch.models.frozen import (
    MAX_CONTAINERS,
    MAX_PICKLE_BYTES,
    MAX_STEPS,
    MAX_STORED,
    restricted_loads,
)
from riskwatch.models.sample_recorder import LabelledSample
from tests.support.joined_models import labelled

if TYPE_CHECKING:
    from pathlib import Path


class Call:
    """An object that calls a function when it is unpickled."""

    def __init__(self, func: Any, *args: Any) -> None:
        self._call = func, args

    def __reduce__(self) -> Any:
        """Return the call for the pickle."""
        return self._call


def named(module: str, name: str) -> bytes:
    """Return a pickle that only names an object (protocol 4, so the name may have dots)."""
    return (
        b"\x80\x04"
        + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name))
        + b"\x93."
    )


def test_a_program_is_refused_before_it_runs(tmp_path: Path) -> None:
    """A pickle that would run a shell command is refused, and the command does not run."""
    mark = tmp_path / "ran"
    import os

    with pytest.raises(ValueError, match=r"may not name posix\.system"):
        restricted_loads(pickle.dumps(Call(os.system, f"touch {mark}")))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("os", "system"),
        ("subprocess", "Popen"),
        ("functools", "reduce"),
        ("operator", "attrgetter"),
        ("importlib", "import_module"),
        ("pickle", "loads"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("riskwatch.models.registry", "build"),
        # Names that an allowed module imported, and attributes of its classes.
        ("river.base.estimator", "inspect"),
        ("river.linear_model.base", "np"),
        ("river.linear_model.base", "np.load"),
        ("river.naive_bayes.gaussian", "GaussianNB._make_gaussian"),
        ("river.utils.pretty", "print_table"),
        ("sklearn.base", "clone"),
        ("sklearn.pipeline", "make_pipeline"),
        ("sklearn.ensemble._forest", "threading.Lock"),
        ("river.datasets", "Phishing"),
        ("river.stream", "iter_csv"),
        ("riverboat", "Anything"),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(module: str, name: str) -> None:
    """Functions, other modules, dotted names and imported names are refused."""
    with pytest.raises(ValueError, match=r"may not name|cannot be read"):
        restricted_loads(named(module, name))


def test_estimators_come_back() -> None:
    """River and scikit-learn estimators give equal predictions after a round trip."""
    x, labels = labelled(200)
    fitted = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(x, labels)
    assert np.array_equal(
        restricted_loads(pickle.dumps(fitted)).predict_proba(x), fitted.predict_proba(x)
    )
    models: tuple[Any, ...] = (
        tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=1),
        ensemble.ADWINBaggingClassifier(linear_model.LogisticRegression(), n_models=2, seed=1),
    )
    for model in models:
        states = [dict(zip("abc", row, strict=True)) for row in np.nan_to_num(x).tolist()]
        for state, label in zip(states, labels.tolist(), strict=True):
            model.learn_one(state, label)
        back = restricted_loads(pickle.dumps(model))
        for state in states:
            assert back.predict_proba_one(state) == model.predict_proba_one(state)


def test_damage_and_size_are_errors_of_value() -> None:
    """A truncated, an empty and an oversized pickle raise ValueError."""
    whole = pickle.dumps({"a": 1.0})
    for part in (b"", whole[:-3], b"\x80\x05garbage"):
        with pytest.raises(ValueError, match="cannot be read"):
            restricted_loads(part)
    with pytest.raises(ValueError, match="at most 10 bytes"):
        restricted_loads(whole, max_bytes=10)


def test_a_user_s_own_classes_need_their_module_named() -> None:
    """The caller must allow the module; the stored pickle cannot."""
    stored = pickle.dumps(LabelledSample(1, "e", "s", "t", True, {}))
    with pytest.raises(ValueError, match="may not name"):
        restricted_loads(stored)
    assert restricted_loads(stored, modules=("riskwatch.models.sample_recorder",)).us == 1


def text(value: str) -> bytes:
    """Return the steps that push a text."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


LOGISTIC = named("river.linear_model", "LogisticRegression")[:-1]
MIB = 1_048_576


def test_a_class_keeps_its_attributes() -> None:
    """A state for a class, in either form, is refused, and the class is as before."""
    before = dict(vars(linear_model.LogisticRegression))
    slots = LOGISTIC + b"N}" + text("mark") + b"K\x01s\x86b."
    plain = LOGISTIC + b"}" + text("mark") + b"K\x01sb."
    for program in (slots, plain):
        with pytest.raises(ValueError, match="may not set attributes of a class"):
            restricted_loads(program)
    assert dict(vars(linear_model.LogisticRegression)) == before


def test_a_function_keeps_its_attributes() -> None:
    """A state for a function that may be named is refused."""
    program = named("copyreg", "_reconstructor")[:-1] + b"N}" + text("mark") + b"K\x01s\x86b."
    with pytest.raises(ValueError, match="may not set attributes of a class or a function"):
        restricted_loads(program)


@pytest.mark.parametrize(
    "made",
    [
        Call(bytearray, 256 * MIB),
        Call(np.ndarray, (256 * MIB,)),
        Call(np.empty(0).__reduce__()[0], np.ndarray, (256 * MIB,), b"b"),
        Call(type(np.float64(1.0)).__reduce__(np.float64(1.0))[0], np.dtype("V268435456")),
        Call(functools.partial, bytearray, 256 * MIB),
        Call(defaultdict, functools.partial(bytearray, 256 * MIB)),
        Call(HistGradientBoostingClassifier, 2**40),
    ],
    ids=["bytearray", "ndarray", "reconstruct", "scalar", "partial", "default", "estimator"],
)
def test_no_size_in_a_call_allocates(made: Call) -> None:
    """A few bytes that ask for a quarter of a gibibyte are refused, and nothing is allocated."""
    stored = pickle.dumps(made)
    assert len(stored) < 300
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="may not"):
            restricted_loads(stored)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_only_what_is_named_is_called() -> None:
    """An object that a program made, such as a partial, cannot be called."""
    made = pickle.dumps(functools.partial(dict))[:-1]
    with pytest.raises(ValueError, match="may only call what it names"):
        restricted_loads(made + b")R.")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (b"N" + b"0N" * (MAX_STEPS // 2) + b".", "steps"),
        (b"]" * (MAX_CONTAINERS + 1) + b".", "containers"),
        (b"\x8f" * (MAX_CONTAINERS + 1) + b".", "containers"),
        (b"N" + b"\x94" * (MAX_STORED + 1) + b".", "parts"),
        (b"Nr" + (2**27).to_bytes(4, "little") + b".", "parts"),
        (b"\x96" + (256 * MIB).to_bytes(8, "little") + b".", "cannot be read"),
        (b"\x8e" + (256 * MIB).to_bytes(8, "little") + b".", "cannot be read"),
    ],
    ids=["steps", "lists", "sets", "memo", "index", "bytearray", "bytes"],
)
def test_what_a_pickle_makes_is_bounded(program: bytes, why: str) -> None:
    """Steps, containers, stored parts, places of stored parts and lengths have bounds."""
    assert len(program) <= MAX_PICKLE_BYTES
    with pytest.raises(ValueError, match=why):
        restricted_loads(b"\x80\x05" + program)


@pytest.mark.parametrize("kind", ["bytearray", "list"])
def test_one_part_is_not_copied_again_and_again(kind: str) -> None:
    """A part of 100 KB that a thousand calls copy is refused."""
    data = pickle.dumps(b"x" * 100_000 if kind == "bytearray" else [1] * 50_000, protocol=4)[:-1]
    copy = named("builtins", kind)[2:-1] + b"h\x00\x85R0"
    program = data + b"0" + copy * 1_000 + b"N."
    with pytest.raises(ValueError, match="again and again"):
        restricted_loads(program)


def test_a_state_names_no_larger_array_than_its_bytes() -> None:
    """A state of an array of no bytes each cannot claim a thousand million elements."""
    array: Any = np.zeros(3, dtype="S1").__reduce__()
    version, _, _, fortran, raw = array[2]

    class Large:
        def __reduce__(self) -> Any:
            return array[0], array[1], (version, (10**9,), np.dtype("S0"), fortran, raw)

    with pytest.raises(ValueError, match="may not make an array"):
        restricted_loads(pickle.dumps(Large()))


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_plain_values_come_back_in_every_protocol(protocol: int) -> None:
    """Containers, arrays, generators, partials and numbers survive the checks."""
    value = {
        "list": list(range(300)), "set": {1, 2}, "bytes": b"b" * 99, "array": bytearray(b"abc"),
        "big": 2**300, "generator": random.Random(1), "default": defaultdict(list, a=[1]),
        "partial": functools.partial(dict, a=1),
    }  # fmt: skip
    if protocol < 5:
        del value["array"]  # codecs.encode, which is not allowed, writes it
    back = restricted_loads(pickle.dumps(value, protocol=protocol))
    for name in value.keys() - {"generator", "partial"}:
        assert back[name] == value[name], name
    assert back["generator"].random() == random.Random(1).random()
    assert back["partial"]() == {"a": 1}
