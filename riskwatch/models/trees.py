"""Boosted trees as plain numbers: evaluated in fixed order, explained by their paths."""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from riskwatch.models.base import Generation, RulesGeneration, Score, known_severity, sigmoid

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
    >>> forest.decompose({"severity": 1.5})
    (1.0, -2.0, {'severity': 3.0})
    >>> forest.decompose({})
    (-3.0, -2.0, {'severity': -1.0})
    """

    def __init__(self, features: Sequence[str], baseline: float, trees: Sequence[Tree]) -> None:
        self.features = tuple(features)
        self.baseline = float(baseline)
        if len(trees) > MAX_TREES:
            raise ValueError(f"at most {MAX_TREES} trees, were {len(trees)}")
        if not math.isfinite(self.baseline):
            raise ValueError(f"baseline must be finite, was {baseline}")
        built = [_build_tree(tree, len(self.features)) for tree in trees]
        self._roots = tuple(root for root, _ in built)
        self._base = math.fsum([self.baseline, *(mean for _, mean in built)])

    def decompose(self, x: Mapping[str, float]) -> tuple[float, float, dict[str, float]]:
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


def _build_tree(tree: Tree, features: int) -> tuple[Node, float]:
    """Nested nodes of a tree, and its expectation."""
    size = _check_tree(tree, features)
    mean = list(tree.value)
    for at in range(size - 1, -1, -1):  # children come after their parent
        if tree.feature[at] >= 0:
            left, right = tree.left[at], tree.right[at]
            weights = tree.count[left], tree.count[right]
            total = weights[0] * mean[left] + weights[1] * mean[right]
            mean[at] = total / (weights[0] + weights[1])

    def node(at: int, shares: dict[int, float]) -> Node:
        feature = tree.feature[at]
        if feature < 0:
            return (-1, tree.value[at], tuple(sorted(shares.items())))
        below = [
            node(child, {**shares, feature: shares.get(feature, 0.0) + mean[child] - mean[at]})
            for child in (tree.left[at], tree.right[at])
        ]
        return (feature, tree.threshold[at], tree.missing_left[at], *below)

    return node(0, {}), mean[0]


def _check_tree(tree: Tree, features: int) -> int:
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


# A fitted model as a file: what it holds, what it was fitted on, and a digest over all of it.

FORMAT: Final = "riskwatch-trees-1"
MAX_BYTES: Final = 2_097_152
"""Most bytes of an artefact."""


class FittedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model of one target.

    Attributes
    ----------
    features : tuple of str
        Names of its inputs.
    monotone : tuple of int
        Per feature, 1 where more of it never lowers the answer, else 0.
    baseline : float
        Log-odds before any tree.
    trees : tuple of Tree
        Its trees.
    slope, intercept : float
        Calibration: ``logit = intercept + slope * margin``, with `slope` positive.
    seen : tuple of (float, float)
        Per feature, least and largest value of the fit. Beyond them it has nothing to say that
        it knows of.
    rows, positives, entities, episodes : int
        What it was fitted on: samples, true ones, scopes and separate recordings.
    metrics : dict of str to float
        Out of fold, walking forward: ``log_loss`` (nats), ``brier``, ``average_precision``, the
        same of the rule (``rule_...``) and of the base rate (``base_...``), and ``rows``.
    """

    features: tuple[str, ...]
    monotone: tuple[int, ...]
    baseline: float
    trees: tuple[Tree, ...]
    slope: float
    intercept: float
    seen: tuple[tuple[float, float], ...]
    rows: int
    positives: int
    entities: int
    episodes: int
    metrics: dict[str, float]


class Artefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``riskwatch fit`` writes and a generation ``batch`` runs on.

    Attributes
    ----------
    format : str
        :data:`FORMAT`.
    name : str
        What it is called.
    engine, versions : str, dict of str to str
        Engine and libraries that fitted it.
    sources : tuple of str
        What it was fitted on, as it was named to the command.
    data_sha256 : str
        Over the rows of the fit.
    settings : dict of str to float
        Of the fit.
    limits : tuple of str
        What it must not be used for, in plain words.
    models : dict of str to Fitted
        By target.
    sha256 : str
        Over all of the above.
    """

    format: str = FORMAT
    name: str
    engine: str
    versions: dict[str, str]
    sources: tuple[str, ...]
    data_sha256: str
    settings: dict[str, float]
    limits: tuple[str, ...]
    models: dict[str, FittedModel]
    sha256: str = ""


def digest_of(artefact: Artefact) -> str:
    """SHA-256 of what an artefact says, whatever its own digest says."""
    bare = msgspec.structs.replace(artefact, sha256="")
    return sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


def seal_artefact(artefact: Artefact) -> str:
    """Text of an artefact with its digest in it."""
    whole = msgspec.structs.replace(artefact, sha256=digest_of(artefact))
    return msgspec.json.encode(whole, order="sorted").decode("utf-8") + "\n"


@lru_cache(maxsize=8)  # a generation is made for every scope and target, of the same text
def open_artefact(text: str) -> Artefact:
    """Artefact of a text.

    Raises
    ------
    ValueError
        If it is none, of another format, or not what its digest says.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"an artefact must have at most {MAX_BYTES:,} bytes, had {len(text):,}")
    try:
        made = msgspec.json.decode(text, type=Artefact)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the artefact cannot be read: {error}") from error
    if made.format != FORMAT:
        raise ValueError(f"the artefact must be of format {FORMAT}, was {made.format!r}")
    if made.sha256 != digest_of(made):
        raise ValueError(
            "the artefact is not what its digest says: it was changed after it was fitted"
        )
    return made


