"""Conformance kit for models: what every generation must keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from riskwatch.checks import model_bounds, model_conduct
from riskwatch.checks.model_subject import Subject
from riskwatch.errors import ModelCheckError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from riskwatch.models.base import Generation

CHECKS: Final[dict[str, Callable[[Subject], None]]] = {
    "shape": model_conduct.shape,
    "pure_score": model_conduct.pure_score,
    "no_aliasing": model_conduct.no_aliasing,
    "missing_features": model_conduct.missing_features,
    "new_features": model_conduct.new_features,
    "feature_order": model_conduct.feature_order,
    "no_chance": model_conduct.no_chance,
    "across_processes": model_conduct.across_processes,
    "copies": model_conduct.copies,
    "state_round_trip": model_conduct.state_round_trip,
    "learned_is_stored": model_conduct.learned_is_stored,
    "foreign_state": model_conduct.foreign_state,
    "finite": model_conduct.finite,
    "bounded": model_bounds.bounded,
    "time_per_event": model_bounds.time_per_event,
    "steady_time": model_bounds.steady_time,
}
"""Every check by its name, in the order in which they run."""


def check_model(
    model: str | Callable[..., Generation],
    *,
    options: Mapping[str, Any] | None = None,
    only: tuple[str, ...] = (),
    **bounds: Any,
) -> tuple[str, ...]:
    """Check that a model keeps what the engine relies on.

    It scores before it learns and is not changed by that; it is pure, repeatable (in other
    processes too), explained in parts that add up; it does not hold on to its inputs; it bears
    missing, new and extreme features; copies and restored states go on bit for bit; and its
    state, memory and time per event are bounded.

    Parameters
    ----------
    model : str or callable
        Name of a built-in model or of an entry point in the group ``riskwatch.models``, or a
        factory. The factory must be importable by its name, for it is run in other processes.
    options : mapping, optional
        Keyword arguments of the factory.
    only : tuple of str
        Names out of :data:`CHECKS` to run; all if empty.
    **bounds
        Other fields of :class:`~riskwatch.checks.model_subject.Subject`: ``features``,
        ``target``, ``events``, ``max_state_bytes``, ``score_ratio``, ``learn_ratio``.

    Returns
    -------
    tuple of str
        Names of the checks, all of which passed.

    Raises
    ------
    ModelCheckError
        Naming every check that failed, and why.
    ModelError
        If the model cannot be built at all, or `only` names a check that there is not.

    Examples
    --------
    >>> check_model("rules", only=("shape", "pure_score"))
    ('shape', 'pure_score')
    """
    unknown = [name for name in only if name not in CHECKS]
    if unknown:
        raise ModelCheckError(str(model), dict.fromkeys(unknown, "there is no such check"))
    subject = Subject(model, dict(options or {}), **bounds)
    subject.make()
    names = tuple(name for name in CHECKS if not only or name in only)
    failures = {name: why for name in names if (why := _failure(CHECKS[name], subject))}
    if failures:
        raise ModelCheckError(subject.name, failures)
    return names


def _failure(check: Callable[[Subject], None], subject: Subject) -> str:
    """Why a check failed; empty if it passed. Whatever a model raises is a failure of it."""
    try:
        check(subject)
    except Exception as error:  # noqa: BLE001 - it is another's code that runs here
        text = str(error)
        return text if type(error).__name__ == "BrokenPromiseError" else f"{error!r}"
    return ""
