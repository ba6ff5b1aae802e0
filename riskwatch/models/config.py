"""Checks the configuration of models, and builds its targets and generations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from riskwatch.core.clock import SECOND
from riskwatch.core.risk.scorer import ENSEMBLE, PriorConfig
from riskwatch.core.risk.scorer import RULES_GENERATION as RULES_GENERATION  # noqa: PLC0414 - named here for models
from riskwatch.errors import ModelError
from riskwatch.models import registry
from riskwatch.models.aggregate import RECALIBRATED
from riskwatch.models.base import Authority, Generation, PredictionTarget, RuleLogit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from riskwatch.core.risk.scorer import GenerationConfig, ModelsConfig, TargetConfig
    from riskwatch.models.detector import Detector
    from riskwatch.models.labels import PendingSamples


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """One configured target, and how it is measured.

    Attributes
    ----------
    id : str
        Identifier of the target.
    target : PredictionTarget
        The event to predict.
    parts : tuple of (str, float)
        Features with their divisors. The measure is the largest quotient.
    ours : bool
        Whether the measure depends on our own dealings.
    every : int
        Event time between two samples, microseconds.
    prior : PriorConfig
        The rule as a probability.
    """

    id: str
    target: PredictionTarget
    parts: tuple[tuple[str, float], ...]
    ours: bool
    every: int
    prior: PriorConfig = field(default_factory=PriorConfig)

    @property
    def rule(self) -> RuleLogit:
        """The rule as log-odds, at its prior."""
        prior = self.prior
        return RuleLogit(probability=prior.probability, slope=prior.slope, floor=prior.floor)

    def measure(self, known: Mapping[str, float]) -> float | None:
        """Return the measure, or ``None`` if none of its features is known.

        Examples
        --------
        >>> target = PredictionTarget(kind="stress", threshold=1.0, horizon_s=60.0, unit="")
        >>> spec = TargetSpec("q", target, (("age", 3.0), ("gap", 75.0)), ours=True, every=1)
        >>> spec.measure({"age": 6.0, "gap": 75.0}), spec.measure({"gap": 15.0})
        (2.0, 0.2)
        """
        if len(self.parts) == 1:
            ((name, at),) = self.parts
            return known[name] / at if name in known else None
        found = [known[name] / at for name, at in self.parts if name in known]
        return max(found) if found else None

    def sampled(self, waiting: PendingSamples | None, us: int) -> bool:
        """Return whether the last sample is at least `every` old, or there is none."""
        return waiting is None or us - waiting.sampled >= self.every

    def known_parts(self, known: Mapping[str, float]) -> list[str]:
        """Return the known features of the measure; empty if it has a single feature."""
        if len(self.parts) == 1:
            return []
        return [name for name, _ in self.parts if name in known]


@dataclass(frozen=True, slots=True)
class GenerationSpec:
    """One configured generation.

    Attributes
    ----------
    name : str
        Its name in scores, rows and asks.
    authority : Authority
        Authority that it starts with.
    ceiling : Authority
        Highest authority that it can get, by evidence or by command.
    make : callable
        Makes an untrained model, given the id of its target.
    newborns : dict of str to Generation
        Untrained models by target. They score scopes about which nothing was learned yet.
    is_pooled : bool
        Whether all scopes of a kind share one model per target.
    """

    name: str
    authority: Authority
    ceiling: Authority
    make: Callable[..., Generation]
    newborns: dict[str, Generation] = field(default_factory=dict)
    is_pooled: bool = False

    def untrained_model(self, target: str) -> Generation:
        """Return the untrained model of a target."""
        if target not in self.newborns:
            self.newborns[target] = self.make(target)
        return self.newborns[target]


def target_specs(config: ModelsConfig) -> dict[str, tuple[TargetSpec, ...]]:
    """Build the targets of a configuration, by kind of scope, in configured order.

    Raises
    ------
    ModelError
        If a target is invalid or given twice, or if more samples could wait for their labels
        than `max_pending` allows.
    """
    _require_positive("label_every_s", config.label_every_s)
    if config.max_scopes < 1:
        raise ModelError(f"max_scopes must be at least 1, was {config.max_scopes}")
    made: dict[str, tuple[TargetSpec, ...]] = {}
    ids: dict[str, None] = {}
    for configured in config.targets:
        every = (
            config.label_every_s if configured.label_every_s is None else configured.label_every_s
        )
        spec = _target_spec(configured, every)
        if spec.id in ids:
            raise ModelError(f"target {spec.id} is given twice")
        ids[spec.id] = None
        waiting = math.ceil(configured.horizon_s / every)
        if waiting > config.max_pending:
            raise ModelError(
                f"target {spec.id}: {waiting} samples can wait at once with label_every_s = "
                f"{every:g}, more than max_pending = {config.max_pending}"
            )
        made[configured.scope_kind] = (*made.get(configured.scope_kind, ()), spec)
    return made


def generation_specs(config: ModelsConfig) -> tuple[GenerationSpec, ...]:
    """Build the generations of a configuration, in configured order.

    Raises
    ------
    ModelError
        If a generation is unknown, refuses its options, or has the name of another.
    """
    targets = [spec for group in target_specs(config).values() for spec in group]
    priors = {spec.id: spec.prior for spec in targets}
    made = tuple(_generation_spec(configured, priors) for configured in config.generations)
    names = [spec.name for spec in made]
    if len(dict.fromkeys(names)) != len(names):
        raise ModelError(f"generations must have names of their own, were {', '.join(names)}")
    return made


def detectors_by_kind(config: ModelsConfig) -> dict[str, dict[str, Detector]]:
    """Build the untrained detectors of anomalies, by kind of scope and feature.

    Raises
    ------
    ModelError
        If a detector is invalid, or two have one feature.
    """
    if not config.detectors:
        return {}
    from riskwatch.models.detector import Detector  # noqa: PLC0415 - takes seconds to import

    made: dict[str, dict[str, Detector]] = {}
    names = [configured.feature for configured in config.detectors]
    for configured in config.detectors:
        if names.count(configured.feature) > 1 or not configured.feature:
            raise ModelError(f"detector {configured.feature!r} must have a feature of its own")
        if configured.feature in configured.scales:
            raise ModelError(f"detector {configured.feature!r} must not be an input of itself")
        made.setdefault(configured.scope_kind, {})[configured.feature] = Detector(configured)
    return made


def _require_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0.0):
        raise ModelError(f"{name} must be finite and positive, was {value}")


def _target_spec(configured: TargetConfig, every: float) -> TargetSpec:
    _require_positive("label_every_s", every)
    try:
        target = PredictionTarget(
            kind=configured.kind,
            threshold=configured.threshold,
            horizon_s=configured.horizon_s,
            side=configured.side,
            unit=configured.unit,
            start=configured.start,
        )
    except ValueError as error:
        raise ModelError(f"target {configured.kind}: {error}") from error
    if int(target.horizon_s * SECOND) < 1:
        raise ModelError(f"target {target.id}: horizon_s must be at least a microsecond")
    if not configured.kind or "|" in target.id:
        raise ModelError(f"target {target.id}: kind must have a name, without '|'")
    parts = tuple((part.feature, part.at) for part in configured.any) or (
        (configured.measure, 1.0),
    )
    for name, at in parts:
        if not name:
            raise ModelError(f"target {target.id}: measure must name a feature")
        _require_positive(f"target {target.id}: at of {name}", at)
    if configured.any and target.threshold != 1.0:
        raise ModelError(
            f"target {target.id}: threshold must be 1 where any is given: its `at` are thresholds"
        )
    return TargetSpec(
        target.id, target, parts, configured.ours, max(1, int(every * SECOND)), configured.prior
    )


def _generation_spec(
    configured: GenerationConfig, priors: Mapping[str, PriorConfig]
) -> GenerationSpec:
    name = configured.name or configured.model
    if name in (ENSEMBLE, RECALIBRATED):
        raise ModelError(f"generation {name!r} must have another name: that is everybody's")
    if "|" in name:
        raise ModelError(f"generation {name!r} must have a name without '|'")
    if (name == RULES_GENERATION) != (configured.model == RULES_GENERATION):
        raise ModelError(
            f"generation {name!r} must not be model {configured.model!r}: "
            "'rules' is the name of the rules, and theirs alone"
        )
    authority = _authority(name, "authority", configured.authority)
    ceiling = _authority(name, "max_authority", configured.max_authority or configured.authority)
    if ceiling.rank < authority.rank:
        raise ModelError(f"max_authority of generation {name!r} must not be below its authority")
    if name == RULES_GENERATION and authority is not Authority.FULL:
        raise ModelError("generation 'rules' must have authority 'full': people change rules")
    factory = registry.factory(configured.model)
    _require_river_settings(name, configured)
    if configured.pipeline:
        options = {"pipeline": configured.pipeline, **configured.options}
        configured = msgspec.structs.replace(configured, options=options)
        if options.get("pickled") and ceiling is not Authority.SHADOW:
            raise ModelError(f"generation {name!r} is pickled, so it may be 'shadow' alone")
    make = partial(registry.make, configured.model, factory, configured.options)
    if configured.model in registry.RULE_ANCHORED:
        make = partial(_make_at_prior, configured, factory, priors)
    made = GenerationSpec(name, authority, ceiling, make, is_pooled=bool(configured.pool))
    untrained = made.untrained_model("")  # raises if the options are invalid
    if made.is_pooled:
        _require_poolable(name, untrained)
    return made


def _require_poolable(name: str, untrained: Generation) -> None:
    from riskwatch.models.river_generation import (  # noqa: PLC0415 - takes seconds to import
        OffsetGeneration,
    )

    if not isinstance(untrained, OffsetGeneration):
        raise ModelError(
            f"generation {name!r} cannot be pooled: a logistic regression of River alone can"
        )


def _require_river_settings(name: str, configured: GenerationConfig) -> None:
    """Check the settings that the model ``river`` alone has."""
    if configured.pool not in ("", "kind"):
        raise ModelError(f"pool of generation {name!r} must be 'kind', was {configured.pool!r}")
    if bool(configured.pipeline) != (configured.model == "river"):
        raise ModelError(
            f"generation {name!r} must have a pipeline if its model is 'river', and else none"
        )


def _make_at_prior(
    configured: GenerationConfig,
    factory: Callable[..., Generation],
    priors: Mapping[str, PriorConfig],
    target: str,
) -> Generation:
    """Make a generation that starts at the prior of its target; its own options override it."""
    prior = priors.get(target)
    options = dict(configured.options)
    if prior is not None:
        measured = {"anchor": prior.probability, "slope": prior.slope, "floor": prior.floor}
        options = {**measured, **options}
    return registry.make(configured.model, factory, options, target)


def _authority(name: str, field: str, value: str) -> Authority:
    try:
        return Authority(value)
    except ValueError:
        known = ", ".join(Authority)
        raise ModelError(
            f"{field} of generation {name!r} must be one of {known}, was {value!r}"
        ) from None
