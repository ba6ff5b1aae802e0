"""The fit: robust against one bad feed, and not held back by priors."""

from __future__ import annotations

from hashlib import sha256
from math import sqrt
from random import Random

import pytest

from riskwatch.core.market.solve import (
    RIDGE,
    UNSOLVED_SD,
    EliminationOrder,
    LayeredFit,
    Observation,
    solve,
)

BITS = "6d6b790c2d877ffcc7506953545867f40f7fce45bea27c84175956208aeb4bac"
"""Digest of the fit of one mixed graph."""


@pytest.mark.parametrize("bp", [-20.0, -150.0, -2_000.0, -15_000.0])
def test_a_prior_never_outweighs_the_only_feed(bp: float) -> None:
    """Of two assets on one feed, the more volatile one takes the deviation."""
    edges: list[Observation] = [(0, 1, bp * 1e-4, 5e-4)]
    fit = solve(2, edges, [(0, 0.0, 50e-4), (1, 0.0, 5e-4)])
    x, share = fit.x, fit.share
    assert x[0] - x[1] == pytest.approx(bp * 1e-4, rel=0.01)
    assert abs(x[0]) > 0.95 * abs(bp) * 1e-4
    assert share[0] > 0.9


def test_one_wrong_feed_among_three_is_let_go() -> None:
    """Its residual shows the fault, and the value stays with the others."""
    edges: list[Observation] = [(0, -1, 0.0, 3e-4), (0, -1, 1e-4, 3e-4), (0, -1, -0.05, 3e-4)]
    fit = solve(1, edges, [])
    x, share = fit.x, fit.share
    assert abs(x[0]) < 5e-4
    assert share[2] < 0.01
    assert share[0] > 0.5


def test_a_chain_reaches_fiat() -> None:
    """An asset that is traded against BTC only is valued through BTC."""
    edges: list[Observation] = [(0, -1, 10.0, 1e-4), (0, 1, 10.01, 1e-4)]
    x = solve(2, edges, []).x
    assert x[1] == pytest.approx(-0.01, abs=1e-6)


def test_an_asset_without_fiat_has_its_price_and_an_unknown_value() -> None:
    """Two assets quoted in each other alone, by very exact feeds: no pivot loses the ridge."""
    edges: list[Observation] = [(0, 1, 1.0, 1e-7), (0, 1, 1.0, 1e-7), (1, 0, -1.0, 1e-7)]
    fit = solve(2, edges, [])
    assert fit.x[0] - fit.x[1] == 1.0
    assert fit.sd == [pytest.approx(sqrt(1.0 / (2.0 * RIDGE)), rel=1e-9)] * 2


def test_leaves_cost_one_step_each() -> None:
    """Around two coins, the work grows as the number of assets, not as its cube."""
    for n in (200, 2_000):
        near: list[set[int]] = [{1}, {0}, *({0, 1} for _ in range(n - 2))]
        near[0] |= set(range(2, n))
        near[1] |= set(range(2, n))
        order = EliminationOrder(near)
        assert not order.too_dense
        assert sum(len(later) ** 2 for later in order.later) <= 4 * n


def dense(n: int) -> list[Observation]:
    """Feeds that link `n` assets by four random rings: no order of elimination is cheap."""
    draw = Random(1)
    out: list[Observation] = []
    for _ in range(4):
        ring = list(range(n))
        draw.shuffle(ring)
        out += [(a, b, 0.1, 1e-3) for a, b in zip(ring, [*ring[1:], ring[0]], strict=True)]
    return out


def test_a_part_that_is_too_dense_is_left_out() -> None:
    """It has no value; another component keeps its own, to the last bit."""
    n = 300
    edges: list[Observation] = [*dense(n), (n, -1, 0.25, 1e-4)]
    fit = solve(n + 1, edges, [])
    assert fit.unsolved == list(range(n))
    assert set(fit.sd[:n]) == {UNSOLVED_SD}
    alone = solve(1, [(0, -1, 0.25, 1e-4)], [])
    assert (fit.x[n], fit.sd[n]) == (alone.x[0], alone.sd[0])


def test_a_later_layer_moves_nothing_of_an_earlier_one() -> None:
    """Any number of later edges leaves value, deviation and shares; it values only what is left."""
    edges: list[Observation] = [(0, -1, 0.0, 1e-4), (0, -1, 1e-3, 1e-4), (1, 0, 2.0, 1e-4)]
    later: list[Observation] = [*([(0, -1, -0.5, 1e-6)] * 50), (1, -1, 9.0, 1e-6), (2, 1, 1.0, 0.1)]
    alone, both = LayeredFit(2, edges, []), LayeredFit(3, edges + later, [])
    alone.add([0, 1, 2])
    both.add([0, 1, 2])
    both.add(list(range(len(edges), len(edges) + len(later))))
    assert (both.x[:2], both.sd[:2], both.share[:3]) == (alone.x, alone.sd, alone.share)
    assert both.share[3:-1] == [0.0] * 51
    assert both.x[2] == pytest.approx(alone.x[1] + 1.0)
    assert both.sd[2] == pytest.approx(sqrt(0.01 + alone.sd[1] ** 2))


def test_the_bits_are_the_same_everywhere() -> None:
    """The fit of one mixed graph, by its bits: no machine, Python or library changes one."""
    draw = Random(7)
    edges: list[Observation] = []
    for i in range(40):
        for _ in range(2):
            to = draw.choice((-1, 0, 1, 2, draw.randrange(40)))
            if to != i:
                lp, sd = draw.randrange(-900, 900) / 64.0, draw.randrange(1, 99) / 4096.0
                edges.append((i, to, lp, sd))
    fit = solve(40, edges, [(0, 0.0, 0.0005), (5, 0.0, 0.005)])
    digits = ",".join(value.hex() for value in (*fit.x, *fit.sd, *fit.share))
    assert sha256(digits.encode()).hexdigest() == BITS
