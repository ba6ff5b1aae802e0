"""The restricted unpickler: it restores estimators and refuses programs."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from river import ensemble, linear_model, tree
from sklearn.ensemble import HistGradientBoostingClassifier

from riskwatch.models.frozen import restricted_loads
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