# Generation 2, fitted in batch: frozen trees, read from an artefact that says what it is.

_SLOPE_MOST = 100.0


class BatchGeneration:
    """Frozen boosted trees of one target; it never learns.

    Parameters
    ----------
    artefact : str
        Text of an artefact; see :mod:`riskwatch.models.trees`. In ``models.toml`` this
        option names the file, and the configuration hands its text in here.
    target : str
        Id of the target. Of a target that the artefact has no model for, it says what the rule
        says.
    anchor, slope, floor : float
        The rule as a probability; see :class:`~riskwatch.models.base.RulesGeneration`.

    Raises
    ------
    ValueError
        If the artefact is not what its digest says, or holds what cannot be evaluated.
    """

    learns: Final = False

    def __init__(
        self,
        artefact: str,
        target: str = "",
        anchor: float = 0.5,
        slope: float = 1.0,
        floor: float = 0.05,
    ) -> None:
        self._text = artefact
        self._rule = RulesGeneration(anchor, slope, floor)
        open_artefact(artefact)
        self._fitted, self._forest = _forests(artefact).get(target, (None, None))

    def of_target(self, target: str) -> Generation:
        """Return the generation for one target."""
        made = BatchGeneration(self._text, target)
        made._rule = self._rule
        return made

    def score(self, x: Mapping[str, float]) -> Score:
        """Score a state, with the share of every feature along the paths of the trees."""
        fitted, forest = self._fitted, self._forest
        if fitted is None or forest is None:
            return self._rule.score(x)
        margin, base, shares = forest.decompose(x)
        slope = fitted.slope
        logit = fitted.intercept + slope * margin
        parts = {"bias": fitted.intercept + slope * base}
        parts |= {name: slope * share for name, share in shares.items()}
        return Score(sigmoid(logit), logit, known_severity(x), parts)

    def probability(self, x: Mapping[str, float]) -> float:
        """Return the probability alone."""
        fitted, forest = self._fitted, self._forest
        if fitted is None or forest is None:
            return self._rule.probability(x)
        return sigmoid(fitted.intercept + fitted.slope * forest.margin(x))

    def learn(self, x: Mapping[str, float], y: bool) -> None:
        """Change nothing: it is frozen, and fitted anew by ``riskwatch fit``."""

    def state(self) -> dict[str, Any]:
        """Nothing was learned."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Accept the empty state.

        Raises
        ------
        ValueError
            If there is anything in it, which is another model's.
        """
        if state:
            raise ValueError(f"a frozen model keeps no state, found {', '.join(sorted(state))}")


@lru_cache(maxsize=8)
def _forests(text: str) -> dict[str, tuple[FittedModel | None, Forest | None]]:
    """By target, what was fitted, ready to be evaluated."""
    return {
        target: (fitted, _forest(fitted)) for target, fitted in open_artefact(text).models.items()
    }


def _forest(fitted: FittedModel) -> Forest:
    """Check a model, and make it ready."""
    sizes = {len(fitted.features), len(fitted.monotone), len(fitted.seen)}
    if len(sizes) != 1 or len(dict.fromkeys(fitted.features)) != len(fitted.features):
        raise ValueError("features, monotone and seen must be of one length, without repeats")
    if "bias" in fitted.features:
        raise ValueError("'bias' is reserved and cannot be a feature")
    if not 0.0 < fitted.slope <= _SLOPE_MOST or not abs(fitted.intercept) <= _SLOPE_MOST:
        raise ValueError(f"calibration must be in range, was {fitted.slope}, {fitted.intercept}")
    return Forest(fitted.features, fitted.baseline, fitted.trees)
