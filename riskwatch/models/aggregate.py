r"""One probability out of several: fixed share, with a bound on what it can lose.

The served probability is the mean of the generations' clipped probabilities, weighted by how
well they did (Herbster and Warmuth, "Tracking the best expert", Machine Learning 32, 1998). With
log loss that mean loses no more than its weights say, so over the labels of one copy

.. math:: \text{loss of served} - \text{loss of generation } i
          \le \ln (N + 1) + T \ln\frac{1}{1 - a}

for every generation `i` and any sequence, with `N` generations, `T` labels and share `a`. The one
beside them is the generations' own mean, *recalibrated*: its log-odds are shifted by what came of
such forecasts before, one step of Newton's method for each label, from a standard normal prior
(online logistic calibration: Gupta and Ramdas, "Online Platt scaling with calibeating", ICML 2023).
As one more of those that are mixed, it cannot lose what the bound does not allow. A
label comes a horizon late, so there is one copy of the weights per process of
:class:`~riskwatch.models.evidence.HorizonCells`, each of which has all its labels before it speaks
again (Weinberger and Ordentlich, "On delayed prediction of individual sequences", IEEE
Transactions on Information Theory 48, 2002): the bounds of the copies add up.
:func:`regret_bound` counts that, the clipping and the rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from riskwatch.models.evidence import CLIP, clip_probability

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROUNDING: Final = 0.5e-6
"""What is served is rounded to six digits, which moves it by no more than this."""
RECALIBRATED: Final = "(recalibrated)"
"""Stands for the recalibrated mean among those that are mixed, at the end; no generation can."""
MAX_SHIFT: Final = 8.0
"""Log-odds by which a mean is shifted at most."""


def regret_bound(labels: int, generations: int, copies: int, share: float) -> float:
    """Most that the served probability can lose beyond the best generation, nats in all.

    Parameters
    ----------
    labels : int
        How many it was judged on, of one scope and target, and learned from.
    generations : int
        How many were mixed all along.
    copies : int
        Processes that take turns.
    share : float
        Share of the weights that is spread evenly after each label.

    Notes
    -----
    The recalibrated mean counts as one more generation. Per label: the share,
    ``ln(1 / (1 - share))``; what clipping costs a generation that was certain and right,
    ``ln(1 / (1 - CLIP))``; and what rounding can do to a probability of `CLIP`. Each time a
    generation joins the others, the bound against these grows by at most
    ``copies * ln(n / (n - 1))``, `n` counting the new one; the new one's own bound begins there.
    """
    used = min(copies, labels)
    mixed = generations + 1  # the recalibrated mean is one of them
    each = -math.log1p(-share) - math.log1p(-CLIP) - math.log1p(-ROUNDING / CLIP)
    return used * math.log(mixed) + labels * each


class AggregateProbability(NamedTuple):
    """What is served: the mean of the generations and its recalibrated self, mixed.

    Attributes
    ----------
    probability : float
        What is served.
    mean, recalibrated : float
        Of the generations.
    weights : dict of str to float
        Of each generation that said something, in their mean.
    """

    probability: float
    mean: float
    recalibrated: float
    weights: dict[str, float]


def even_mixture(predictions: Mapping[str, float]) -> AggregateProbability:
    """Mix what generations said before there is anything to weigh them by: all count the same."""
    even = 1.0 / len(predictions)
    mean = even * sum(clip_probability(p) for p in predictions.values())
    return AggregateProbability(mean, mean, mean, dict.fromkeys(predictions, even))


class Recalibration(msgspec.Struct, array_like=True, gc=False):
    """What one copy learned of how far its mean is off, log-odds.

    Attributes
    ----------
    by : float
        What is added to the log-odds of the mean.
    precision : float
        Of `by`, as of a normal distribution; 1 before the first label.

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
        """Take in what came of a mean; both are rounded, so that rows stay short."""
        p = self.of(mean)
        self.precision = round(self.precision + p * (1.0 - p), 6)
        by = self.by + (label - p) / self.precision
        self.by = round(min(MAX_SHIFT, max(-MAX_SHIFT, by)), 6)


class Mixture(msgspec.Struct, gc=False):
    """Weights of the generations for one scope and target.

    Attributes
    ----------
    names : list of str
        Those that are mixed: generations, then :data:`RECALIBRATED`.
    logs : list of list of float
        By copy, log weights in the order of `names`; their weights sum to 1.
    cells : list of int
        By copy, the cell that it learned from last.
    shifts : list of Shift
        By copy, how the mean is recalibrated.

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
        """A row of before the mean was recalibrated goes on: it joins, as a generation would."""
        if not self.shifts:
            self.shifts = [Recalibration() for _ in self.logs]
            self.set_generations(self.names)

    @classmethod
    def fresh(cls, names: Sequence[str], copies: int) -> Mixture:
        """Even weights."""
        even = [-math.log(len(names))] * len(names)
        return cls(list(names), [list(even) for _ in range(copies)], [-1] * copies)

    def set_generations(self, names: Sequence[str]) -> bool:
        """Mix other generations from now on; whether these are others than before.

        One that joins gets an even share of all copies; the others keep their proportions.
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
        """Mix what generations said.

        Parameters
        ----------
        copy : int
            Whose turn it is.
        said : mapping
            Probability by generation; of those mixed, at least one.
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
        else:  # all weight was on those that are silent now
            _, mean, _, weights = even_mixture({name: predictions[name] for name in weights})
        again, own = self.shifts[copy].of(mean), math.exp(self.logs[copy][-1])
        served = (whole * mean + own * again) / (whole + own) if whole + own > 0.0 else mean
        return AggregateProbability(served, mean, again, weights)

    def learn(
        self, at: tuple[int, int], predictions: Mapping[str, float], *, label: bool, share: float
    ) -> None:
        """Weigh the generations by what they said of a label, then share a little evenly.

        A generation that said nothing is weighed as if it had said what was served. Of several
        labels in one cell only the first is learned from: the others were waiting with it.
        """
        copy, cell = at
        if cell <= self.cells[copy] or not any(name in predictions for name in self.names):
            return
        self.cells[copy] = cell
        then = self.aggregate(copy, predictions)
        weighed = {**predictions, RECALIBRATED: then.recalibrated}
        logs = []
        for name, log in zip(self.names, self.logs[copy], strict=True):
            p = clip_probability(weighed[name]) if name in weighed else then.probability
            logs.append(log + (math.log(p) if label else math.log1p(-p)))
        whole = _log_sum(logs)
        even = math.log(share / len(logs)) if share > 0.0 else -math.inf
        keep = math.log1p(-share)
        shared = [_log_sum([log - whole + keep, even]) for log in logs]
        # What rounding left is taken out, so that it cannot add up.
        whole = _log_sum(shared)
        self.logs[copy] = [log - whole for log in shared]
        self.shifts[copy].learn(then.mean, label=label)


def _log_sum(logs: list[float]) -> float:
    """Logarithm of the sum of what `logs` are the logarithms of."""
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs))
