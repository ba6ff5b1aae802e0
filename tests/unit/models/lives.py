"""Simulated forecasters, fed to the authority policy label by label."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from riskwatch.core.clock import SECOND
from riskwatch.core.risk.scorer import EvidenceConfig, GenerationConfig, ModelsConfig, TargetConfig
from riskwatch.models.authority import AuthorityPolicy
from riskwatch.models.base import sigmoid
from riskwatch.models.config import generation_specs, target_specs
from riskwatch.models.evidence import Evidence
from riskwatch.models.state import EnsembleState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from riskwatch.core.outputs import AuthorityChanged

HORIZON_S: Final = 60.0
EVERY_S: Final = 30.0
TARGET: Final = "depeg(discount 50bp, 1min)"
NEWCOMER: Final = "newcomer"


@dataclass
class World:
    """A simulated world: log-odds that wander, and labels whose horizons overlap."""

    seed: int
    base: float = -2.0
    swing: float = 1.5
    memory: float = 0.8

    def labels(self, count: int) -> Iterator[tuple[float, bool]]:
        """Yield the best knowable log-odds of each label, and the label."""
        rng = random.Random(self.seed)
        level, hits = 0.0, [False] * 3
        for n in range(count + 2):
            level = self.memory * level + (1.0 - self.memory**2) ** 0.5 * rng.gauss(0.0, 1.0)
            logit = self.base + self.swing * level
            # Half of a horizon is shared with the sample before.
            hits = [*hits[1:], rng.random() < sigmoid(logit)]
            if n >= 2:
                yield logit, hits[-1] or hits[-2]


def wander(rng: random.Random, size: float, memory: float) -> Iterator[float]:
    """Yield autocorrelated normal errors of standard deviation `size`."""
    error = rng.gauss(0.0, size)
    while True:
        yield error
        error = memory * error + (1.0 - memory**2) ** 0.5 * rng.gauss(0.0, size)


def random_forecaster(seed: int) -> Callable[[float], float]:
    """Make a forecaster that returns uniform random probabilities."""
    rng = random.Random(seed)
    return lambda _: rng.random()


def erring(seed: int, size: float, memory: float) -> Callable[[float], float]:
    """Make a forecaster that knows the odds, with autocorrelated errors."""
    errors = wander(random.Random(seed), size, memory)
    return lambda logit: sigmoid(logit + 0.7 + next(errors))


def make_policy(authority: str = "shadow", **evidence: Any) -> AuthorityPolicy:
    """Make a policy for the rules and one newcomer on one target; every true is an event."""
    settings = {"events_advisory": 1, "events_bounded": 1, "entities_bounded": 1, **evidence}
    config = ModelsConfig(
        targets=(TargetConfig(threshold=50.0, horizon_s=HORIZON_S),),
        generations=(
            GenerationConfig(model="rules", authority="full"),
            GenerationConfig(
                model="anchored", name=NEWCOMER, authority=authority, max_authority="full"
            ),
        ),
        label_every_s=EVERY_S,
        evidence=EvidenceConfig(event_gap_s=1.0, **settings),
    )
    return AuthorityPolicy(config, target_specs(config)["asset"], generation_specs(config))


def simulate(
    policy: AuthorityPolicy,
    labels: Iterator[tuple[float, bool]],
    rules: Callable[[float], float],
    newcomer: Callable[[float], float],
    *,
    until: str = "",
    state: EnsembleState | None = None,
    start: int = 0,
) -> list[tuple[int, AuthorityChanged]]:
    """Apply label after label; return each change of authority with the number of labels so far.

    `rules` and `newcomer` compute a probability from the true log-odds. The run ends early at
    the first change to the authority `until`.
    """
    state = EnsembleState({}) if state is None else state
    mine = Evidence()
    changes: list[tuple[int, AuthorityChanged]] = []
    for n, (logit, label) in enumerate(labels):
        taken = start + int(n * EVERY_S * SECOND)
        us = taken + int(HORIZON_S * SECOND)
        predictions = {"rules": rules(logit), NEWCOMER: newcomer(logit)}
        here = policy.at(state, TARGET, us)
        here.account(NEWCOMER, mine, predictions[NEWCOMER], taken, label=label)
        here.apply_label(predictions, taken, label=label)
        changes += [(n + 1, change) for change in state.changes]
        state.changes.clear()
        if changes and changes[-1][1].authority == until:
            break
    return changes
