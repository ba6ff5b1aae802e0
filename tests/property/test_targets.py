"""Labels of targets with several features and our own dealings, also across restarts."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.core.clock import SECOND
from riskwatch.core.risk.scorer import ModelsConfig, TargetConfig
from riskwatch.core.rules import Condition
from riskwatch.models.ensemble import Ensemble
from riskwatch.models.labels import MAX_GAP_SHARE
from tests.unit.models.samples import anchored, rows_of, rules

if TYPE_CHECKING:
    from riskwatch.core.risk.scorer import ModelScore
    from riskwatch.core.stage import Row
    from riskwatch.models.state import EnsembleState

KRAKEN: Final = "counterparty:kraken"
HORIZON: Final = 60 * SECOND
STRESS: Final = TargetConfig(
    kind="withdrawal_stress", scope_kind="counterparty", side="", unit="", threshold=1.0,
    horizon_s=60.0, ours=True,
    any=(Condition(feature="age_ratio", at=3.0), Condition(feature="dislocation_bp", at=75.0)),
)  # fmt: skip
GAP: Final = TargetConfig(
    kind="dislocation", scope_kind="counterparty", side="", threshold=75.0, horizon_s=120.0,
    measure="dislocation_bp", label_every_s=30.0,
)  # fmt: skip
CONFIG: Final = ModelsConfig(
    targets=(STRESS, GAP),
    generations=(rules(), anchored(options={"scales": {"age_ratio": 2.0}})),
    label_every_s=10.0,
)

Seen = tuple[int, dict[str, float], bool, bool]
"""Event time in microseconds, features, whether labelled, whether we hold anything there."""


@st.composite
def stories(draw: st.DrawFn) -> list[Seen]:
    """Draw observations of a counterparty, at times with missing parts, untrusted, or not held."""
    step = st.tuples(
        st.sampled_from((5, 10, 10, 12, 40)),
        st.sampled_from((None, 0.0, 0.5, 2.0, 4.0)),
        st.sampled_from((None, 5.0, 30.0, 60.0, 90.0)),
        st.integers(0, 9),
        st.integers(0, 9),
    )
    second, out = 0, []
    for wait, ratio, gap, trust, there in draw(st.lists(step, min_size=10, max_size=60)):
        second += wait
        x = {"age_ratio": ratio, "dislocation_bp": gap}
        known = {name: value for name, value in x.items() if value is not None}
        out.append((second * SECOND, known, trust > 0, there > 0))
    return out


def observe_all(
    ensemble: Ensemble, state: EnsembleState, story: list[Seen]
) -> list[list[ModelScore]]:
    """Observe a story with an ensemble; return the scores."""
    return [
        ensemble.observe(state, us, KRAKEN, "counterparty", x, labelled=labelled, ours=ours)
        for us, x, labelled, ours in story
    ]


def expected_outcome(taken: int, parts: list[str], story: list[Seen]) -> str:
    """Return the outcome of a sample, computed from the whole story at once."""
    end, marks = taken + HORIZON, [taken]
    for us, x, labelled, ours in story:
        if us <= taken:
            continue
        if not ours:
            return "censored"
        if not labelled or not x:
            continue
        ratio = max(x.get("age_ratio", 0.0) / 3.0, x.get("dislocation_bp", 0.0) / 75.0)
        if us <= end and ratio >= 1.0:
            return "true"
        if us <= end and all(part in x for part in parts):
            marks.append(us)
        if us >= end:
            holes = [b - a for a, b in pairwise([*marks, end])]
            return "unlabelled" if max(holes) > MAX_GAP_SHARE * HORIZON else "false"
    return "waits"


@settings(deadline=None, max_examples=150)
@given(stories())
def test_each_sample_meets_the_fate_that_its_horizon_says(story: list[Seen]) -> None:
    """The counts of true, false, unlabelled and censored samples equal the oracle's."""
    ensemble = Ensemble(CONFIG)
    state, taken = ensemble.fresh(), dict[int, list[str]]()
    key = f"{KRAKEN}|withdrawal_stress(1, 1min)"
    for seen in story:
        observe_all(ensemble, state, [seen])
        if key in state.pending:
            taken |= {s.us: s.parts for s in state.pending[key].samples}
    if key not in state.pending:
        return
    pending, evidence = state.pending[key], state.evidence.get(f"{key}|rules")
    outcomes = [expected_outcome(us, parts, story) for us, parts in sorted(taken.items())]
    # A hit sample waits for the end of its horizon before it gets its label.
    hit = [s.us for s in pending.samples if s.hit]
    waits = [s.us for s in pending.samples if not s.hit]
    assert outcomes.count("waits") == len(waits)
    assert outcomes.count("censored") == pending.censored
    assert outcomes.count("unlabelled") == pending.unlabelled
    positives, count = (evidence.positives, evidence.count) if evidence else (0, 0)
    assert outcomes.count("true") == positives + len(hit)
    assert outcomes.count("false") == count - positives
    assert len(pending.samples) <= 6


@settings(deadline=None, max_examples=100)
@given(stories(), st.lists(st.integers(0, 60), max_size=5))
def test_restarts_anywhere_change_nothing(story: list[Seen], cuts: list[int]) -> None:
    """Scores and rows are equal after drains and loads at random points."""
    ensemble = Ensemble(CONFIG)
    through = ensemble.fresh()
    expected = observe_all(ensemble, through, story)
    broken, stored, scores = ensemble.fresh(), dict[str, "Row"](), []
    for n, seen in enumerate(story):
        if n in cuts:
            rows_of(broken, stored)
            ensemble = Ensemble(CONFIG)
            broken = ensemble.fresh()
            broken.load(dict(stored))
        scores += observe_all(ensemble, broken, [seen])
    assert scores == expected
    assert rows_of(broken, stored) == rows_of(through)
