"""Builds estimators of River by name, and exports what they learned in one canonical form.

The export is plain JSON: numbers and lists, names in the order in which they were first seen. It
contains no set, no hash order and no program. An estimator that is built again and gets the export
continues bit for bit. :data:`EXPORTS` lists the classes that can be exported.
"""

from __future__ import annotations

import math
from functools import cache
from inspect import isclass, signature
from typing import TYPE_CHECKING, Any, Final

from river import (
    anomaly,
    base,
    compose,
    feature_extraction,
    linear_model,
    optim,
    preprocessing,
)
from river.utils import VectorDict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

USE: Final = "use"
"""Key of a step that names the class."""
PACKAGES: Final[dict[str, Any]] = {
    "anomaly": anomaly,
    "compose": compose,
    "feature_extraction": feature_extraction,
    "linear_model": linear_model,
    "optim": optim,
    "optim.losses": optim.losses,
    "optim.schedulers": optim.schedulers,
    "preprocessing": preprocessing,
}
"""Packages of River whose classes a configuration may name; :func:`_more_packages` has others."""
MAX_STEPS: Final = 8
MAX_STATE_BYTES: Final = 32_768
"""Largest export, bytes as JSON."""
_UNIT: Final = (0.0, 1.0)


# Building.


def build_estimator(steps: Sequence[Mapping[str, Any]]) -> Any:
    """Return the untrained estimator of some steps; several steps are a pipeline.

    Parameters
    ----------
    steps : sequence of mapping
        Each has ``use``, the name of a class of River such as ``linear_model.LogisticRegression``,
        and its arguments. An argument that is a mapping with ``use`` is built first, so an
        optimizer can be named.

    Raises
    ------
    ValueError
        If there is no step or too many, a name is not that of a class of River, or an argument is
        unknown or refused.

    Examples
    --------
    >>> made = build_estimator([
    ...     {"use": "preprocessing.StandardScaler"},
    ...     {"use": "linear_model.LogisticRegression", "l2": 0.01,
    ...      "optimizer": {"use": "optim.SGD", "lr": 0.02}}])
    >>> list(made.steps), made["LogisticRegression"].l2
    (['StandardScaler', 'LogisticRegression'], 0.01)
    >>> build_estimator([{"use": "os.system"}])
    Traceback (most recent call last):
    ...
    ValueError: 'os.system' must name a class of River, as in 'linear_model.LogisticRegression'
    """
    if not 0 < len(steps) <= MAX_STEPS:
        raise ValueError(f"pipeline must have 1 to {MAX_STEPS} steps, had {len(steps)}")
    made = [_built(step) for step in steps]
    return made[0] if len(made) == 1 else compose.Pipeline(*made)


def _built(step: Mapping[str, Any]) -> Any:
    """Return the object that a step names."""
    if USE not in step:
        raise ValueError(f"every step must have {USE!r}, had {', '.join(sorted(step)) or 'none'}")
    made = _named_class(step[USE])
    arguments = {name: _argument(value) for name, value in step.items() if name != USE}
    unknown = sorted(set(arguments) - set(signature(made).parameters))
    if unknown:
        raise ValueError(f"{step[USE]} has no argument {unknown[0]!r}")
    try:
        return made(**arguments)
    except (ArithmeticError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{step[USE]} refuses its arguments: {error}") from error


def _argument(value: Any) -> Any:
    """Return an argument, built if it names a class."""
    return _built(value) if isinstance(value, dict) and USE in value else value


def _named_class(name: object) -> Callable[..., Any]:
    """Return the class that a name such as ``optim.SGD`` stands for."""
    package, _, last = name.rpartition(".") if isinstance(name, str) else ("", "", "")
    module = PACKAGES.get(package) or _more_packages().get(package)
    if last in getattr(module, "__all__", ()):
        found: Any = getattr(module, last)
        if isclass(found) and issubclass(found, base.Base):
            return found
    raise ValueError(
        f"{name!r} must name a class of River, as in 'linear_model.LogisticRegression'"
    )


@cache
def _more_packages() -> dict[str, Any]:
    """Return the packages of trees and neighbours, which take a second to import."""
    from river import (  # noqa: PLC0415 - the import takes a second
        ensemble,
        facto,
        feature_selection,
        forest,
        naive_bayes,
        neighbors,
        tree,
    )

    return {
        "ensemble": ensemble,
        "facto": facto,
        "feature_selection": feature_selection,
        "forest": forest,
        "naive_bayes": naive_bayes,
        "neighbors": neighbors,
        "tree": tree,
    }


# Exporting. A pair of functions per class: what it learned as JSON, and the way back into an
# untrained object of the same arguments.


def export_state(estimator: Any) -> Any:
    """Return what an estimator learned, as plain JSON.

    Raises
    ------
    TypeError
        If no canonical export of its class exists; see :func:`is_exportable`.
    """
    found = EXPORTS.get(type(estimator))
    if found is None:
        raise TypeError(f"{type(estimator).__name__} has no canonical export")
    return found[0](estimator)


def import_state(estimator: Any, state: Any) -> None:
    """Give an untrained estimator what was exported of an equal one.

    Raises
    ------
    ValueError
        If the state has another form.
    """
    try:
        EXPORTS[type(estimator)][1](estimator, state)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"state must be of a {type(estimator).__name__}: {error!r}") from error


