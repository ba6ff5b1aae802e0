"""Authority is earned and lost: planted good, equal, noisy and rotting models."""

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
from tests.unit.models.lives import NEWCOMER, TARGET, World, astray, judge, live, noisy
from tests.unit.models.samples import ONSET, anchored, config, feed, rows_of, rules, walk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.outputs import Output
    from riskwatch.models.base import Score

CLIMATE = sigmoid(-1.3)
"""What the rules of these worlds always say: about the base rate."""


def truth(logit: float) -> float:
    """A label is one of two draws, so its log-odds are about ln 2 above one draw's."""
    return sigmoid(logit + 0.7)


def test_a_good_newcomer_is_promoted_within_some_hundreds_of_labels() -> None:
    """Who knows the odds against who knows the base rate: half within 400 labels, all in 1,500."""
    took = []
    for seed in range(20):
        labels = World(seed).labels(1_500)
        [(n, told), *_] = live(judge(), labels, lambda _: CLIMATE, truth, until="advisory")
        assert (told.former, told.authority, told.reason) == ("shadow", "advisory", "evidence")
        assert told.evidence["e_up"] >= told.evidence["needed"] >= 40.0
        took.append(n)
    assert median(took) < 400


def test_noise_is_never_promoted_beyond_the_stated_rate() -> None:
    """In 1,000 seeded runs of 120 labels, at an alpha of 5 %."""
    promoted = 0
    for seed in range(1_000):
        labels = World(seed).labels(120)
        promoted += bool(live(judge(), labels, lambda _: CLIMATE, noisy(seed), until="advisory"))
    assert promoted <= 50


def test_an_equal_rival_is_never_promoted_beyond_the_stated_rate() -> None:
    """Errors of one size that last for ten labels, on both sides: luck that looks like skill."""
    promoted = 0
    for seed in range(1_000):
        ours, its = (astray(2 * seed + n + 10**6, 1.0, 0.9) for n in (0, 1))
        labels = World(seed).labels(120)
        promoted += bool(live(judge(), labels, ours, its, until="advisory"))
    assert promoted <= 50


def test_a_model_that_rots_is_demoted() -> None:
    """Good for 600 labels, then upside down: each step down takes it at most 300 labels."""
    for seed in range(5):
        court, state = judge("bounded"), EnsembleState({})
        before = live(court, World(seed).labels(600), lambda _: CLIMATE, truth, state=state)
        assert not [told for _, told in before if told.reason in ("reverse", "drift")]
        after = live(
            court,
            World(seed + 100).labels(900),
            lambda _: CLIMATE,
            lambda logit: truth(-logit - 3.0),
            state=state,
            start=DAY,
            until="shadow",
        )
        assert after[-1][1].authority == "shadow"
        assert {told.reason for _, told in after} <= {"reverse", "drift"}
        steps = [0, *(n for n, _ in after)]
        assert max(later - earlier for earlier, later in pairwise(steps)) <= 300


def test_drift_alone_demotes() -> None:
    """A loss that creeps up against the rules' is found where the reverse bets are shut."""
    court, state = judge("advisory", alpha_down=1e-12), EnsembleState({})
    live(court, World(1).labels(900), lambda _: CLIMATE, truth, state=state)
    state.records[f"{TARGET}|{NEWCOMER}"].down = None
    after = live(
        court,
        World(2).labels(900),
        lambda _: CLIMATE,
        lambda _: 0.9,
        state=state,
        start=DAY,
    )
    assert after[0][1].reason == "drift"


def test_the_ceiling_holds() -> None:
    """Evidence leads no further than the configuration allows."""
    ladder = Ensemble(config(rules(), anchored(authority="advisory"), evidence=EAGER))
    state = ladder.fresh()
    assert not changes(ladder, state, 3_000)


def test_each_test_of_a_generation_needs_more() -> None:
    """So that all of them together keep the stated rate."""
    court, state = judge(), EnsembleState({})
    standing = court.at(state, TARGET, 0).record(NEWCOMER)
    shares = []
    for test in range(1, 200):
        standing.tests = test
        shares.append(1.0 / court.needed(standing))
    assert sum(shares) <= 0.05
    assert shares[0] == 0.025


EAGER = EvidenceConfig(
    events_advisory=2, events_bounded=2, entities_bounded=1, event_gap_s=60.0, alpha=0.2
)


def changes(ladder: Ensemble, state: EnsembleState, count: int, seed: int = 6) -> list[Output]:
    """Everything that is reported of a walk, tick by tick."""
    told: list[Output] = []
    for us, features, labelled in walk(seed, count):
        feed(ladder, state, [(us, features, labelled)])
        told += ladder.report(state, us)
    return [each for each in told if isinstance(each, AuthorityChanged)]


def test_a_generation_rises_on_the_ladder_and_its_scores_say_so() -> None:
    """From the first label to the cap of a score, through the whole ladder; a restart is unseen."""
    wanted = anchored(authority="shadow", max_authority="advisory")
    ladder = Ensemble(config(rules(), wanted, evidence=EAGER))
    state = ladder.fresh()
    [told] = [c for c in changes(ladder, state, 3_000) if getattr(c, "target", "") == ONSET]
    assert isinstance(told, AuthorityChanged)
    assert (told.generation, told.authority, told.reason) == ("anchored", "advisory", "evidence")
    assert told.evidence["events"] >= 2.0
    [scored] = feed(ladder, state, [(10**11, {"discount_bp": 10.0}, False)])
    mine = [s for s in scored if (s.generation, s.target) == ("anchored", ONSET)]
    assert [s.authority for s in mine] == ["advisory"]
    again = ladder.fresh()
    again.load(rows_of(state))
    assert feed(ladder, again, [(10**11, {"discount_bp": 10.0}, False)]) == [scored]


