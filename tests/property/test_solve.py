"""The fit of a price graph: each component alone, exact, and independent of all others."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from riskwatch.core.market.solve import RIDGE, GraphPrior, Observation, solve

Graph = tuple[int, list[Observation], list[GraphPrior]]

NEAR: Final = 1e-9
"""Relative difference of variances from the exact ones, though the condition is up to 1e16."""


@st.composite
def graphs(draw: st.DrawFn, largest: int = 8) -> Graph:
    """Draw a graph with parallel edges, cycles, fiat, floating parts and priors."""
    n = draw(st.integers(1, largest))
    ends = st.tuples(st.integers(-1, n - 1), st.integers(-1, n - 1)).filter(lambda e: e[0] != e[1])
    prices = st.floats(-27.0, 27.0).map(lambda lp: round(lp, 6))
    deviations = st.sampled_from((2e-4, 1e-3, 0.05, 2.0))
    edges = draw(
        st.lists(st.tuples(ends, prices, deviations).map(lambda e: (*e[0], *e[1:])), max_size=3 * n)
    )
    held = draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n))
    return n, edges, [(i, 0.0, 5e-4) for i in held]


@given(parts=st.lists(graphs(), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_a_component_is_solved_as_if_alone(parts: list[Graph]) -> None:
    """Whatever else is in the graph, and between it: the same bits."""
    count = len(parts)
    most = max(n for n, _, _ in parts)
    # Interleaved indices: asset i of part p is i * count + p, so no part lies in one block.
    edges: list[Observation] = []
    priors: list[GraphPrior] = []
    origin: list[tuple[int, int]] = []
    longest = max(len(e) for _, e, _ in parts)
    for at in range(longest):
        for p, (_, own, _) in enumerate(parts):
            if at < len(own):
                b, q, lp, sd = own[at]
                edges.append((_moved(b, p, count), _moved(q, p, count), lp, sd))
                origin.append((p, at))
    for p, (_, _, held) in enumerate(parts):
        priors += [(_moved(i, p, count), centre, sd) for i, centre, sd in held]
    whole = solve(most * count, edges, priors)
    alone = [solve(*part) for part in parts]
    for p, (n, _, _) in enumerate(parts):
        assert [whole.x[_moved(i, p, count)] for i in range(n)] == alone[p].x
        assert [whole.sd[_moved(i, p, count)] for i in range(n)] == alone[p].sd
    assert whole.share == [alone[p].share[at] for p, at in origin]


def _moved(i: int, part: int, count: int) -> int:
    return -1 if i < 0 else i * count + part


@given(graph=graphs())
@settings(max_examples=200, deadline=None)
def test_the_last_pass_is_exact(graph: Graph) -> None:
    """Values and variances are those of the weighted system in fractions, to rounding.

    A value that little but the ridge holds is known to rounding times the weights that cancel.
    """
    n, edges, _ = graph
    fit = solve(n, edges, [])
    a = [[Fraction(0)] * n for _ in range(n)]
    y = [Fraction(0)] * n
    for i in range(n):
        a[i][i] = Fraction(RIDGE)
    for (b, q, lp, sd), share in zip(edges, fit.share, strict=True):
        w = Fraction(1.0 / (sd * sd) * share)
        for i, sign in ((b, 1), (q, -1)):
            if i >= 0:
                a[i][i] += w
                y[i] += sign * w * Fraction(lp)
        if b >= 0 and q >= 0:
            a[b][q] -= w
            a[q][b] -= w
    x, variance = _exact(a, y)
    heaviest = max((1.0 / (sd * sd) for _, _, _, sd in edges), default=1.0)
    for i in range(n):
        assert abs(fit.x[i] - x[i]) <= NEAR + 1e-15 * n * heaviest * 27.0 * variance[i]
        assert abs(fit.sd[i] ** 2 - variance[i]) <= NEAR * variance[i]


def _exact(a: list[list[Fraction]], y: list[Fraction]) -> tuple[list[float], list[float]]:
    """Solve by Gauss and Jordan, with the diagonal of the inverse."""
    n = len(y)
    rows = [[*a[i], y[i], *(Fraction(int(i == j)) for j in range(n))] for i in range(n)]
    for k in range(n):
        pivot = rows[k][k]
        rows[k] = [value / pivot for value in rows[k]]
        for i in range(n):
            if i != k and rows[i][k]:
                factor = rows[i][k]
                rows[i] = [v - factor * u for v, u in zip(rows[i], rows[k], strict=True)]
    return [float(row[n]) for row in rows], [float(rows[i][n + 1 + i]) for i in range(n)]
