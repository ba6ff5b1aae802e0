"""Boosted trees as plain numbers: evaluated in fixed order, explained by their paths."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_TREES: Final = 400
MAX_NODES: Final = 127

Node = tuple[Any, ...]
"""``(feature, threshold, missing_left, left, right)``, or a leaf: ``(-1, value, parts)``."""


class Tree(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One regression tree; node 0 is the root, and children come after their parent.

    Attributes
    ----------
    feature : tuple of int
        Index of the feature that a node asks for; -1 for a leaf.
    threshold : tuple of float
        A state goes left if its feature is at most this.
    missing_left : tuple of bool
        Whether a state goes left if it lacks the feature.
    left, right : tuple of int
        Indices of the children; 0 for a leaf.
    value : tuple of float
        What a leaf adds to the log-odds; 0 elsewhere.
    count : tuple of int
        Rows of the fit that came by, positive.
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    missing_left: tuple[bool, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]
    count: tuple[int, ...]


class Forest:
    """A sum of trees, with the share of every feature in it.

    The share of a feature is what the expectation changes by at the nodes that ask for it,
    along the path of the state [1]_. The expectation at a node is the mean of the leaves below
    it, weighted by the rows of the fit. So shares and base sum to the answer, up to the
    rounding of one float per part.

    Parameters
    ----------
    features : sequence of str
        Their names.
    baseline : float
        Log-odds before any tree.
    trees : sequence of Tree
        At most :data:`MAX_TREES`, of at most :data:`MAX_NODES` nodes.

    Raises
    ------
    ValueError
        If a tree is malformed.

    References
    ----------
    .. [1] A. Saabas, "Interpreting random forests" (2014): the decision path as a sum of
       contributions; weighted by rows as in scikit-learn's trees.

    Examples
    --------
    >>> stump = Tree(feature=(0, -1, -1), threshold=(1.0, 0.0, 0.0),
    ...     missing_left=(True, False, False), left=(1, 0, 0), right=(2, 0, 0),
    ...     value=(0.0, -1.0, 3.0), count=(4, 3, 1))
    >>> forest = Forest(["severity"], -2.0, [stump])
    >>> forest.explained({"severity": 1.5})
    (1.0, -2.0, {'severity': 3.0})
    >>> forest.explained({})
    (-3.0, -2.0, {'severity': -1.0})
    """

    def __init__(self, features: Sequence[str], baseline: float, trees: Sequence[Tree]) -> None:
        self.features = tuple(features)
        self.baseline = float(baseline)
        if len(trees) > MAX_TREES:
            raise ValueError(f"at most {MAX_TREES} trees, were {len(trees)}")
        if not math.isfinite(self.baseline):
            raise ValueError(f"baseline must be finite, was {baseline}")
        grown = [_grown(tree, len(self.features)) for tree in trees]
        self._roots = tuple(root for root, _ in grown)
        self._base = math.fsum([self.baseline, *(mean for _, mean in grown)])

    def explained(self, x: Mapping[str, float]) -> tuple[float, float, dict[str, float]]:
        """Log-odds of a state, what they are of no state in particular, and each feature's share.

        The log-odds are added up in the order of the trees, as scikit-learn does it, so they
        are equal to the bit.
        """
        sums = [0.0] * len(self.features)
        margin = self.baseline
        for leaf in self._leaves(x):
            margin += leaf[1]
            for feature, part in leaf[2]:
                sums[feature] += part
        return margin, self._base, dict(zip(self.features, sums, strict=True))

    def margin(self, x: Mapping[str, float]) -> float:
        """Log-odds of a state alone; the same to the bit."""
        margin = self.baseline
        for leaf in self._leaves(x):
            margin += leaf[1]
        return margin

    def _leaves(self, x: Mapping[str, float]) -> list[Node]:
        """Leaf of each tree in which a state ends, in the order of the trees."""
        values = [x.get(name, math.nan) for name in self.features]
        out = []
        for root in self._roots:
            node, at = root, root[0]
            while at >= 0:
                value = values[at]
                if value <= node[1]:
                    node = node[3]
                else:
                    # What is missing is NaN, which is at most nothing and unequal to itself.
                    node = node[3] if node[2] and value != value else node[4]  # noqa: PLR0124
                at = node[0]
            out.append(node)
        return out


def _grown(tree: Tree, features: int) -> tuple[Node, float]:
    """Nested nodes of a tree, and its expectation."""
    size = _checked(tree, features)
    mean = list(tree.value)
    for at in range(size - 1, -1, -1):  # children come after their parent
        if tree.feature[at] >= 0:
            left, right = tree.left[at], tree.right[at]
            weights = tree.count[left], tree.count[right]
            total = weights[0] * mean[left] + weights[1] * mean[right]
            mean[at] = total / (weights[0] + weights[1])

    def node(at: int, shares: dict[int, float]) -> Node:
        asked = tree.feature[at]
        if asked < 0:
            return (-1, tree.value[at], tuple(sorted(shares.items())))
        below = [
            node(child, {**shares, asked: shares.get(asked, 0.0) + mean[child] - mean[at]})
            for child in (tree.left[at], tree.right[at])
        ]
        return (asked, tree.threshold[at], tree.missing_left[at], *below)

    return node(0, {}), mean[0]


def _checked(tree: Tree, features: int) -> int:
    """How many nodes a tree has.

    Raises
    ------
    ValueError
        If it is no tree, or holds a number that is not finite.
    """
    size = len(tree.feature)
    columns = (tree.threshold, tree.missing_left, tree.left, tree.right, tree.value, tree.count)
    if not 0 < size <= MAX_NODES or any(len(column) != size for column in columns):
        raise ValueError(f"a tree must have 1 to {MAX_NODES} nodes, each in every column")
    seen = [0] * size
    for at in range(size):
        finite = math.isfinite(tree.threshold[at]) and math.isfinite(tree.value[at])
        if not finite or tree.count[at] < 1 or not -1 <= tree.feature[at] < features:
            raise ValueError(f"node {at} of a tree holds what it cannot hold")
        for child in (tree.left[at], tree.right[at]) if tree.feature[at] >= 0 else ():
            if not at < child < size:
                raise ValueError(f"node {at} of a tree has child {child}, which is not below it")
            seen[child] += 1
    if seen != [0] + [1] * (size - 1):
        raise ValueError("every node of a tree but the root must have one parent")
    return size