def test_where_everybody_stands_is_put_out_at_intervals() -> None:
    """At most every `status_s`, with losses and the table of what was said."""
    ladder = Ensemble(config(evidence=EvidenceConfig(status_s=600.0)))
    state = ladder.fresh()
    told: list[ModelMeasured] = []
    for us, features, labelled in walk(3, 400):
        feed(ladder, state, [(us, features, labelled)])
        told += [o for o in ladder.report(state, us) if isinstance(o, ModelMeasured)]
    assert {o.generation for o in told} == {"rules", "anchored", "served"}
    mine = [o for o in told if (o.generation, o.target) == ("anchored", ONSET)]
    assert 4 <= len(mine) <= 7
    last = mine[-1]
    assert last.labels == sum(row[0] for row in last.bins) > 100
    assert 0.0 < last.brier < 1.0


def test_what_is_known_of_a_target_that_was_taken_away_is_still_put_out() -> None:
    """Its records are rows as before: nothing is asked of it, and a start does not trip on them."""
    ladder = Ensemble(config(evidence=EvidenceConfig(status_s=10.0**9)))
    state = ladder.fresh()
    feed(ladder, state, walk(3, 400))
    smaller = config()
    again = Ensemble(type(smaller)(targets=smaller.targets[1:], generations=smaller.generations))
    after = again.fresh()
    after.load(rows_of(state))
    told = [o for o in again.report(after, 10**10) if isinstance(o, ModelMeasured)]
    assert {o.generation for o in told if o.target == ONSET} == {"rules", "anchored", "served"}


class Fragile(RulesGeneration):
    """A model that breaks when it sees a large discount."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Divide by nothing from severity 1 on."""
        return super().score({"severity": x["severity"] / max(0.0, 1.0 - x["severity"])})


def test_a_failing_model_is_quarantined_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It loses its authority with an event, the others go on, and only people let it back."""
    monkeypatch.setitem(registry.BUILTIN, "fragile", Fragile)
    fragile = type(rules())(model="fragile", authority="bounded")
    ladder = Ensemble(config(rules(), fragile))
    state = ladder.fresh()
    told = [c for c in changes(ladder, state, 60) if getattr(c, "target", "") == ONSET]
    assert [(c.authority, c.reason) for c in told if isinstance(c, AuthorityChanged)] == [
        ("shadow", "check")
    ]
    [scored] = feed(ladder, state, [(10**11, {"discount_bp": 90.0}, True)])
    assert [s.generation for s in scored if s.target == ONSET] == ["rules", "served"]
    told_back = ladder.move(
        state, 10**11, ONSET, "fragile", "advisory", by="ann", why="mended", cause_id="command/1"
    )
    assert (told_back.by, told_back.reason, told_back.authority) == ("ann", "command", "advisory")


@pytest.mark.parametrize(
    ("target", "name", "to", "said"),
    [
        (ONSET, "oracle", "full", "no generation 'oracle'"),
        ("depeg", "anchored", "full", "of a target 'depeg'"),
        (ONSET, "rules", "shadow", "people change rules"),
        (ONSET, "anchored", "king", "must be one of shadow, advisory"),
        (ONSET, "anchored", "full", "at most 'bounded'"),
        (ONSET, "anchored", "advisory", "is 'advisory' .* already"),
    ],
)
def test_a_command_that_cannot_be_is_refused(target: str, name: str, to: str, said: str) -> None:
    """With the reason, and nothing has changed."""
    ladder = Ensemble(config(rules(), anchored(authority="advisory", max_authority="bounded")))
    state = ladder.fresh()
    with pytest.raises(ModelError, match=said):
        ladder.move(state, 0, target, name, to, by="ann", why="", cause_id="command/1")
    assert all(s.since < 0 for s in state.records.values())


def test_a_target_that_waits_too_long_for_a_label_costs_a_step() -> None:
    """Asked for a month without an answer: nobody knows any more how good the model is."""
    ladder = Ensemble(config(rules(), anchored(authority="bounded")))
    state = ladder.fresh()
    for day in range(32):
        feed(ladder, state, [(day * DAY, {"discount_bp": 10.0}, False)])
        told = [c for c in ladder.report(state, day * DAY) if isinstance(c, AuthorityChanged)]
        assert bool(told) == (day == 31)
    assert [(c.generation, c.target, c.authority, c.reason) for c in told] == [
        ("anchored", ONSET, "advisory", "stale")
    ]
    assert ladder.report(state, 32 * DAY) == []


def test_a_lower_ceiling_lowers_what_was_earned() -> None:
    """A new configuration takes back at the first report what it does not allow any more."""
    high = Ensemble(config(rules(), anchored(authority="advisory", max_authority="full")))
    state = high.fresh()
    high.move(state, 1, ONSET, "anchored", "full", by="ann", why="", cause_id="command/1")
    low = Ensemble(config(rules(), anchored(authority="advisory")))
    again = low.fresh()
    again.load(rows_of(state))
    [told] = [c for c in low.report(again, 2) if isinstance(c, AuthorityChanged)]
    assert (told.former, told.authority, told.reason) == ("full", "advisory", "ceiling")
