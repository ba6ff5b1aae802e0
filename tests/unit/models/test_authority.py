"""Promotion and demotion of planted models: good, equal, noisy and degrading."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import pytest

from riskwatch.core.clock import DAY
from riskwatch.core.outputs import AuthorityChanged, ModelMeasured
from riskwatch.core.risk.scorer import EvidenceConfig
from riskwatch.errors import ModelError
from riskwatch.models import registry
from riskwatch.models.base import RulesGeneration, sigmoid
from riskwatch.models.ensemble import Ensemble
from riskwatch.models.state import EnsembleState
from tests.unit.models.lives import (
    NEWCOMER,
    TARGET,
    World,
    erring,
    make_policy,
    random_forecaster,
    simulate,
)
from tests.unit.models.samples import ONSET, anchored, config, feed, rows_of, rules, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.outputs import Output
    from riskwatch.models.base import Score

CLIMATE = sigmoid(-1.3)
"""Constant prediction of the rules in these worlds: about the base rate."""


def truth(logit: float) -> float:
    """Return the true probability: two draws decide a label, so add about ln 2 to the log-odds."""
    return sigmoid(logit + 0.7)


def test_a_good_newcomer_is_promoted_within_some_hundreds_of_labels() -> None:
    """A model that knows the odds beats the base rate: half within 400 labels, all in 1,500."""
    took = []
    for seed in range(20):
        labels = World(seed).labels(1_500)
        [(n, changed), *_] = simulate(
            make_policy(), labels, lambda _: CLIMATE, truth, until="advisory"
        )
        assert (changed.former, changed.authority, changed.reason) == (
            "shadow",
            "advisory",
            "evidence",
        )
        assert changed.evidence["e_up"] >= changed.evidence["needed"] >= 40.0
        took.append(n)
    assert median(took) < 400


def test_noise_is_never_promoted_beyond_the_stated_rate() -> None:
    """At most 50 of 1,000 seeded runs of 120 labels promote it, at an alpha of 5 %."""
    promoted = 0
    for seed in range(1_000):
        labels = World(seed).labels(120)
        promoted += bool(
            simulate(
                make_policy(), labels, lambda _: CLIMATE, random_forecaster(seed), until="advisory"
            )
        )
    assert promoted <= 50


def test_an_equal_rival_is_never_promoted_beyond_the_stated_rate() -> None:
    """Both forecasters have errors of one size that last ten labels: luck that looks like skill."""
    promoted = 0
    for seed in range(1_000):
        ours, its = (erring(2 * seed + n + 10**6, 1.0, 0.9) for n in (0, 1))
        labels = World(seed).labels(120)
        promoted += bool(simulate(make_policy(), labels, ours, its, until="advisory"))
    assert promoted <= 50


def test_a_model_that_rots_is_demoted() -> None:
    """It is good for 600 labels, then inverted: each demotion takes at most 300 labels."""
    for seed in range(5):
        policy, state = make_policy("bounded"), EnsembleState({})
        before = simulate(policy, World(seed).labels(600), lambda _: CLIMATE, truth, state=state)
        assert not [changed for _, changed in before if changed.reason in ("reverse", "drift")]
        after = simulate(
            policy,
            World(seed + 100).labels(900),
            lambda _: CLIMATE,
            lambda logit: truth(-logit - 3.0),
            state=state,
            start=DAY,
            until="shadow",
        )
        assert after[-1][1].authority == "shadow"
        assert {changed.reason for _, changed in after} <= {"reverse", "drift"}
        steps = [0, *(n for n, _ in after)]
        assert max(later - earlier for earlier, later in pairwise(steps)) <= 300


def test_drift_alone_demotes() -> None:
    """With the reverse bets disabled, the drift test finds a loss that rises beyond the rules'."""
    policy, state = make_policy("advisory", alpha_down=1e-12), EnsembleState({})
    simulate(policy, World(1).labels(900), lambda _: CLIMATE, truth, state=state)
    state.records[f"{TARGET}|{NEWCOMER}"].down = None
    after = simulate(
        policy,
        World(2).labels(900),
        lambda _: CLIMATE,
        lambda _: 0.9,
        state=state,
        start=DAY,
    )
    assert after[0][1].reason == "drift"


