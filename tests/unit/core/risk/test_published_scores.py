"""Which scores and values are published, and when."""

from __future__ import annotations

from riskwatch.core.events import Tick
from riskwatch.core.outputs import AssetValued, DecisionMade, ScoreUpdated
from riskwatch.core.risk.evaluator import MAX_SCORES
from riskwatch.core.risk.stage import RiskStage
from riskwatch.engine import bootstrap
from riskwatch.models.ensemble import Ensemble
from tests.support.risk import LIMITS, REFERENCE, Desk, asset, at, desk, market, of

CONFIG = bootstrap.configuration()


def scored() -> Desk:
    """A stage with the shipped models."""
    models = Ensemble(CONFIG.policy.models)
    return Desk(RiskStage(CONFIG.policy.risk, REFERENCE, LIMITS, CONFIG.rules, models))


def test_a_decision_publishes_its_scores_although_some_went_out_a_minute_ago() -> None:
    """With the time of the decision, before it, ten at most."""
    d = scored()
    made = d.minutes(0, 0)
    assert len(of(made, ScoreUpdated, "asset:USDC")) == MAX_SCORES
    decided = False
    for minute in range(1, 5):
        made = d.tick(minute, market(minute, asset(seen=minute + 2, bp=-900.0)))
        scores = of(made, ScoreUpdated, "asset:USDC")
        (*decisions,) = of(made, DecisionMade, "asset:USDC")
        assert bool(scores) == bool(decisions)
        decided = decided or bool(decisions)
        if decisions:
            assert len(scores) == MAX_SCORES
            assert {o.ts for o in scores} == {decisions[0].ts}
            assert made.index(scores[-1]) < made.index(decisions[0])
            assert {o.severity for o in scores} & {18.0, 9.0, 4.5, 1.8}
    assert decided


def test_nothing_goes_out_again_in_an_hour_without_news() -> None:
    """Neither scores nor values, once all scores are out, although both are due twelve times."""
    d = scored()
    d.minutes(0, 20)
    made = [
        output
        for minute in range(40, 100)
        for output in d.tick(minute, market(minute, asset(seen=22)))
    ]
    assert of(made, ScoreUpdated) == []
    assert of(made, AssetValued) == []


def test_all_scores_of_a_scope_find_a_place_in_turn() -> None:
    """Twenty-five scores at ten a time: each is out after a quarter of an hour."""
    d = scored()
    made = d.minutes(0, 15)
    keys = {o.key() for o in of(made, ScoreUpdated, "asset:USDC")}
    targets = [t for t in CONFIG.policy.models.targets if t.scope_kind == "asset"]
    assert len(keys) == len(targets) * (len(CONFIG.policy.models.generations) + 1)
    assert len(keys) > 2 * MAX_SCORES


def test_a_value_goes_out_again_when_observed_anew_or_by_other_feeds() -> None:
    """At most every five minutes, and at once when its quality changes."""
    d = desk()
    first = market(0, asset(seen=1))
    assert len(of(d.tick(0, first), AssetValued)) == 1
    assert not of(d.tick(6, market(6, asset(seen=1))), AssetValued)
    assert len(of(d.tick(7, market(7, asset(seen=2))), AssetValued)) == 1
    assert not of(d.tick(8, market(8, asset(seen=3))), AssetValued)
    assert len(of(d.tick(13, market(13, asset(seen=3))), AssetValued)) == 1
    assert len(of(d.tick(20, market(20, asset(seen=3, live=3))), AssetValued)) == 1
    assert len(of(d.tell(Tick(at(60))), AssetValued)) == 1  # unknown: no reading any more
