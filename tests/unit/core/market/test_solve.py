"""The fit: robust against one bad feed, and not held back by priors."""

from __future__ import annotations

from math import isfinite

import pytest

from riskwatch.core.market.solve import Observation, solve


@pytest.mark.parametrize("bp", [-20.0, -150.0, -2_000.0, -15_000.0])
def test_a_prior_never_outweighs_the_only_feed(bp: float) -> None:
    """Of two assets on one feed, the more volatile one takes the deviation."""
    edges: list[Observation] = [(0, 1, bp * 1e-4, 5e-4)]
    x, _, share = solve(2, edges, [(0, 0.0, 50e-4), (1, 0.0, 5e-4)])
    assert x[0] - x[1] == pytest.approx(bp * 1e-4, rel=0.01)
    assert abs(x[0]) > 0.95 * abs(bp) * 1e-4
    assert share[0] > 0.9


def test_one_wrong_feed_among_three_is_let_go() -> None:
    """Its residual shows the fault, and the value stays with the others."""
    edges: list[Observation] = [(0, -1, 0.0, 3e-4), (0, -1, 1e-4, 3e-4), (0, -1, -0.05, 3e-4)]
    x, _, share = solve(1, edges, [])
    assert abs(x[0]) < 5e-4
    assert share[2] < 0.01
    assert share[0] > 0.5


def test_a_chain_reaches_fiat() -> None:
    """An asset that is traded against BTC only is valued through BTC."""
    edges: list[Observation] = [(0, -1, 10.0, 1e-4), (0, 1, 10.01, 1e-4)]
    x, _, _ = solve(2, edges, [])
    assert x[1] == pytest.approx(-0.01, abs=1e-6)


def test_a_ridge_that_rounding_takes_away_is_put_back() -> None:
    """Two assets quoted in each other alone, by very exact feeds: no pivot of zero."""
    x, sd, _ = solve(2, [(0, 1, 1.0, 1e-7), (0, 1, 1.0, 1e-7), (1, 0, -1.0, 1e-7)], [])
    assert all(isfinite(value) for value in (*x, *sd))