def test_the_ceiling_holds() -> None:
    """Evidence never promotes beyond the configured ceiling."""
    ensemble = Ensemble(config(rules(), anchored(authority="advisory"), evidence=EASY_EVIDENCE))
    state = ensemble.fresh()
    assert not changes(ensemble, state, 3_000)


def test_each_test_of_a_generation_needs_more() -> None:
    """The required evidence grows so that all tests together keep the stated rate."""
    policy, state = make_policy(), EnsembleState({})
    record = policy.at(state, TARGET, 0).record(NEWCOMER)
    shares = []
    for test in range(1, 200):
        record.tests = test
        shares.append(1.0 / policy.needed(record))
    assert sum(shares) <= 0.05
    assert shares[0] == 0.025


EASY_EVIDENCE = EvidenceConfig(
    events_advisory=2, events_bounded=2, entities_bounded=1, event_gap_s=60.0, alpha=0.2
)


def changes(ensemble: Ensemble, state: EnsembleState, count: int, seed: int = 6) -> list[Output]:
    """Return every change of authority that is reported during a walk."""
    changed: list[Output] = []
    for us, features, labelled in walk(seed, count):
        feed(ensemble, state, [(us, features, labelled)])
        changed += ensemble.report(state, us)
    return [each for each in changed if isinstance(each, AuthorityChanged)]


def test_a_generation_rises_on_the_ladder_and_its_scores_say_so() -> None:
    """A promotion shows in the cap of the scores, and a restart changes nothing."""
    configured = anchored(authority="shadow", max_authority="advisory")
    ensemble = Ensemble(config(rules(), configured, evidence=EASY_EVIDENCE))
    state = ensemble.fresh()
    [changed] = [c for c in changes(ensemble, state, 3_000) if getattr(c, "target", "") == ONSET]
    assert isinstance(changed, AuthorityChanged)
    assert (changed.generation, changed.authority, changed.reason) == (
        "anchored",
        "advisory",
        "evidence",
    )
    assert changed.evidence["events"] >= 2.0
    [scored] = feed(ensemble, state, [(10**11, {"discount_bp": 10.0}, False)])
    mine = [s for s in scored if (s.generation, s.target) == ("anchored", ONSET)]
    assert [s.authority for s in mine] == ["advisory"]
    again = ensemble.fresh()
    again.load(rows_of(state))
    assert feed(ensemble, again, [(10**11, {"discount_bp": 10.0}, False)]) == [scored]


def test_where_everybody_stands_is_put_out_at_intervals() -> None:
    """Records go out at most every `status_s`, with losses and the reliability table."""
    ensemble = Ensemble(config(evidence=EvidenceConfig(status_s=600.0)))
    state = ensemble.fresh()
    changed: list[ModelMeasured] = []
    for us, features, labelled in walk(3, 400):
        feed(ensemble, state, [(us, features, labelled)])
        changed += [o for o in ensemble.report(state, us) if isinstance(o, ModelMeasured)]
    assert {o.generation for o in changed} == {"rules", "anchored", "served"}
    mine = [o for o in changed if (o.generation, o.target) == ("anchored", ONSET)]
    assert 4 <= len(mine) <= 7
    last = mine[-1]
    assert last.labels == sum(row[0] for row in last.bins) > 100
    assert 0.0 < last.brier < 1.0


def test_what_is_known_of_a_target_that_was_taken_away_is_still_put_out() -> None:
    """Its stored records load without error, and are reported."""
    ensemble = Ensemble(config(evidence=EvidenceConfig(status_s=10.0**9)))
    state = ensemble.fresh()
    feed(ensemble, state, walk(3, 400))
    smaller = config()
    again = Ensemble(type(smaller)(targets=smaller.targets[1:], generations=smaller.generations))
    after = again.fresh()
    after.load(rows_of(state))
    changed = [o for o in again.report(after, 10**10) if isinstance(o, ModelMeasured)]
    assert {o.generation for o in changed if o.target == ONSET} == {"rules", "anchored", "served"}


