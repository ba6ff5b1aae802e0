"""Baselines in the whole risk stage under the shipped policy: slow bleeds do not become normal."""

from __future__ import annotations

import random

import pytest

from riskwatch.core.enums import State
from riskwatch.core.outputs import DecisionMade
from riskwatch.core.risk.stage import RiskStage
from riskwatch.engine import bootstrap
from riskwatch.models.ensemble import Ensemble
from tests.support.risk import LIMITS, REFERENCE, RULES, Desk, asset, held, market, of

POLICY = bootstrap.configuration().policy
HOUR = 60


def shipped() -> Desk:
    """Return the risk stage under the shipped policy, with its models."""
    return Desk(RiskStage(POLICY.risk, REFERENCE, LIMITS, RULES, Ensemble(POLICY.models)))


def live(d: Desk, path: list[tuple[int, float]], sd: float, seed: int = 1) -> None:
    """Move USDC along a path of (minute, bp), with noise of a standard deviation."""
    rng = random.Random(seed)
    for minute, bp in path:
        seen = market(minute, asset(bp=round(bp + rng.gauss(0.0, sd), 3), seen=minute + 2))
        d.tick(minute, seen)


def bleed(bp_an_hour: float, hours: int, every: int = 5, calm: int = 24) -> list[tuple[int, float]]:
    """Return a calm day at par, then a fall of so many basis points an hour."""
    minutes = range(0, (calm + hours) * HOUR, every)
    return [(m, -max(0.0, m / HOUR - calm) * bp_an_hour) for m in minutes]


def states(d: Desk) -> list[tuple[float, State, str]]:
    """Return hours, states and rules of the decisions on USDC."""
    start = d.out[0].ts.timestamp()
    return [
        ((o.ts.timestamp() - start) / 3600.0, o.state, o.rule)
        for o in of(d.out, DecisionMade, "asset:USDC")
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_two_basis_points_an_hour_for_two_days_are_flagged(seed: int) -> None:
    """WATCH comes before the plain threshold of 20 bp is reached, and stays."""
    d = shipped()
    d.tick(0, market(0, asset()), held(0, ("USDC", "500000")))
    live(d, bleed(2.0, 48), 1.0, seed)
    made = states(d)
    hour, state, rule = made[0]
    assert (state, rule) == (State.WATCH, "asset.bleed.watch")
    assert 24.0 < hour < 24.0 + 10.0
    assert all(each.rank >= State.WATCH.rank for _, each, _ in made)
    assert made[-1][1].rank >= State.REDUCE.rank  # 96 bp below the peg by then


def test_half_a_basis_point_an_hour_for_ten_days_is_flagged() -> None:
    """The location moves by at most 5 bp, so a slow bleed cannot become normal."""
    d = shipped()
    live(d, bleed(0.5, 240, every=15), 1.0)
    made = states(d)
    hour, state, rule = made[0]
    assert (state, rule) == (State.WATCH, "asset.bleed.watch")
    assert hour < 24.0 + 40.0  # where the plain rule would be
    assert all(each.rank >= State.WATCH.rank for _, each, _ in made)


def test_the_location_stands_still_from_the_watch_on() -> None:
    """The row holds the time since which it is frozen."""
    d = shipped()
    live(d, bleed(2.0, 16), 1.0)
    base = d.state.assets["USDC"].base
    assert base is not None
    assert base.frozen > 0
    before = base.location
    live(d, [(m, -2.0 * (m / HOUR - 24)) for m in range(40 * HOUR, 44 * HOUR, 5)], 1.0)
    after = d.state.assets["USDC"].base
    assert after is not None
    assert after.location == before


def test_a_day_of_tenfold_volatility_is_taken_up_and_is_no_bleed() -> None:
    """The scale adapts within its half-life, and no bleed is reported."""
    d = shipped()
    live(d, [(m, 0.0) for m in range(0, 24 * HOUR, 5)], 1.0)
    live(d, [(m, 0.0) for m in range(24 * HOUR, 30 * HOUR, 5)], 10.0)
    base = d.state.assets["USDC"].base
    assert base is not None
    assert base.scale >= 5.5
    live(d, [(m, 0.0) for m in range(30 * HOUR, 48 * HOUR, 5)], 10.0)
    base = d.state.assets["USDC"].base
    assert base is not None
    assert base.scale == pytest.approx(10.0, rel=0.25)
    assert [rule for _, _, rule in states(d) if rule == "asset.bleed.watch"] == []
