"""Builds generations by name, from this package or from entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from riskwatch.errors import ModelError
from riskwatch.models.adaptive import AdaptiveGeneration, AnchoredGeneration
from riskwatch.models.base import Generation, RulesGeneration
from riskwatch.models.frozen import FrozenGeneration
from riskwatch.models.sample_recorder import RecorderGeneration
from riskwatch.models.trees import BatchGeneration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _river_by_name(**options: Any) -> Generation:
    """Return a generation of River; only a configuration that names one imports its packages."""
    from riskwatch.models.river_generation import river_by_name  # noqa: PLC0415 - takes seconds

    return river_by_name(**options)


GROUP: Final = "riskwatch.models"
"""Entry-point group of models from other packages."""

BUILTIN: Final[dict[str, Callable[..., Generation]]] = {
    "rules": RulesGeneration,
    "anchored": AnchoredGeneration,
    "adaptive": AdaptiveGeneration,
    "batch": BatchGeneration,
    "frozen": FrozenGeneration,
    "river": _river_by_name,
    "tape": RecorderGeneration,
}
"""Factories of the built-in generations. Another package cannot replace one."""

RULE_ANCHORED: Final = ("rules", "anchored", "adaptive", "batch", "river")
"""Built-in models that start from a rule and take the options ``anchor``, ``slope``, ``floor``."""


def build(name: str, options: Mapping[str, Any] | None = None, target: str = "") -> Generation:
    """Return a new generation.

    Parameters
    ----------
    name : str
        A built-in name, or the name of an entry point of the group ``riskwatch.models``.
        Installing a package loads nothing: its code runs only when it is named here.
    options : mapping, optional
        Keyword arguments of the factory.
    target : str, optional
        Id of the target to score; see :func:`make`.

    Raises
    ------
    ModelError
        If the name is unknown or declared by two packages, the object cannot be loaded or is
        not a generation, or the factory refuses the options.

    Examples
    --------
    >>> build("anchored", {"scales": {"velocity": 20.0}}).score({"severity": 1.0}).probability
    0.5
    >>> build("oracle")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    riskwatch.errors.ModelError: model 'oracle' is unknown: built in are ...
    """
    return make(name, factory(name), options, target)


def make(
    name: str,
    factory: Callable[..., Generation],
    options: Mapping[str, Any] | None = None,
    target: str = "",
) -> Generation:
    """Call the factory named `name`; see :func:`build`.

    If the made object has a method ``of_target(id)``, that method returns the generation of
    this target. In this way one fitted artefact can hold a model per target.
    """
    try:
        made: object = factory(**(options or {}))
        of_target = getattr(made, "of_target", None)
        if target and of_target is not None:
            made = of_target(target)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model {name!r} refuses its options: {error}") from error
    if not isinstance(made, Generation):
        raise ModelError(
            f"model {name!r} is no generation: {type(made).__name__} must have score, learn, "
            "state and restore"
        )
    return made


def factory(name: str) -> Callable[..., Generation]:
    """Return the factory named `name`; see :func:`build`."""
    return BUILTIN.get(name) or _entry_point_factory(name)


def _entry_point_factory(name: str) -> Callable[..., Generation]:
    """Load the factory that another package declares under `name`."""
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        known = ", ".join(sorted(BUILTIN))
        raise ModelError(f"model {name!r} is unknown: built in are {known}")
    if len(found) > 1:
        values = ", ".join(sorted(point.value for point in found))
        raise ModelError(f"model {name!r} is given more than once: {values}")
    try:
        loaded: Callable[..., Generation] = found[0].load()
    except (ImportError, AttributeError) as error:
        raise ModelError(f"model {name!r} cannot be loaded: {error}") from error
    return loaded
