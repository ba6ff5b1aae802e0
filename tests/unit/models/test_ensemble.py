"""The ensemble: it scores before it learns, and each scope has models of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from riskwatch.core.enums import State
from riskwatch.core.stage import encode_row
from riskwatch.errors import ModelError
from riskwatch.models import registry
from riskwatch.models.base import RulesGeneration, Score
from riskwatch.models.ensemble import Ensemble
from tests.unit.models.samples import (
    ESCALATION,
    ONSET,
    SCALES,
    USDC,
    anchored,
    at,
    config,
    feed,
    of_scopes,
    rows_of,
    rules,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.risk.scorer import ModelScore


def score_of(scored: list[ModelScore], generation: str, target: str = ONSET) -> ModelScore:
    """Return the score of one generation on one target."""
    [found] = [s for s in scored if (s.generation, s.target) == (generation, target)]
    return found


def test_a_score_says_who_what_and_why() -> None:
    """Every generation scores every target, in configured order."""
    ensemble = Ensemble(config())
    [scored] = feed(ensemble, ensemble.fresh(), [at(0, 25.0, velocity_bp=5.0, vol_bp=9.0)])
    assert [(s.target, s.generation) for s in scored] == [
        (ONSET, "rules"),
        (ONSET, "anchored"),
        (ESCALATION, "rules"),
        (ESCALATION, "anchored"),
        (ONSET, "served"),
        (ESCALATION, "served"),
    ]
    onset = scored[1]
    assert (onset.scope, onset.severity) == (USDC, 0.5)
    assert onset.features == {"severity": 0.5, "velocity_bp": 5.0}
    assert list(onset.contributions) == ["bias", "severity", "velocity_bp", "trust_region"]
    assert scored[2].severity == 0.125


def test_both_generations_start_alike() -> None:
    """Before any label the anchored model is the rule."""
    ensemble = Ensemble(config())
    for scored in feed(ensemble, ensemble.fresh(), list(walk(1, 5))):
        assert scored[0].probability == scored[1].probability
        assert scored[2].probability == scored[3].probability


@pytest.mark.parametrize("second", [0, 5000])
def test_contributions_sum_to_the_logit(second: int) -> None:
    """They agree up to the rounding of each part, before and after learning."""
    ensemble, state = Ensemble(config()), Ensemble(config()).fresh()
    feed(ensemble, state, walk(2, second // 10))
    for each in feed(ensemble, state, [at(second, 33.0, velocity_bp=21.0, breadth=2.0)])[0]:
        logit = math.log(each.probability / (1.0 - each.probability))
        assert sum(each.contributions.values()) == pytest.approx(logit, abs=2e-5)


def test_numbers_are_quantised() -> None:
    """Every number in a score has at most six digits."""
    ensemble = Ensemble(config())
    state = ensemble.fresh()
    for scored in feed(ensemble, state, walk(3, 300)):
        for each in scored:
            numbers = [each.probability, each.severity, *each.contributions.values()]
            assert numbers == [round(number, 6) for number in numbers]


def test_it_scores_before_it_learns() -> None:
    """A score at the moment when labels mature does not use them."""
    ensemble, state = Ensemble(config()), Ensemble(config()).fresh()
    moved = 0
    for us, features, _ in walk(4, 200):
        before = ensemble.observe(state, us, USDC, "asset", features, labelled=False)
        scored = ensemble.observe(state, us, USDC, "asset", features, labelled=True)
        after = ensemble.observe(state, us, USDC, "asset", features, labelled=False)
        assert scored == before
        moved += after != scored
    assert moved > 10


def test_evidence_judges_what_was_said_when_the_sample_was_taken() -> None:
    """The loss uses the prediction at the sample, not the one when the label is known."""
    ensemble, state = Ensemble(config()), Ensemble(config()).fresh()
    predicted: dict[int, float] = {}
    loss = 0.0
    for us, features, _ in walk(5, 120):
        waiting = state.pending[f"{USDC}|{ONSET}"].samples if state.pending else []
        due = {s.us: s.hit for s in waiting if us >= s.us + 60_000_000}
        if features["discount_bp"] >= 50.0:
            due |= {s.us: True for s in waiting if us == s.us + 60_000_000}
        scored = ensemble.observe(state, us, USDC, "asset", features, labelled=True)
        for taken, label in due.items():
            loss -= math.log(predicted[taken] if label else 1.0 - predicted[taken])
        predicted[us] = score_of(scored, "anchored").probability
    evidence = state.evidence[f"{USDC}|{ONSET}|anchored"]
    assert evidence.count > 20
    assert evidence.log_loss_sum == pytest.approx(loss, rel=1e-9)


def test_it_comes_to_beat_the_rule_where_there_is_something_to_learn() -> None:
    """Velocity announces the jumps of this stream, and the rule does not use it."""
    ensemble, state = Ensemble(config()), Ensemble(config()).fresh()
    feed(ensemble, state, walk(6, 3000))
    mine, rule = (state.evidence[f"{USDC}|{ONSET}|{name}"] for name in ("anchored", "rules"))
    assert mine.count == rule.count > 500
    assert mine.log_loss < 0.95 * rule.log_loss


def test_unlabelled_never_teaches() -> None:
    """Without a trusted measure there are scores, but no samples, and nobody waits for a label."""
    ensemble, state = Ensemble(config()), Ensemble(config()).fresh()
    blind = [(us, features, False) for us, features, _ in walk(7, 100)]
    assert all(len(scored) == 6 for scored in feed(ensemble, state, blind))
    assert rows_of(state) == {}


def test_a_stretch_without_labels_is_a_hole() -> None:
    """A sample with an unlabelled stretch in its horizon is dropped, not labelled false."""
    ensemble, state = Ensemble(config()), Ensemble(config()).fresh()
    stream = [at(t, 10.0, labelled=not 5 < t < 55) for t in range(0, 71, 5)]
    feed(ensemble, state, stream)
    assert state.pending[f"{USDC}|{ONSET}"].unlabelled == 1
    assert state.evidence == {}


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_a_measure_that_is_not_known_is_not_scored(value: float | None) -> None:
    """A missing, NaN or infinite measure gives no score and no sample."""
    ensemble = Ensemble(config())
    state = ensemble.fresh()
    features = {"velocity_bp": 1.0} if value is None else {"discount_bp": value}
    assert ensemble.observe(state, 0, USDC, "asset", features, labelled=True) == []
    assert rows_of(state) == {}


def test_other_features_that_are_not_finite_are_as_if_absent() -> None:
    """Features that are not finite reach neither score nor sample."""
    ensemble = Ensemble(config())
    one, two = ensemble.fresh(), ensemble.fresh()
    odd = at(0, 9.0, velocity_bp=math.nan, breadth=math.inf)
    assert feed(ensemble, one, [odd]) == feed(ensemble, two, [at(0, 9.0)])
    assert rows_of(one) == rows_of(two) != {}


def test_another_kind_of_scope_is_not_asked() -> None:
    """Targets apply only to the configured kind of scope."""
    ensemble = Ensemble(config())
    state = ensemble.fresh()
    known = {"discount_bp": 1.0}
    assert ensemble.observe(state, 0, "venue:x", "venue", known, labelled=True) == []


def test_scopes_learn_for_themselves() -> None:
    """One coin does not change the scores and rows of another."""
    ensemble = Ensemble(config())
    both, alone = ensemble.fresh(), ensemble.fresh()
    for (us, mine, _), (_, other, _) in zip(walk(8, 300), walk(9, 300), strict=True):
        ensemble.observe(both, us, "asset:DAI", "asset", other, labelled=True)
        with_it = ensemble.observe(both, us, USDC, "asset", mine, labelled=True)
        assert with_it == ensemble.observe(alone, us, USDC, "asset", mine, labelled=True)
    rows = rows_of(both)
    assert {k: v for k, v in rows.items() if USDC in k} == of_scopes(rows_of(alone))
    assert any("asset:DAI" in key for key in rows)


def test_what_waits_is_bounded() -> None:
    """No more samples wait than fit into the horizon."""
    ensemble = Ensemble(config(max_pending=3))
    state = ensemble.fresh()
    most = 0
    for t in range(0, 3000, 7):
        feed(ensemble, state, [at(t, 10.0, labelled=t % 5 != 0)])
        most = max([most, *(len(pending.samples) for pending in state.pending.values())])
    assert most == 3


def test_scopes_beyond_the_bound_are_scored_and_not_learned_about() -> None:
    """Untrained models score them, and other scopes are unaffected."""
    ensemble = Ensemble(config(max_scopes=1))
    state = ensemble.fresh()
    feed(ensemble, state, walk(10, 200))
    others = feed(ensemble, state, walk(10, 200), scope="asset:DAI")
    assert all(scored[0].probability == scored[1].probability for scored in others)
    rows = rows_of(state)
    assert all(USDC in key for key in of_scopes(rows))
    state = ensemble.fresh()
    state.load(rows)
    feed(ensemble, state, walk(10, 200), scope="asset:DAI")
    assert of_scopes(rows_of(state)) == {}


@pytest.mark.parametrize(
    ("authority", "cap"),
    [
        ("shadow", State.NORMAL),
        ("advisory", State.WATCH),
        ("bounded", State.REDUCE),
        ("full", State.HALT),
    ],
)
def test_authority_is_the_configurations(authority: str, cap: State) -> None:
    """A score carries the cap of its generation; the rules have no cap."""
    ensemble = Ensemble(config(rules(), anchored(authority=authority)))
    [scored] = feed(ensemble, ensemble.fresh(), [at(0, 10.0)])
    assert [(s.authority, s.cap) for s in scored[:2]] == [("full", State.HALT), (authority, cap)]


def test_only_changed_rows_are_written() -> None:
    """A calm tick writes the waiting samples and no other row."""
    ensemble, state = Ensemble(config()), Ensemble(config()).fresh()
    onset, escalation = f"pending/{USDC}|{ONSET}", f"pending/{USDC}|{ESCALATION}"
    clocks = [f"clock/{target}" for target in (ESCALATION, ONSET)]
    feed(ensemble, state, [at(0, 10.0)])
    assert list(state.drain()) == [clocks[1], onset]
    feed(ensemble, state, [at(10, 60.0)])
    assert list(state.drain()) == sorted([clocks[0], onset, escalation])
    assert state.drain() == {}
    feed(ensemble, state, [at(t, 10.0) for t in (25, 40, 50, 60)])
    written = list(state.drain())
    assert written == sorted(written)
    kinds = [key.partition("/")[0] for key in written]
    assert kinds == [
        "clock", *["evidence"] * 3, "mix", "model", *["pending"] * 2, *["standing"] * 3,
    ]  # fmt: skip


def test_a_row_of_no_kind_is_refused() -> None:
    """A row of an unknown kind raises an error."""
    with pytest.raises(ValueError, match="'weights/x' is of no kind that the models know"):
        Ensemble(config()).fresh().load({"weights/x": b"{}"})


def learned(*generations: Any) -> dict[str, bytes]:
    """Return the rows of an ensemble that has learned, with samples still waiting."""
    ensemble = Ensemble(config(*generations))
    state = ensemble.fresh()
    feed(ensemble, state, walk(12, 120))
    assert state.pending[f"{USDC}|{ONSET}"].samples
    return rows_of(state)


def test_a_generation_may_be_added_while_samples_wait() -> None:
    """It is neither charged for nor trained on samples that it did not predict."""
    ensemble = Ensemble(config(rules(), anchored()))
    state = ensemble.fresh()
    state.load(learned(rules()))
    key = f"{USDC}|{ONSET}"
    before = state.evidence[f"{key}|rules"].count
    later = [(us + 1_200_000_000, features, seen) for us, features, seen in walk(13, 60)]
    feed(ensemble, state, later)
    assert state.evidence[f"{key}|rules"].count > before
    assert 0 < state.evidence[f"{key}|anchored"].count < state.evidence[f"{key}|rules"].count


def test_a_generation_may_be_taken_away_and_come_back() -> None:
    """Its rows stay stored meanwhile."""
    rows = learned()
    state = Ensemble(config(rules())).fresh()
    state.load(rows)
    assert state.drain() == {}
    back = Ensemble(config()).fresh()
    back.load(rows)
    assert f"{USDC}|{ONSET}|anchored" in back.models
    assert (
        rows.items()
        >= {f"model/{k}": encode_row(m.state()) for k, m in back.models.items()}.items()
    )


def test_learning_around_another_rule_is_refused_at_the_start() -> None:
    """The error says what to do: restore the options, or give the generation a new name."""
    rows = learned()
    moved = anchored(options={"slope": 2.0})
    with pytest.raises(ModelError, match=r"'anchored' cannot use .*rule.*; put its options back"):
        Ensemble(config(rules(), moved)).fresh().load(rows)
    renamed = Ensemble(config(rules(), anchored(name="steeper", options={"slope": 2.0})))
    state = renamed.fresh()
    state.load(rows)
    assert state.models == {}


@pytest.mark.parametrize("row", [b"{}", b"[]", b"3", b'{"rule":[0.5,1.0,0.05]}'])
def test_a_torn_model_is_refused_at_the_start(row: bytes) -> None:
    """Loading fails, not a later score."""
    rows = {f"model/{USDC}|{ONSET}|anchored": row}
    with pytest.raises(ModelError, match="cannot use what it learned"):
        Ensemble(config()).fresh().load(rows)


class Broken(RulesGeneration):
    """A model that returns an invalid probability."""

    def score(self, x: Mapping[str, float]) -> Score:
        """Return NaN."""
        return Score(math.nan, math.nan, x["severity"], {})


def test_what_is_no_probability_stops_at_the_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that returns NaN is quarantined, and nothing of it is stored or aggregated."""
    monkeypatch.setitem(registry.BUILTIN, "broken", Broken)
    ensemble = Ensemble(
        config(anchored(), rules(), type(rules())(model="broken", authority="full"))
    )
    state = ensemble.fresh()
    [scored] = feed(ensemble, state, [at(0, 10.0)])
    assert {each.generation for each in scored} == {"anchored", "rules", "served"}
    assert {(t.generation, t.reason, t.authority) for t in state.changes} == {
        ("broken", "check", "shadow")
    }
    assert not [key for key in of_scopes(rows_of(state)) if "broken" in key]


def test_scales_name_the_features_that_are_kept() -> None:
    """A sample keeps only the features that some generation used."""
    ensemble, state = Ensemble(config()), Ensemble(config()).fresh()
    feed(ensemble, state, [at(0, 10.0, velocity_bp=3.0, limit_use=0.4, breadth=1.0)])
    [sample] = state.pending[f"{USDC}|{ONSET}"].samples
    assert list(sample.features) == sorted({"severity", *SCALES})