class Fragile(RulesGeneration):
    """A model that fails from severity 1 on."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Divide by zero from severity 1 on."""
        return super().score({"severity": x["severity"] / max(0.0, 1.0 - x["severity"])})


def test_a_failing_model_is_quarantined_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It loses its authority with an event, the others continue, and a command restores it."""
    monkeypatch.setitem(registry.BUILTIN, "fragile", Fragile)
    fragile = type(rules())(model="fragile", authority="bounded")
    ensemble = Ensemble(config(rules(), fragile))
    state = ensemble.fresh()
    changed = [c for c in changes(ensemble, state, 60) if getattr(c, "target", "") == ONSET]
    assert [(c.authority, c.reason) for c in changed if isinstance(c, AuthorityChanged)] == [
        ("shadow", "check")
    ]
    [scored] = feed(ensemble, state, [(10**11, {"discount_bp": 90.0}, True)])
    assert [s.generation for s in scored if s.target == ONSET] == ["rules", "served"]
    moved = ensemble.move(
        state, 10**11, ONSET, "fragile", "advisory", by="ann", why="mended", cause_id="command/1"
    )
    assert (moved.by, moved.reason, moved.authority) == ("ann", "command", "advisory")


@pytest.mark.parametrize(
    ("target", "name", "to", "why"),
    [
        (ONSET, "oracle", "full", "no generation 'oracle'"),
        ("depeg", "anchored", "full", "of a target 'depeg'"),
        (ONSET, "rules", "shadow", "people change rules"),
        (ONSET, "anchored", "king", "must be one of shadow, advisory"),
        (ONSET, "anchored", "full", "at most 'bounded'"),
        (ONSET, "anchored", "advisory", "is 'advisory' .* already"),
    ],
)
def test_a_command_that_cannot_be_is_refused(target: str, name: str, to: str, why: str) -> None:
    """The error gives the reason, and nothing has changed."""
    ensemble = Ensemble(config(rules(), anchored(authority="advisory", max_authority="bounded")))
    state = ensemble.fresh()
    with pytest.raises(ModelError, match=why):
        ensemble.move(state, 0, target, name, to, by="ann", why="", cause_id="command/1")
    assert all(s.since < 0 for s in state.records.values())


def test_a_target_that_waits_too_long_for_a_label_costs_a_step() -> None:
    """A month of data that are trusted and too sparse for a label costs a step."""
    ensemble = Ensemble(config(rules(), anchored(authority="bounded")))
    state = ensemble.fresh()
    for day in range(32):
        feed(ensemble, state, [(day * DAY, {"discount_bp": 10.0}, True)])
        changed = [c for c in ensemble.report(state, day * DAY) if isinstance(c, AuthorityChanged)]
        assert bool(changed) == (day == 31)
    assert [(c.generation, c.target, c.authority, c.reason) for c in changed] == [
        ("anchored", ONSET, "advisory", "stale")
    ]
    assert ensemble.report(state, 32 * DAY) == []


def test_no_evidence_is_not_evidence_against() -> None:
    """While labels cannot come, before any or after some, nothing is demoted for that."""
    ensemble = Ensemble(config(rules(), anchored(authority="bounded")))
    state = ensemble.fresh()
    for day in range(70):
        can = 5 <= day < 20
        feed(ensemble, state, [(day * DAY, {"discount_bp": 10.0}, can)])
        assert not [c for c in ensemble.report(state, day * DAY) if isinstance(c, AuthorityChanged)]


def test_a_lower_ceiling_lowers_what_was_earned() -> None:
    """The first report under a new configuration lowers authority to the new ceiling."""
    high = Ensemble(config(rules(), anchored(authority="advisory", max_authority="full")))
    state = high.fresh()
    high.move(state, 1, ONSET, "anchored", "full", by="ann", why="", cause_id="command/1")
    low = Ensemble(config(rules(), anchored(authority="advisory")))
    again = low.fresh()
    again.load(rows_of(state))
    [changed] = [c for c in low.report(again, 2) if isinstance(c, AuthorityChanged)]
    assert (changed.former, changed.authority, changed.reason) == ("full", "advisory", "ceiling")
