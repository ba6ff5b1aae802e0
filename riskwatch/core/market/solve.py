"""Robust weighted least squares on the price graph, in fixed-order arithmetic.

The system is tiny, with one unknown per asset. A plain Cholesky factorisation in Python therefore
costs less than a call into a matrix library. It also gives the same bits on every machine, while
BLAS variants differ in the last bit.

References
----------
Huber (1964) for the monotone weights, Holland and Welsch (1977) for iteratively reweighted
least squares with the Cauchy weights of the closing passes.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

Observation = tuple[int, int, float, float]
"""One feed's price: (base index, quote index, log price, standard deviation); -1 is fiat."""

GraphPrior = tuple[int, float, float]
"""(index, centre, standard deviation)."""

HUBER_PASSES: Final = 4
CAUCHY_PASSES: Final = 2
HUBER_TUNING: Final = 1.5
"""Residuals beyond this many standard deviations count by their size, not by its square."""
CAUCHY_TUNING: Final = 3.0
"""Residual, in standard deviations, beyond which the closing passes discount an edge."""
PRIOR_TUNING: Final = 0.01
"""Weight of a prior relative to an observation. It is small, so that a prior decides only what the
feeds leave open: the usual value of an asset is no evidence against its present one."""
RIDGE: Final = 1e-9
"""Diagonal term that keeps the system solvable for an asset without edges; its variance is huge."""


def _normal(
    n: int,
    edges: list[Observation],
    weights: list[float],
    priors: list[GraphPrior],
    prior_weights: list[float],
) -> tuple[list[list[float]], list[float]]:
    """Assemble the normal equations ``A x = y``."""
    a = [[0.0] * n for _ in range(n)]
    y = [0.0] * n
    for i in range(n):
        a[i][i] = RIDGE
    for (b, q, lp, _), w in zip(edges, weights, strict=True):
        if b >= 0:
            a[b][b] += w
            y[b] += w * lp
        if q >= 0:
            a[q][q] += w
            y[q] -= w * lp
            if b >= 0:
                a[b][q] -= w
                a[q][b] -= w
    for (i, centre, _), w in zip(priors, prior_weights, strict=True):
        a[i][i] += w
        y[i] += w * centre
    return a, y


def cholesky(a: list[list[float]]) -> list[list[float]]:
    """Return the lower factor ``L`` of a symmetric positive definite matrix, ``L L' = a``.

    Examples
    --------
    >>> cholesky([[4.0, 2.0], [2.0, 5.0]])
    [[2.0, 0.0], [1.0, 2.0]]
    """
    n = len(a)
    low = [[0.0] * n for _ in range(n)]
    for i in range(n):
        row = low[i]
        for j in range(i + 1):
            other = low[j]
            s = a[i][j]
            for k in range(j):
                s -= row[k] * other[k]
            # Rounding can take all of a pivot where nothing but the ridge holds an asset.
            row[j] = sqrt(s if s > 0.0 else RIDGE) if i == j else s / other[j]
    return low


def cholesky_solve(low: list[list[float]], y: list[float]) -> list[float]:
    """Solve ``L L' x = y``."""
    n = len(y)
    z = [0.0] * n
    for i in range(n):
        s = y[i]
        row = low[i]
        for k in range(i):
            s -= row[k] * z[k]
        z[i] = s / row[i]
    x = [0.0] * n
    for i in range(n - 1, -1, -1):
        s = z[i]
        for k in range(i + 1, n):
            s -= low[k][i] * x[k]
        x[i] = s / low[i][i]
    return x


def residuals(x: list[float], edges: list[Observation]) -> list[float]:
    """Return the observed minus the fitted log price of every edge."""
    return [lp - (x[b] if b >= 0 else 0.0) + (x[q] if q >= 0 else 0.0) for b, q, lp, _ in edges]


def solve(
    n: int, edges: list[Observation], priors: list[GraphPrior]
) -> tuple[list[float], list[float], list[float]]:
    """Fit the graph.

    Parameters
    ----------
    n : int
        Number of unknown assets; fiat is index -1 and worth 0.
    edges : list of Observation
        Observations in log price.
    priors : list of GraphPrior
        Weak priors in log price.

    Returns
    -------
    x : list of float
        Log value of each asset.
    sd : list of float
        Standard deviation of each value under the final weights.
    share : list of float
        Share of its nominal weight that each edge kept, 0 to 1.

    Examples
    --------
    Two feeds agree; the third is 5 % off and loses its weight:

    >>> x, sd, share = solve(1, [(0, -1, 0.0, 1e-4), (0, -1, 1e-4, 1e-4), (0, -1, 0.05, 1e-4)], [])
    >>> abs(x[0]) < 2e-4, share[2] < 0.001
    (True, True)
    """
    base = [1.0 / (sd * sd) for _, _, _, sd in edges]
    share = [1.0] * len(edges)
    prior_weights = [PRIOR_TUNING / (sd * sd) for _, _, sd in priors]
    x: list[float] = [0.0] * n
    low: list[list[float]] = []
    step = 0
    while True:
        weights = [w * s for w, s in zip(base, share, strict=True)]
        a, y = _normal(n, edges, weights, priors, prior_weights)
        low = cholesky(a)
        x = cholesky_solve(low, y)
        if step == HUBER_PASSES + CAUCHY_PASSES:
            break
        before, prior_weights_before = list(share), list(prior_weights)
        for i, r in enumerate(residuals(x, edges)):
            z = abs(r) / edges[i][3]
            if step < HUBER_PASSES:
                share[i] = 1.0 if z <= HUBER_TUNING else HUBER_TUNING / z
            else:
                share[i] = 1.0 / (1.0 + (z / CAUCHY_TUNING) ** 2)
        # Beyond one standard deviation a prior counts by absolute size. If either of two assets
        # could have moved, the more volatile one therefore takes the whole movement.
        for i, (j, centre, sd) in enumerate(priors):
            prior_weights[i] = PRIOR_TUNING / (sd * max(abs(x[j] - centre), sd))
        step += 1
        if step < HUBER_PASSES and share == before and prior_weights == prior_weights_before:
            step = HUBER_PASSES  # a fixed point: further passes would change nothing
    return x, _deviations(low), share


def _deviations(low: list[list[float]]) -> list[float]:
    """Return the square roots of the diagonal of the inverse of ``L L'``."""
    n = len(low)
    out = []
    for j in range(n):
        z = [0.0] * n
        z[j] = 1.0 / low[j][j]
        total = z[j] * z[j]
        for i in range(j + 1, n):
            s = 0.0
            row = low[i]
            for k in range(j, i):
                s -= row[k] * z[k]
            z[i] = s / row[i]
            total += z[i] * z[i]
        out.append(sqrt(total))
    return out
