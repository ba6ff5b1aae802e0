"""Robust weighted least squares on the price graph, sparse and in fixed-order arithmetic.

The matrix of the price graph is that of a resistor network: an edge is a conductance between two
assets, and a price in fiat is a conductance to the ground. Each connected component is solved
alone. Assets are eliminated in minimum-degree order, ties by index, so the leaves around a coin
come first and cost one step each. Eliminating an asset joins its neighbours by conductances, which
only adds positive numbers: no difference of large numbers loses digits, however far the weights
are apart. The diagonal of the inverse follows from the same factors.

All arithmetic is plain addition, multiplication, division and square root of floats, in an order
that depends on the structure alone. These operations are exact to the last bit by IEEE 754, so the
result is the same on every machine, Python and library version. Neither a matrix library, nor
``sum`` (compensated since Python 3.12), nor ``pow`` (as precise as the C library) is used.

References
----------
Huber (1964) for the monotone weights, Holland and Welsch (1977) for iteratively reweighted
least squares with the Cauchy weights of the closing passes, Grassmann, Taksar and Heyman (1985) for
elimination without subtraction, and Takahashi, Fagan and Chin (1973) for the inverse.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import sqrt
from typing import Final

import msgspec

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
"""Conductance from each asset to the ground, so that an asset without a path to fiat can be solved;
its variance is huge."""
MAX_FRONT: Final = 64
"""Largest number of assets that the elimination of one asset may join. Markets have a few coins
that all others are quoted in, and stay far below; a graph made to be dense would cost its cube."""
UNSOLVED_SD: Final = 31_622.776601683792
"""Standard deviation of an asset that is not solved: that of one which the ridge alone holds."""


class EliminationOrder:
    """Order in which the assets of one component are eliminated, and the pattern of its factor.

    Parameters
    ----------
    neighbours : list of set of int
        Neighbours of each asset of the component, by index from 0. It is used up.

    Attributes
    ----------
    position : list of int
        Position in the order of each asset.
    later : list of list of int
        By position: the positions that are joined to it when it is eliminated, ascending.
    too_dense : bool
        Whether every asset that is left has more than :data:`MAX_FRONT` neighbours. The order then
        ends before them.

    Examples
    --------
    The leaves of a star come first:

    >>> order = EliminationOrder([{1, 2, 3}, {0}, {0}, {0}])
    >>> order.position, order.later
    ([2, 0, 1, 3], [[2], [2], [3], []])
    """

    __slots__ = ("later", "position", "too_dense")

    def __init__(self, neighbours: list[set[int]]) -> None:
        n = len(neighbours)
        self.position = [-1] * n
        self.later: list[list[int]] = []
        self.too_dense = False
        joined: list[set[int]] = []
        queue = [(len(near), node) for node, near in enumerate(neighbours)]
        heapify(queue)
        while len(joined) < n:
            degree, node = heappop(queue)
            near = neighbours[node]
            if self.position[node] >= 0 or degree != len(near):
                continue
            if degree > MAX_FRONT:
                self.too_dense = True
                return
            self.position[node] = len(joined)
            joined.append(near)
            for other in near:
                mine = neighbours[other]
                before = len(mine)
                mine.discard(node)
                if len(near) > 1:
                    mine |= near
                    mine.discard(other)
                if len(mine) != before:
                    heappush(queue, (len(mine), other))
        self.later = [sorted(self.position[other] for other in near) for near in joined]


class Factor:
    """A weighted component, eliminated: values and variances follow by going backwards.

    Parameters
    ----------
    later : list of list of int
        Pattern, of :class:`EliminationOrder`.
    joint : list of dict of int to float
        By position: conductances to the later positions. It is used up.
    ground : list of float
        By position: conductance to the ground. It is used up.
    current : list of float
        By position: right-hand side. It is used up.
    """

    __slots__ = ("_current", "_later", "_pivot", "_share")

    def __init__(
        self,
        later: list[list[int]],
        joint: list[dict[int, float]],
        ground: list[float],
        current: list[float],
    ) -> None:
        self._later = later
        self._current = current
        self._pivot: list[float] = []
        self._share: list[list[float]] = []
        for k, near in enumerate(later):
            mine = joint[k]
            pivot = ground[k]
            for j in near:
                pivot += mine[j]
            share = [mine[j] / pivot for j in near]
            self._pivot.append(pivot)
            self._share.append(share)
            to_ground, flow = ground[k], current[k]
            for at, i in enumerate(near):
                part = share[at]
                ground[i] += part * to_ground
                current[i] += part * flow
                row = joint[i]
                for j in near[at + 1 :]:
                    row[j] += part * mine[j]

    def values(self) -> list[float]:
        """Return the solution by position."""
        n = len(self._later)
        x = [0.0] * n
        for k in range(n - 1, -1, -1):
            total = self._current[k] / self._pivot[k]
            for j, part in zip(self._later[k], self._share[k], strict=True):
                total += part * x[j]
            x[k] = total
        return x

    def variances(self) -> list[float]:
        """Return the diagonal of the inverse by position."""
        n = len(self._later)
        out = [0.0] * n
        inverse: list[dict[int, float]] = [{} for _ in range(n)]
        for k in range(n - 1, -1, -1):
            near, share = self._later[k], self._share[k]
            mine = inverse[k]
            total = 1.0 / self._pivot[k]
            for j, part in zip(near, share, strict=True):
                cross = 0.0
                for i, weight in zip(near, share, strict=True):
                    if i == j:
                        cross += weight * out[j]
                    else:
                        cross += weight * (inverse[i][j] if i < j else inverse[j][i])
                mine[j] = cross
                total += part * cross
            out[k] = total
        return out


class _Component:
    """One connected component, with positions in place of indices."""

    __slots__ = ("_later", "edges", "nodes", "priors", "too_dense")

    def __init__(
        self, nodes: list[int], edges: list[Observation], priors: list[GraphPrior]
    ) -> None:
        local = {node: i for i, node in enumerate(nodes)}
        neighbours: list[set[int]] = [set() for _ in nodes]
        for b, q, _, _ in edges:
            if b >= 0 and q >= 0 and b != q:
                neighbours[local[b]].add(local[q])
                neighbours[local[q]].add(local[b])
        order = EliminationOrder(neighbours)
        self._later, self.too_dense = order.later, order.too_dense
        self.nodes = nodes
        if order.too_dense:
            return
        place = {node: order.position[i] for node, i in local.items()}
        self.nodes = [node for _, node in sorted((at, node) for node, at in place.items())]
        self.edges = [
            (place[b] if b >= 0 else -1, place[q] if q >= 0 else -1, lp, sd)
            for b, q, lp, sd in edges
        ]
        self.priors = [(place[i], centre, sd) for i, centre, sd in priors]

    def _factor(self, weights: list[float], prior_weights: list[float]) -> Factor:
        n = len(self.nodes)
        ground = [RIDGE] * n
        current = [0.0] * n
        joint = [dict.fromkeys(near, 0.0) for near in self._later]
        for (b, q, lp, _), w in zip(self.edges, weights, strict=True):
            if b >= 0:
                current[b] += w * lp
            if q >= 0:
                current[q] -= w * lp
            if b >= 0 and q >= 0:
                if b != q:
                    joint[min(b, q)][max(b, q)] += w
            elif b >= 0 or q >= 0:
                ground[max(b, q)] += w
        for (i, centre, _), w in zip(self.priors, prior_weights, strict=True):
            ground[i] += w
            current[i] += w * centre
        return Factor(self._later, joint, ground, current)

    def fit(self) -> tuple[list[float], list[float], list[float]]:
        """Return value and standard deviation by position, and the share of each edge."""
        edges, priors = self.edges, self.priors
        base = [1.0 / (sd * sd) for _, _, _, sd in edges]
        share = [1.0] * len(edges)
        prior_weights = [PRIOR_TUNING / (sd * sd) for _, _, sd in priors]
        step = 0
        while True:
            weights = [w * s for w, s in zip(base, share, strict=True)]
            factor = self._factor(weights, prior_weights)
            x = factor.values()
            if step == HUBER_PASSES + CAUCHY_PASSES:
                return x, [sqrt(variance) for variance in factor.variances()], share
            before, prior_weights_before = share, prior_weights
            share = _shares(residuals(x, edges), edges, huber=step < HUBER_PASSES)
            # Beyond one standard deviation a prior counts by absolute size. If either of two
            # assets could have moved, the more volatile one therefore takes the whole movement.
            prior_weights = [
                PRIOR_TUNING / (sd * max(abs(x[i] - centre), sd)) for i, centre, sd in priors
            ]
            step += 1
            if step < HUBER_PASSES and share == before and prior_weights == prior_weights_before:
                step = HUBER_PASSES  # a fixed point: further passes would change nothing


def _shares(found: list[float], edges: list[Observation], *, huber: bool) -> list[float]:
    """Return the share of its nominal weight that each edge keeps, by its residual."""
    out = []
    for r, (_, _, _, sd) in zip(found, edges, strict=True):
        z = abs(r) / sd
        if huber:
            out.append(1.0 if z <= HUBER_TUNING else HUBER_TUNING / z)
        else:
            beyond = z / CAUCHY_TUNING
            out.append(1.0 / (1.0 + beyond * beyond))
    return out


def residuals(x: list[float], edges: list[Observation]) -> list[float]:
    """Return the observed minus the fitted log price of every edge."""
    return [lp - (x[b] if b >= 0 else 0.0) + (x[q] if q >= 0 else 0.0) for b, q, lp, _ in edges]


def components(n: int, edges: list[Observation]) -> list[int]:
    """Return for each asset the smallest index in its connected component; fiat joins nothing.

    Examples
    --------
    >>> components(4, [(0, -1, 0.0, 1.0), (1, -1, 0.0, 1.0), (3, 1, 0.0, 1.0)])
    [0, 1, 2, 1]
    """
    root = list(range(n))
    for b, q, _, _ in edges:
        if b < 0 or q < 0:
            continue
        one, other = _root(root, b), _root(root, q)
        root[max(one, other)] = min(one, other)
    return [_root(root, i) for i in range(n)]


def _root(root: list[int], i: int) -> int:
    while root[i] != i:
        root[i] = root[root[i]]
        i = root[i]
    return i


class Solution(msgspec.Struct, frozen=True, gc=False):
    """A fit of the graph.

    Attributes
    ----------
    x : list of float
        Log value of each asset. It depends on the edges of its component alone.
    sd : list of float
        Standard deviation of each value under the final weights.
    share : list of float
        Share of its nominal weight that each edge kept, 0 to 1.
    unsolved : list of int
        Assets of components that are too dense (:data:`MAX_FRONT`). Their value is 0, with
        :data:`UNSOLVED_SD`.
    """

    x: list[float]
    sd: list[float]
    share: list[float]
    unsolved: list[int]


def solve(n: int, edges: list[Observation], priors: list[GraphPrior]) -> Solution:
    """Fit the graph.

    Parameters
    ----------
    n : int
        Number of unknown assets; fiat is index -1 and worth 0.
    edges : list of Observation
        Observations in log price.
    priors : list of GraphPrior
        Weak priors in log price.

    Examples
    --------
    Two feeds agree; the third is 5 % off and loses its weight:

    >>> fit = solve(1, [(0, -1, 0.0, 1e-4), (0, -1, 1e-4, 1e-4), (0, -1, 0.05, 1e-4)], [])
    >>> abs(fit.x[0]) < 2e-4, fit.share[2] < 0.001
    (True, True)
    """
    root = components(n, edges)
    nodes: dict[int, list[int]] = {}
    own: dict[int, list[int]] = {}
    prior: dict[int, list[GraphPrior]] = {}
    for i, first in enumerate(root):
        nodes.setdefault(first, []).append(i)
    for at, (b, q, _, _) in enumerate(edges):
        if b >= 0 or q >= 0:
            own.setdefault(root[max(b, q)], []).append(at)
    for row in priors:
        prior.setdefault(root[row[0]], []).append(row)
    fit = Solution([0.0] * n, [UNSOLVED_SD] * n, [1.0] * len(edges), [])
    for first, members in nodes.items():
        mine = own.get(first, [])
        part = _Component(members, [edges[at] for at in mine], prior.get(first, []))
        if part.too_dense:
            fit.unsolved.extend(members)
            continue
        x, sd, share = part.fit()
        for i, value, deviation in zip(part.nodes, x, sd, strict=True):
            fit.x[i], fit.sd[i] = value, deviation
        for at, kept in zip(mine, share, strict=True):
            fit.share[at] = kept
    return fit


class LayeredFit:
    """A fit of the graph, layer by layer: no edge moves an asset that an earlier layer solved.

    Parameters
    ----------
    n, edges, priors
        As of :func:`solve`.

    Attributes
    ----------
    x, sd, share : list of float
        As of :class:`Solution`. The share of an edge that moved nothing is 0, and an asset that no
        layer solved has the value 0 with :data:`UNSOLVED_SD`. A value that hangs on a solved asset
        has the variance of both.
    solved : list of bool
        Whether a layer solved the asset.
    dense : list of bool
        Whether it was in a part that is too dense, and no layer solved it.

    Examples
    --------
    The second edge comes later and moves nothing; the third gives the other asset a value:

    >>> fit = LayeredFit(2, [(0, -1, 0.0, 1e-4), (0, -1, 9.0, 1e-4), (1, 0, 1.0, 1e-4)], [])
    >>> fit.add([0])
    >>> fit.add([1, 2])
    >>> [round(x, 3) for x in fit.x], fit.share
    ([0.0, 1.0], [1.0, 0.0, 1.0])
    """

    def __init__(self, n: int, edges: list[Observation], priors: list[GraphPrior]) -> None:
        self.x = [0.0] * n
        self.sd = [UNSOLVED_SD] * n
        self.share = [0.0] * len(edges)
        self.solved = [False] * n
        self.dense = [False] * n
        self._edges = edges
        self._priors = {row[0]: row for row in priors}

    def add(self, layer: list[int]) -> None:
        """Solve what these edges, by index, connect and no layer has solved yet."""
        hung = [(at, row) for at in layer if (row := self._hang(self._edges[at])) is not None]
        names = sorted({i for _, (b, q, _, _) in hung for i in (b, q) if i >= 0})
        place = {name: i for i, name in enumerate(names)} | {-1: -1}
        rows = [(place[b], place[q], lp, sd) for _, (b, q, lp, sd) in hung]
        priors = [(place[i], *self._priors[i][1:]) for i in names if i in self._priors]
        fit = solve(len(names), rows, priors)
        unsolved = frozenset(fit.unsolved)
        for i, name in enumerate(names):
            self.dense[name] = i in unsolved
            if i not in unsolved:
                self.x[name], self.sd[name], self.solved[name] = fit.x[i], fit.sd[i], True
        for (at, (b, q, _, _)), share in zip(hung, fit.share, strict=True):
            if self.solved[max(b, q)]:
                self.share[at] = share

    def _hang(self, edge: Observation) -> Observation | None:
        """Return an edge with solved assets moved into its price, if it has another asset."""
        b, q, lp, sd = edge
        if b >= 0 and self.solved[b]:
            b, lp, sd = -1, lp - self.x[b], _both(sd, self.sd[b])
        if q >= 0 and self.solved[q]:
            q, lp, sd = -1, lp + self.x[q], _both(sd, self.sd[q])
        return None if b < 0 and q < 0 else (b, q, lp, sd)


def _both(one: float, other: float) -> float:
    """Return the standard deviation of a sum of independent terms."""
    return sqrt(one * one + other * other)
