"""Scores go out when something changed, at most ten of a scope at a tick, and what is out holds."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.enums import Cause
from riskwatch.core.events import Credit, Tick
from riskwatch.core.outputs import DecisionMade, ScoreUpdated
from riskwatch.core.risk.evaluator import MAX_SCORES, SCORE_MOVE, SEVERITY_MOVE
from riskwatch.core.risk.stage import RiskStage
from riskwatch.engine import bootstrap
from riskwatch.models.ensemble import Ensemble
from tests.support.risk import (
    LIMITS,
    REFERENCE,
    Desk,
    asset,
    at,
    bitcoin,
    held,
    market,
    news,
    of,
    venue,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskwatch.core.outputs import Output
    from riskwatch.core.risk.scorer import ModelScore
    from riskwatch.core.risk.stage import RiskEvent

SEEDS = range(10)
CONFIG = bootstrap.configuration()
DUE = 6
"""Ticks of a minute after which scores were due since."""
REST = 45
"""Minutes without a change at the end of each history."""


class RecordingEnsemble(Ensemble):
    """The shipped models; it records the last scores that were due, by key."""

    def __init__(self) -> None:
        super().__init__(CONFIG.policy.models)
        self.last: dict[str, ModelScore] = {}

    def observe(self, *args: Any, **kwargs: Any) -> list[ModelScore]:
        """Score, and record."""
        made = super().observe(*args, **kwargs)
        if kwargs["due"]:
            self.last |= {f"{s.scope}|{s.target}|{s.generation}": s for s in made}
        return made


def desk() -> tuple[Desk, RecordingEnsemble]:
    """A stage with the shipped rules, policy and models."""
    scorer = RecordingEnsemble()
    stage = RiskStage(CONFIG.policy.risk, REFERENCE, LIMITS, CONFIG.rules, scorer)
    return Desk(stage), scorer


def history(random: Random) -> Iterator[list[RiskEvent]]:
    """Events by tick: a fall, prices and holdings that wander, news, silence; then no change."""
    bp, seen, minute, gap = -400.0, 1, 1.0, 0.0
    yield [held(0, ("USDC", "500000")), market(0, asset(), bitcoin()), Tick(at(0))]
    while minute < 20:
        minute, seen = minute + 1.0, seen + 1
        yield [market(minute, asset(bp=bp, seen=seen), bitcoin(seen=seen)), Tick(at(minute))]
    while minute < 200:
        minute += random.choice((1.0, 1.0, 1.0, 5.0, 17.0, 60.0))
        events: list[RiskEvent] = []
        if random.random() < 0.7:
            bp, seen = bp * 0.8 + random.uniform(-40.0, 35.0), seen + random.choice((0, 1, 2))
            gap = random.choice((gap, random.uniform(0.0, 300.0)))
        coins = [asset(bp=bp, seen=seen, cause=Cause.ISSUER), bitcoin(seen=seen)]
        events.append(market(minute, *coins, venues=[venue(dislocation_bp=gap)]))
        if random.random() < 0.3:
            events.append(held(minute, ("USDC", str(random.randint(0, 900_000)))))
        if random.random() < 0.05:
            kind = "withdrawals_suspended"
            events.append(news(Credit, minute, f"c{minute}", subject="kraken", kind=kind))
        yield [*events, Tick(at(minute))]
    coins = [asset(bp=bp, seen=seen, cause=Cause.ISSUER), bitcoin(seen=seen)]
    for later in range(1, REST + 1):
        now = minute + later
        yield [market(now, *coins, venues=[venue(dislocation_bp=gap)]), Tick(at(now))]


def content(score: ScoreUpdated | ModelScore) -> tuple[float, float, str]:
    """What a score says."""
    return score.probability, score.severity, score.authority


def is_material(before: ScoreUpdated, now: ScoreUpdated | ModelScore) -> bool:
    """Whether a score moved beyond what one that was not sent again may have moved."""
    return (
        before.authority != now.authority
        or abs(before.probability - now.probability) >= SCORE_MOVE
        or abs(before.severity - now.severity) >= SEVERITY_MOVE
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_ten_scores_of_a_changed_scope_at_a_tick(seed: int) -> None:
    """Never more; none that says the same without a decision; what is out holds within a bound."""
    d, scorer = desk()
    out: dict[str, ScoreUpdated] = {}
    for events in history(Random(seed)):
        made = d.tell(*events)
        decided = {o.scope for o in of(made, DecisionMade)}
        sent: dict[str, int] = {}
        for score in of(made, ScoreUpdated):
            sent[score.scope] = sent.get(score.scope, 0) + 1
            before = out.get(score.key())
            out[score.key()] = score
            if before is not None and score.scope not in decided:
                assert content(score) != content(before)
        assert max(sent.values(), default=0) <= MAX_SCORES
    assert len(scorer.last) > 2 * MAX_SCORES
    assert {key for key, score in scorer.last.items() if is_material(out[key], score)} == set()


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_change_only_what_moved_goes_out(seed: int) -> None:
    """In the silence at the end, each score that goes out moved by the bound.

    A state that ends in the silence is a change: the scores that are due next go out.
    """
    d, _ = desk()
    ticks = list(history(Random(seed)))
    out: dict[str, ScoreUpdated] = {}
    changed: dict[str, int] = {}
    for number, events in enumerate(ticks):
        made = d.tell(*events)
        changed |= {o.scope: number for o in of(made, DecisionMade)}
        for score in of(made, ScoreUpdated):
            since = max(changed.get(score.scope, 0), len(ticks) - REST)
            assert number <= since + DUE or is_material(out[score.key()], score)
            out[score.key()] = score


@pytest.mark.parametrize("seed", SEEDS)
def test_a_decision_publishes_the_scores_of_its_tick(seed: int) -> None:
    """They are put out before it, with its time: what an incident report shows beside it."""
    d, _ = desk()
    decisions = 0
    for events in history(Random(seed)):
        made = d.tell(*events)
        for decision in of(made, DecisionMade):
            if decision.scope != "asset:USDC" or not isinstance(events[-1], Tick):
                continue
            scores: list[Output] = [*of(made, ScoreUpdated, decision.scope)]
            assert scores
            assert {score.ts for score in scores} == {decision.ts}
            assert made.index(scores[-1]) < made.index(decision)
            decisions += 1
    assert decisions


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restart_sends_nothing_twice_and_forgets_nothing(seed: int) -> None:
    """A stage that is loaded from its rows in the middle puts out the same bytes."""
    whole, _ = desk()
    first, _ = desk()
    second, _ = desk()
    ticks = list(history(Random(seed)))
    middle = len(ticks) // 2
    for events in ticks:
        whole.tell(*events)
    for events in ticks[:middle]:
        first.tell(*events)
    second.state.load({k: row for k, row in first.state.drain().items() if row is not None})
    for events in ticks[middle:]:
        second.tell(*events)
    assert first.out + second.out == whole.out
