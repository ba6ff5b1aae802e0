r"""One probability out of several: fixed share, with a bound on what it can lose.

The served probability is the mean of the generations' clipped probabilities, weighted by how
well they did (Herbster and Warmuth, "Tracking the best expert", Machine Learning 32, 1998). With
log loss that mean loses no more than its weights say, so over the labels of one copy

.. math:: \text{loss of served} - \text{loss of generation } i
          \le \ln N + T \ln\frac{1}{1 - a}

for every generation `i` and any sequence, with `N` generations, `T` labels and share `a`. A
label comes a horizon late, so there is one copy of the weights per process of
:class:`~riskwatch.models.capital.Cells`, each of which has all its labels before it speaks
again (Weinberger and Ordentlich, "On delayed prediction of individual sequences", IEEE
Transactions on Information Theory 48, 2002): the bounds of the copies add up.
:func:`regret_bound` counts that, the clipping and the rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from riskwatch.models.evidence import CLIP, clipped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROUNDING: Final = 0.5e-6
"""What is served is rounded to six digits, which moves it by no more than this."""


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
    Per label: the share, ``ln(1 / (1 - share))``; what clipping costs a generation that was
    certain and right, ``ln(1 / (1 - CLIP))``; and what rounding can do to a probability of
    `CLIP`. Each time a generation joins the others, the bound against these grows by at most
    ``copies * ln(n / (n - 1))``, `n` counting the new one; the new one's own bound begins there.
    """
    used = min(copies, labels)
    each = -math.log1p(-share) - math.log1p(-CLIP) - math.log1p(-ROUNDING / CLIP)
    return used * math.log(generations) + labels * each


class Mixture(msgspec.Struct, gc=False):
    """Weights of the generations for one scope and target.

    Attributes
    ----------
    names : list of str
        Generations that are mixed.
    logs : list of list of float
        By copy, log weights in the order of `names`; their weights sum to 1.
    cells : list of int
        By copy, the cell that it learned from last.

    Examples
    --------
    >>> mixture = Mixture.fresh(["a", "b"], copies=1)
    >>> round(mixture.serve(0, {"a": 0.9, "b": 0.1})[0], 6)
    0.5
    >>> mixture.learn((0, 0), {"a": 0.9, "b": 0.1}, label=True, share=0.001)
    >>> round(mixture.serve(0, {"a": 0.9, "b": 0.1})[0], 4)
    0.8197
    """

    names: list[str]
    logs: list[list[float]]
    cells: list[int]

    @classmethod
    def fresh(cls, names: Sequence[str], copies: int) -> Mixture:
        """Even weights."""
        even = -math.log(len(names))
        return cls(list(names), [[even] * len(names) for _ in range(copies)], [-1] * copies)

    def become(self, names: Sequence[str]) -> bool:
        """Mix other generations from now on; whether these are others than before.

        One that joins gets an even share of all copies; the others keep their proportions.
        """
        if list(names) == self.names:
            return False
        at = {name: i for i, name in enumerate(self.names)}
        kept = [name for name in names if name in at]
        joining = -math.log(len(names))
        rest = math.log(len(kept) / len(names)) if kept else 0.0
        for copy, old in enumerate(self.logs):
            whole = _log_sum([old[at[name]] for name in kept]) if kept else 0.0
            self.logs[copy] = [
                old[at[name]] - whole + rest if name in at else joining for name in names
            ]
        self.names = list(names)
        return True

    def serve(self, copy: int, said: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """Mix what generations said.

        Parameters
        ----------
        copy : int
            Whose turn it is.
        said : mapping
            Probability by generation; of those mixed, at least one.

        Returns
        -------
        tuple
            The probability, and the weight of each generation that said something.
        """
        whole, mean = 0.0, 0.0
        weights: dict[str, float] = {}
        for name, log in zip(self.names, self.logs[copy], strict=True):
            p = said.get(name)
            if p is not None:
                weights[name] = weight = math.exp(log)
                whole += weight
                mean += weight * clipped(p)
        if whole > 0.0:
            return mean / whole, {name: weight / whole for name, weight in weights.items()}
        # All weight was on those that are silent now.
        even = 1.0 / len(weights)
        return even * sum(clipped(said[name]) for name in weights), dict.fromkeys(weights, even)

    def learn(
        self, at: tuple[int, int], said: Mapping[str, float], *, label: bool, share: float
    ) -> None:
        """Weigh the generations by what they said of a label, then share a little evenly.

        A generation that said nothing is weighed as if it had said what was served. Of several
        labels in one cell only the first is learned from: the others were waiting with it.
        """
        copy, cell = at
        if cell <= self.cells[copy] or not any(name in said for name in self.names):
            return
        self.cells[copy] = cell
        served, _ = self.serve(copy, said)
        logs = []
        for name, log in zip(self.names, self.logs[copy], strict=True):
            p = clipped(said[name]) if name in said else served
            logs.append(log + (math.log(p) if label else math.log1p(-p)))
        whole = _log_sum(logs)
        even = math.log(share / len(logs)) if share > 0.0 else -math.inf
        keep = math.log1p(-share)
        shared = [_log_sum([log - whole + keep, even]) for log in logs]
        # What rounding left is taken out, so that it cannot add up.
        whole = _log_sum(shared)
        self.logs[copy] = [log - whole for log in shared]


def _log_sum(logs: list[float]) -> float:
    """Logarithm of the sum of what `logs` are the logarithms of."""
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs))
