"""The configuration of models, checked and made ready: what is asked, and who answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from riskwatch.core.clock import SECOND
from riskwatch.errors import ModelError
from riskwatch.models import registry
from riskwatch.models.base import Authority, Generation, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from riskwatch.core.risk.models import GenerationConfig, ModelsConfig, TargetConfig

RULES: Final = "rules"
"""Generation 0. Nothing caps what goes by this name, so nothing else may have it."""


@dataclass(frozen=True, slots=True)
class Question:
    """One target, and the feature that it is measured by."""

    id: str
    target: Target
    measure: str


@dataclass(frozen=True, slots=True)
class Rung:
    """One generation.

    Attributes
    ----------
    name : str
        What it is called in scores, rows and asks.
    authority : Authority
        How far it may go, as configured: a model has no say in that.
    make : callable
        Makes one that has seen nothing, for the target whose id it is given.
    newborns : dict of str to Generation
        By target, one that has seen nothing, to score what nothing was learned about yet.
    """

    name: str
    authority: Authority
    make: Callable[..., Generation]
    newborns: dict[str, Generation] = field(default_factory=dict)

    def newborn(self, target: str) -> Generation:
        """Return one that has seen nothing, for a target."""
        if target not in self.newborns:
            self.newborns[target] = self.make(target)
        return self.newborns[target]


def questions(config: ModelsConfig) -> dict[str, tuple[Question, ...]]:
    """What is asked, by kind of scope, in the order of the configuration.

    Raises
    ------
    ModelError
        If a target is impossible or comes twice, or more samples could wait for their labels
        than `max_pending` allows.
    """
    if not (math.isfinite(config.label_every_s) and config.label_every_s > 0.0):
        raise ModelError(f"label_every_s must be finite and positive, was {config.label_every_s}")
    if config.max_scopes < 1:
        raise ModelError(f"max_scopes must be at least 1, was {config.max_scopes}")
    made: dict[str, tuple[Question, ...]] = {}
    ids: dict[str, None] = {}
    for wanted in config.targets:
        question = _question(wanted)
        if question.id in ids:
            raise ModelError(f"target {question.id} is given twice")
        ids[question.id] = None
        waiting = math.ceil(wanted.horizon_s / config.label_every_s)
        if waiting > config.max_pending:
            raise ModelError(
                f"target {question.id}: {waiting} samples can wait at once with label_every_s = "
                f"{config.label_every_s:g}, more than max_pending = {config.max_pending}"
            )
        made[wanted.scope_kind] = (*made.get(wanted.scope_kind, ()), question)
    return made


def rungs(config: ModelsConfig) -> tuple[Rung, ...]:
    """Who answers, in the order of the configuration.

    Raises
    ------
    ModelError
        If a generation is unknown, refuses its options, or has another's name.
    """
    made = tuple(_rung(wanted) for wanted in config.generations)
    names = [rung.name for rung in made]
    if len(dict.fromkeys(names)) != len(names):
        raise ModelError(f"generations must have names of their own, were {', '.join(names)}")
    return made


def _question(wanted: TargetConfig) -> Question:
    try:
        target = Target(
            kind=wanted.kind,
            threshold=wanted.threshold,
            horizon_s=wanted.horizon_s,
            side=wanted.side,
            unit=wanted.unit,
            start=wanted.start,
        )
    except ValueError as error:
        raise ModelError(f"target {wanted.kind}: {error}") from error
    if int(target.horizon_s * SECOND) < 1:
        raise ModelError(f"target {target.id}: horizon_s must be at least a microsecond")
    if not wanted.kind or "|" in target.id:
        raise ModelError(f"target {target.id}: kind must have a name, without '|'")
    if not wanted.measure:
        raise ModelError(f"target {target.id}: measure must name a feature")
    return Question(target.id, target, wanted.measure)


def _rung(wanted: GenerationConfig) -> Rung:
    name = wanted.name or wanted.model
    if "|" in name:
        raise ModelError(f"generation {name!r} must have a name without '|'")
    if (name == RULES) != (wanted.model == RULES):
        raise ModelError(
            f"generation {name!r} must not be model {wanted.model!r}: "
            "'rules' is the name of the rules, and theirs alone"
        )
    try:
        authority = Authority(wanted.authority)
    except ValueError:
        known = ", ".join(Authority)
        raise ModelError(
            f"authority of generation {name!r} must be one of {known}, was {wanted.authority!r}"
        ) from None
    if name == RULES and authority is not Authority.FULL:
        raise ModelError("generation 'rules' must have authority 'full': people change rules")
    factory = registry.factory(wanted.model)
    make = partial(registry.make, wanted.model, factory, wanted.options)
    made = Rung(name, authority, make)
    made.newborn("")  # refuses options that it cannot be made with
    return made
