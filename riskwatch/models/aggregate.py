r"""The aggregate probability: a fixed-share mixture of generations, with a bound on its regret.

The aggregate probability is the mean of the generations' clipped probabilities, weighted by past
losses (fixed share: Herbster and Warmuth, "Tracking the best expert", Machine Learning 32, 1998).
Over the labels of one copy its log loss satisfies

.. math:: \text{loss of aggregate} - \text{loss of generation } i
          \le \ln (N + 1) + T \ln\frac{1}{1 - a}

for every generation `i` and any sequence, with `N` generations, `T` labels and share `a`.

The mixture has one more member: the mean of the generations, *recalibrated*. Its log-odds are
shifted according to the outcomes of earlier means, by one step of Newton's method per label, from a
standard normal prior (online logistic calibration: Gupta and Ramdas, "Online Platt scaling with
calibeating", ICML 2023). It is weighted like a generation, so the bound covers it.

A label arrives one horizon late. Therefore each process of
:class:`~riskwatch.models.evidence.HorizonCells` has its own copy of the weights, and each copy has
all its labels before it predicts again (Weinberger and Ordentlich, "On delayed prediction of
individual sequences", IEEE Transactions on Information Theory 48, 2002). The bounds of the copies
add up. :func:`regret_bound` includes this, the clipping and the rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from riskwatch.models.evidence import CLIP, clip_probability

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROUNDING: Final = 0.5e-6
"""Largest change of the aggregate probability by rounding to six digits."""
RECALIBRATED: Final = "(recalibrated)"
"""Name of the recalibrated mean, the last member of a mixture. No generation may have it."""
MAX_SHIFT: Final = 8.0
"""Largest shift of a mean, log-odds."""


def regret_bound(labels: int, generations: int, copies: int, share: float) -> float:
    """Return the largest total loss of the aggregate probability beyond the best generation, nats.

    Parameters
    ----------
    labels : int
        Number of labels of one scope and target that were scored and learned from.
    generations : int
        Number of generations that were mixed all along.
    copies : int
        Number of processes that take turns.
    share : float
        Share of the weights that is spread evenly after each label.

    Notes
    -----
    The recalibrated mean counts as one more generation. Each label adds the cost of sharing,
    ``ln(1 / (1 - share))``; the cost of clipping for a generation that was certain and right,
    ``ln(1 / (1 - CLIP))``; and the effect of rounding on a probability of `CLIP`. When a
    generation joins, the bound against the others grows by at most
    ``copies * ln(n / (n - 1))``, where `n` includes the new one. The bound against the new one
    begins at that time.
    """
    used = min(copies, labels)
    mixed = generations + 1  # the recalibrated mean is one of them
    each = -math.log1p(-share) - math.log1p(-CLIP) - math.log1p(-ROUNDING / CLIP)
    return used * math.log(mixed) + labels * each


class AggregateProbability(NamedTuple):
    """The aggregate probability and its parts.

    Attributes
    ----------
    probability : float
        The aggregate probability: the mean and the recalibrated mean, mixed.
    mean, recalibrated : float
        Mean of the generations, and the same recalibrated.
    weights : dict of str to float
        Weight in the mean of each generation that gave a prediction.
    """

    probability: float
    mean: float
    recalibrated: float
    weights: dict[str, float]


def even_mixture(predictions: Mapping[str, float]) -> AggregateProbability:
    """Mix predictions with even weights, as before the first label."""
    even = 1.0 / len(predictions)
    mean = even * sum(clip_probability(p) for p in predictions.values())
    return AggregateProbability(mean, mean, mean, dict.fromkeys(predictions, even))


class Recalibration(msgspec.Struct, array_like=True, gc=False):
    """Learned correction of the mean of one copy, in log-odds.

    Attributes
    ----------
    by : float
        Shift to add to the log-odds of the mean.
    precision : float
        Precision of `by` (a normal distribution); 1 before the first label.

    Examples
    --------
    >>> shift = Recalibration()
    >>> for _ in range(20):
    ...     shift.learn(0.5, label=False)
    >>> round(shift.of(0.5), 2)
    0.12
    """

    by: float = 0.0
    precision: float = 1.0

    def of(self, mean: float) -> float:
        """Return the recalibrated mean."""
        odds = mean * math.exp(self.by)
        return clip_probability(odds / (1.0 - mean + odds))

    def learn(self, mean: float, *, label: bool) -> None:
        """Update the shift with the label of a mean. Both numbers are rounded: rows stay short."""
        p = self.of(mean)
        self.precision = round(self.precision + p * (1.0 - p), 6)
        by = self.by + (label - p) / self.precision
        self.by = round(min(MAX_SHIFT, max(-MAX_SHIFT, by)), 6)


class Mixture(msgspec.Struct, gc=False):
    """Weights of the generations for one scope and target.

    Attributes
    ----------
    names : list of str
        Members: the generations, then :data:`RECALIBRATED`.
    logs : list of list of float
        By copy, log weights in the order of `names`. The weights sum to 1.
    cells : list of int
        By copy, the last cell that it learned from.
    shifts : list of Recalibration
        By copy, the correction of the mean.

    Examples
    --------
    >>> mixture = Mixture.fresh(["a", "b"], copies=1)
    >>> round(mixture.aggregate(0, {"a": 0.9, "b": 0.1}).probability, 6)
    0.5
    >>> mixture.learn((0, 0), {"a": 0.9, "b": 0.1}, label=True, share=0.001)
    >>> round(mixture.aggregate(0, {"a": 0.9, "b": 0.1}).probability, 4)
    0.8369
    """

    names: list[str]
    logs: list[list[float]]
    cells: list[int]
    shifts: list[Recalibration] = []

    def __post_init__(self) -> None:
        """Add the recalibrated mean to a row that was stored without it, as a joining member."""
        if not self.shifts:
            self.shifts = [Recalibration() for _ in self.logs]
            self.set_generations(self.names)

    @classmethod
    def fresh(cls, names: Sequence[str], copies: int) -> Mixture:
        """Return a mixture with even weights."""
        even = [-math.log(len(names))] * len(names)
        return cls(list(names), [list(even) for _ in range(copies)], [-1] * copies)

    def set_generations(self, names: Sequence[str]) -> bool:
        """Set the generations to mix from now on; return whether they changed.

        A generation that joins gets an even share in all copies. The others keep their
        proportions.
        """
        mixed = [*names, RECALIBRATED]
        if mixed == self.names:
            return False
        at = {name: i for i, name in enumerate(self.names)}
        kept = [name for name in mixed if name in at]
        joining = -math.log(len(mixed))
        rest = math.log(len(kept) / len(mixed))
        for copy, old in enumerate(self.logs):
            whole = _log_sum([old[at[name]] for name in kept])
            self.logs[copy] = [
                old[at[name]] - whole + rest if name in at else joining for name in mixed
            ]
        self.names = mixed
        return True

    def aggregate(self, copy: int, predictions: Mapping[str, float]) -> AggregateProbability:
        """Mix the predictions of generations.

        Parameters
        ----------
        copy : int
            Index of the copy to use.
        predictions : mapping
            Probability by generation; at least one generation must be a member.
        """
        whole, mean = 0.0, 0.0
        weights: dict[str, float] = {}
        for name, log in zip(self.names, self.logs[copy], strict=True):
            p = predictions.get(name)
            if p is not None:
                weights[name] = weight = math.exp(log)
                whole += weight
                mean += weight * clip_probability(p)
        if whole > 0.0:
            mean /= whole
            weights = {name: weight / whole for name, weight in weights.items()}
        else:  # all weight is on generations without a prediction
            _, mean, _, weights = even_mixture({name: predictions[name] for name in weights})
        recalibrated, weight = self.shifts[copy].of(mean), math.exp(self.logs[copy][-1])
        total = whole + weight
        aggregate = (whole * mean + weight * recalibrated) / total if total > 0.0 else mean
        return AggregateProbability(aggregate, mean, recalibrated, weights)

    def learn(
        self, at: tuple[int, int], predictions: Mapping[str, float], *, label: bool, share: float
    ) -> None:
        """Update the weights with a label, then spread a small share of them evenly.

        A generation without a prediction is treated as if it had predicted the aggregate
        probability. Only the first of several labels in one cell is used, because the others
        were pending at the same time.
        """
        copy, cell = at
        if cell <= self.cells[copy] or not any(name in predictions for name in self.names):
            return
        self.cells[copy] = cell
        before = self.aggregate(copy, predictions)
        weighed = {**predictions, RECALIBRATED: before.recalibrated}
        logs = []
        for name, log in zip(self.names, self.logs[copy], strict=True):
            p = clip_probability(weighed[name]) if name in weighed else before.probability
            logs.append(log + (math.log(p) if label else math.log1p(-p)))
        whole = _log_sum(logs)
        even = math.log(share / len(logs)) if share > 0.0 else -math.inf
        keep = math.log1p(-share)
        shared = [_log_sum([log - whole + keep, even]) for log in logs]
        # Normalise again, so that rounding errors cannot add up.
        whole = _log_sum(shared)
        self.logs[copy] = [log - whole for log in shared]
        self.shifts[copy].learn(before.mean, label=label)


def _log_sum(logs: list[float]) -> float:
    """Return the logarithm of the sum of ``exp(log)`` over `logs`."""
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs))