def is_exportable(estimator: Any) -> bool:
    """Return whether an estimator, and everything that it contains, has a canonical export."""
    try:
        export_state(estimator)
    except TypeError:
        return False
    return True


def _pairs(values: Any) -> list[list[Any]]:
    """Return names and numbers in the order in which the names were first seen."""
    return [[name, float(value)] for name, value in values.items()]


def _finite(pairs: Any) -> dict[str, float]:
    """Read names and numbers back."""
    found = {str(name): float(value) for name, value in pairs}
    if not all(map(math.isfinite, found.values())):
        raise ValueError("state must hold finite numbers")
    return found


def _nothing(_: Any) -> list[Any]:
    """Export nothing: such an object learns nothing."""
    return []


def _unchanged(_: Any, state: Any) -> None:
    """Accept the empty state."""
    if state != []:
        raise ValueError(f"state must be empty, was {state!r}")


def _export_pipeline(made: compose.Pipeline) -> list[Any]:
    return [export_state(step) for step in made.steps.values()]


def _import_pipeline(made: compose.Pipeline, state: Any) -> None:
    for step, part in zip(made.steps.values(), state, strict=True):
        import_state(step, part)


def _export_scaler(made: preprocessing.StandardScaler) -> list[Any]:
    if made.window_size is not None:
        raise TypeError("a StandardScaler with a window has no canonical export")
    # Scoring leaves entries of features that were never learned; they say nothing.
    return [[name, n, made.means[name], made.vars[name]] for name, n in made.counts.items()]


def _import_scaler(made: preprocessing.StandardScaler, state: Any) -> None:
    for name, count, mean, variance in state:
        made.counts[str(name)] = int(count)
        made.means[str(name)], made.vars[str(name)] = float(mean), float(variance)


def _export_sgd(made: optim.base.Optimizer) -> list[Any]:
    _require_constant(made)
    return [made.n_iterations]


def _import_sgd(made: optim.base.Optimizer, state: Any) -> None:
    (made.n_iterations,) = (int(n) for n in state)


def _export_adagrad(made: optim.AdaGrad) -> list[Any]:
    _require_constant(made)
    return [made.n_iterations, _pairs(made.g2)]


def _import_adagrad(made: optim.AdaGrad, state: Any) -> None:
    made.n_iterations = int(state[0])
    made.g2.update(_finite(state[1]))


def _require_constant(made: optim.base.Optimizer) -> None:
    if not type(made.lr).__module__.startswith("river.optim."):
        raise TypeError(f"a schedule {type(made.lr).__name__} has no canonical export")


def _export_regression(made: linear_model.LogisticRegression) -> dict[str, Any]:
    if made.l1:
        raise TypeError("a LogisticRegression with l1 has no canonical export")
    return {
        "intercept": float(made.intercept),
        "optimizer": export_state(made.optimizer),
        "weights": _pairs(made.weights),
    }


def _import_regression(made: linear_model.LogisticRegression, state: Any) -> None:
    made.intercept = float(state["intercept"])
    import_state(made.optimizer, state["optimizer"])
    made._weights = VectorDict(_finite(state["weights"]))  # noqa: SLF001 - River has no setter


def _export_trees(made: anomaly.HalfSpaceTrees) -> dict[str, Any]:
    """Export the masses of the nodes; the seed and the names give the nodes themselves."""
    if made.seed is None or any(found != _UNIT for found in made.limits.values()):
        raise TypeError("HalfSpaceTrees without a seed, or with limits, has no canonical export")
    trees = made._tree_nodes  # noqa: SLF001 - River has no accessor
    return {
        # The first example put its names there, and the nodes were drawn from them.
        "names": sorted(made.limits),
        "counter": made.counter,
        "first": made._first_window,  # noqa: SLF001 - River has no accessor
        "left": [[node.l_mass for node in nodes] for nodes in trees],
        "right": [[node.r_mass for node in nodes] for nodes in trees],
    }


def _import_trees(made: anomaly.HalfSpaceTrees, state: Any) -> None:
    if state["names"]:
        # The first example draws the same nodes again, whatever its values are.
        made.learn_one({str(name): 0.5 for name in state["names"]})  # type: ignore[no-untyped-call]
    made.counter, made._first_window = int(state["counter"]), bool(state["first"])  # noqa: SLF001
    masses = zip(made._tree_nodes, state["left"], state["right"], strict=True)  # noqa: SLF001
    for nodes, left, right in masses:
        for node, mass, reference in zip(nodes, left, right, strict=True):
            node.l_mass, node.r_mass = int(mass), int(reference)


EXPORTS: Final[dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], None]]]] = {
    compose.Pipeline: (_export_pipeline, _import_pipeline),
    preprocessing.StandardScaler: (_export_scaler, _import_scaler),
    preprocessing.Normalizer: (_nothing, _unchanged),
    feature_extraction.PolynomialExtender: (_nothing, _unchanged),
    linear_model.LogisticRegression: (_export_regression, _import_regression),
    optim.SGD: (_export_sgd, _import_sgd),
    optim.AdaGrad: (_export_adagrad, _import_adagrad),
    anomaly.HalfSpaceTrees: (_export_trees, _import_trees),
}
"""Classes whose state has a canonical export: a function out, and a function back."""
