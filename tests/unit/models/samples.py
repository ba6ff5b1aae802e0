"""Small configurations of models, and streams of observations for them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from riskwatch.core.clock import SECOND
from riskwatch.core.risk.scorer import GenerationConfig, ModelsConfig, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from riskwatch.core.risk.scorer import ModelScore
    from riskwatch.core.stage import Row
    from riskwatch.models.ensemble import Ensemble
    from riskwatch.models.state import EnsembleState

USDC: Final = "asset:USDC"
ONSET: Final = "depeg(discount 50bp, 1min)"
ESCALATION: Final = "depeg(discount 200bp, 1min, from 50bp)"
SCALES: Final = {"velocity_bp": 10.0, "breadth": 2.0}

Observation = tuple[int, dict[str, float], bool]
"""Event time in microseconds, features, and whether the measure is trusted as a label."""


def anchored(**more: Any) -> GenerationConfig:
    """Return a generation 1 that leaves the rule soon; `more` are fields of its configuration."""
    options = {"scales": SCALES, "radius_half": 5.0, **more.pop("options", {})}
    return GenerationConfig(model="anchored", options=options, **more)


def rules() -> GenerationConfig:
    """Return generation 0."""
    return GenerationConfig(model="rules", authority="full")


def config(*generations: GenerationConfig, **more: Any) -> ModelsConfig:
    """Return a configuration with onset and escalation within a minute, and a sample every 20 s."""
    return ModelsConfig(
        targets=(
            TargetConfig(threshold=50.0, horizon_s=60.0),
            TargetConfig(threshold=200.0, horizon_s=60.0, start=50.0),
        ),
        generations=generations or (rules(), anchored()),
        **{"label_every_s": 20.0, **more},
    )


def at(second: float, discount_bp: float, *, labelled: bool = True, **more: float) -> Observation:
    """Return one observation."""
    return round(second * SECOND), {"discount_bp": discount_bp, **more}, labelled


def walk(seed: int, count: int) -> Iterator[Observation]:
    """Yield observations every ten seconds; velocity announces a jump half a minute ahead."""
    rng = random.Random(seed)
    jumps = [rng.random() < 0.3 for _ in range(count // 6 + 2)]
    for n in range(count):
        block, place = divmod(n, 6)
        coming = jumps[block + 1] if place >= 3 else False
        discount = rng.uniform(60.0, 90.0) if jumps[block] and place < 3 else rng.uniform(5.0, 45.0)
        yield at(
            10.0 * n,
            round(discount, 6),
            velocity_bp=round((30.0 if coming else 0.0) + rng.gauss(0.0, 2.0), 6),
            breadth=float(rng.randrange(4)),
        )


def feed(
    ensemble: Ensemble, state: EnsembleState, stream: Iterable[Observation], scope: str = USDC
) -> list[list[ModelScore]]:
    """Observe a stream of one scope; return the scores of each observation."""
    return [
        ensemble.observe(state, us, scope, "asset", features, labelled=labelled)
        for us, features, labelled in stream
    ]


def rows_of(state: EnsembleState, rows: dict[str, Row] | None = None) -> dict[str, Row]:
    """Return the stored rows after a drain, on top of those stored before."""
    stored = {} if rows is None else rows
    for key, row in state.drain().items():
        assert row is not None
        stored[key] = row
    return stored


def of_scopes(rows: dict[str, Row]) -> dict[str, Row]:
    """Return the rows of single scopes, without those of a target over all scopes."""
    return {k: v for k, v in rows.items() if not k.startswith(("clock/", "standing/"))}
