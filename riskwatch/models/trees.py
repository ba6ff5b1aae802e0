"""Boosted trees as plain numbers, the artefact that holds them, and their generation."""

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
        Index of the feature that a node splits on; -1 for a leaf.
    threshold : tuple of float
        The path goes left if the feature is at most this.
    missing_left : tuple of bool
        Whether the path goes left if the feature is missing.
    left, right : tuple of int
        Indices of the children; 0 for a leaf.
    value : tuple of float
        Log-odds that a leaf adds; 0 for other nodes.
    count : tuple of int
        Number of rows of the fit that passed the node, positive.
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    missing_left: tuple[bool, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]
    count: tuple[int, ...]


class Forest:
    """A sum of trees that also computes the share of every feature.

    The share of a feature is the change of the expectation at the nodes that split on it, along
    the path of the features [1]_. The expectation at a node is the mean of the leaves below it,
    weighted by the rows of the fit. So shares and base sum to the log-odds, up to the rounding
    of one float per part.

    Parameters
    ----------
    features : sequence of str
        Names of the features.
    baseline : float
        Log-odds before any tree.
    trees : sequence of Tree
        At most :data:`MAX_TREES` trees, of at most :data:`MAX_NODES` nodes each.

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
        """Return the log-odds, their expectation over the fit, and the share of each feature.

        The log-odds are summed in the order of the trees, as in scikit-learn, so they are equal
        bit for bit.
        """
        sums = [0.0] * len(self.features)
        margin = self.baseline
        for leaf in self._leaves(x):
            margin += leaf[1]
            for feature, part in leaf[2]:
                sums[feature] += part
        return margin, self._base, dict(zip(self.features, sums, strict=True))

    def margin(self, x: Mapping[str, float]) -> float:
        """Return the log-odds alone; equal to those of :meth:`decompose` bit for bit."""
        margin = self.baseline
        for leaf in self._leaves(x):
            margin += leaf[1]
        return margin

    def _leaves(self, x: Mapping[str, float]) -> list[Node]:
        """Return the leaf of each tree that the features reach, in the order of the trees."""
        values = [x.get(name, math.nan) for name in self.features]
        out = []
        for root in self._roots:
            node, at = root, root[0]
            while at >= 0:
                value = values[at]
                if value <= node[1]:
                    node = node[3]
                else:
                    # A missing value is NaN: no comparison holds, and it is unequal to itself.
                    node = node[3] if node[2] and value != value else node[4]  # noqa: PLR0124
                at = node[0]
            out.append(node)
        return out


def _build_tree(tree: Tree, features: int) -> tuple[Node, float]:
    """Return the nested nodes of a tree, and its expectation."""
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
    """Check a tree, and return its number of nodes.

    Raises
    ------
    ValueError
        If it is not a tree, or holds a number that is not finite.
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


# The artefact: a file with fitted models, the data they were fitted on, and a digest.

FORMAT: Final = "riskwatch-trees-1"
MAX_BYTES: Final = 2_097_152
"""Largest size of an artefact, bytes."""


class FittedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fitted model of one target.

    Attributes
    ----------
    features : tuple of str
        Names of the inputs.
    monotone : tuple of int
        1 for each feature that never lowers the score when it grows, else 0.
    baseline : float
        Log-odds before any tree.
    trees : tuple of Tree
        The trees.
    slope, intercept : float
        Calibration: ``logit = intercept + slope * margin``, with `slope` positive.
    seen : tuple of (float, float)
        Least and largest value of each feature in the fit. Beyond them the model extrapolates.
    rows, positives, entities, episodes : int
        Number of samples, true samples, scopes and separate recordings of the fit.
    metrics : dict of str to float
        Out of fold, with folds that walk forward: ``log_loss`` (nats), ``brier``,
        ``average_precision``, the same for the rule (``rule_...``) and for the base rate
        (``base_...``), and ``rows``.
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
    """Fitted models by target, as ``riskwatch fit`` writes and generation ``batch`` reads them.

    Attributes
    ----------
    format : str
        :data:`FORMAT`.
    name : str
        Name of the artefact.
    engine, versions : str, dict of str to str
        Versions of the engine and the libraries that fitted it.
    sources : tuple of str
        Data of the fit, as named to the command.
    data_sha256 : str
        Digest over the rows of the fit.
    settings : dict of str to float
        Settings of the fit.
    limits : tuple of str
        Limits of its use, in words.
    models : dict of str to FittedModel
        Models by target.
    sha256 : str
        Digest over all other fields.
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
    """Return the SHA-256 of an artefact, without its own digest."""
    bare = msgspec.structs.replace(artefact, sha256="")
    return sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()


def seal_artefact(artefact: Artefact) -> str:
    """Return the text of an artefact, with its digest."""
    whole = msgspec.structs.replace(artefact, sha256=digest_of(artefact))
    return msgspec.json.encode(whole, order="sorted").decode("utf-8") + "\n"


@lru_cache(maxsize=8)  # a generation is made for every scope and target, from the same text
def open_artefact(text: str) -> Artefact:
    """Parse an artefact.

    Raises
    ------
    ValueError
        If the text is not an artefact, has another format, or does not match its digest.
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


_SLOPE_MOST = 100.0


class BatchGeneration:
    """Generation 2, fitted in batch: frozen boosted trees of one target. It never learns.

    Parameters
    ----------
    artefact : str
        Text of an artefact; see :class:`Artefact`. In ``models.toml`` this option names the
        file, and the configuration passes its text.
    target : str
        Id of the target. For a target without a model in the artefact the score is the rule's.
    anchor, slope, floor : float
        Parameters of the rule; see :class:`~riskwatch.models.base.RulesGeneration`.

    Raises
    ------
    ValueError
        If the artefact does not match its digest, or holds a model that cannot be evaluated.
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

    @property
    def features(self) -> tuple[str, ...]:
        """Features of the fitted model of the target; none where there is no such model."""
        return () if self._fitted is None else self._fitted.features

    def of_target(self, target: str) -> Generation:
        """Return the generation for one target."""
        made = BatchGeneration(self._text, target)
        made._rule = self._rule
        return made

    def score(self, x: Mapping[str, float]) -> Score:
        """Score the features, with the share of each along the paths of the trees."""
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
        """Change nothing: the model is frozen. ``riskwatch fit`` fits a new one."""

    def state(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Accept the empty state.

        Raises
        ------
        ValueError
            If `state` is not empty: it belongs to another model.
        """
        if state:
            raise ValueError(f"a frozen model keeps no state, found {', '.join(sorted(state))}")


@lru_cache(maxsize=8)
def _forests(text: str) -> dict[str, tuple[FittedModel | None, Forest | None]]:
    """Return the fitted models by target, with forests ready to evaluate."""
    return {
        target: (fitted, _forest(fitted)) for target, fitted in open_artefact(text).models.items()
    }


def _forest(fitted: FittedModel) -> Forest:
    """Check a fitted model, and build its forest."""
    sizes = {len(fitted.features), len(fitted.monotone), len(fitted.seen)}
    if len(sizes) != 1 or len(dict.fromkeys(fitted.features)) != len(fitted.features):
        raise ValueError("features, monotone and seen must be of one length, without repeats")
    if "bias" in fitted.features:
        raise ValueError("'bias' is reserved and cannot be a feature")
    if not 0.0 < fitted.slope <= _SLOPE_MOST or not abs(fitted.intercept) <= _SLOPE_MOST:
        raise ValueError(f"calibration must be in range, was {fitted.slope}, {fitted.intercept}")
    return Forest(fitted.features, fitted.baseline, fitted.trees)
