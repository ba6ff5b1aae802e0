"""Slippage of fills as a quantile, learned from our own fills by asset and size.

The prior is the square-root law of market impact (B. Tóth et al., "Anomalous price impact and the
critical nature of liquidity in financial markets", Phys. Rev. X 1, 2011): half the spread plus
``Y * sigma * sqrt(Q / V)``. The estimator learns the ratio of the required quantile to the law, as
one factor per bucket of size. The factor is 1 before any fill.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp, inf, isfinite, log
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from river import base

from riskwatch.core.clock import SECOND
from riskwatch.core.money import quantise
from riskwatch.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from riskwatch.core.risk.scorer import ImpactLaw, SlippageConfig

REACH: Final = log(64.0)
"""Bound of the log factor: the factor stays within 1/64 to 64."""
FLOOR_BP: Final = 0.1
"""Least value of the law where a factor scales it, bp: a factor cannot scale zero."""


class PinballFactor(base.Regressor):
    r"""Estimates a quantile as a multiple of a prior, by online subgradient of the pinball loss.

    ``q = prior * exp(w)`` with `w` at 0 before any observation. The subgradient of the pinball
    loss [1]_ with respect to `q` is ``1[y <= q] - quantile``; a step of fixed size against it,
    taken in `w` so that `q` stays positive and steps are relative, is

    .. math:: w \leftarrow w + \mathrm{lr} \, (\mathrm{quantile} - 1[y \le q])

    For any sequence, and as long as `w` does not reach its bounds, the share of observations
    at or below the estimate differs from `quantile` by at most
    ``(2 * REACH + lr) / (lr * n)`` after `n` observations [2]_.

    Parameters
    ----------
    quantile : float
        In (0, 1).
    lr : float
        Size of a step, in (0, 1].

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    References
    ----------
    .. [1] R. Koenker and G. Bassett, "Regression Quantiles", Econometrica 46 (1978).
    .. [2] I. Gibbs and E. Candès, "Adaptive Conformal Inference Under Distribution Shift",
       NeurIPS 2021, proposition 4.1: the bound follows by the same argument.

    Examples
    --------
    >>> model = PinballFactor(quantile=0.9, lr=0.1)
    >>> model.predict_one({"prior": 4.0})
    4.0
    >>> for _ in range(200):
    ...     model.learn_one({"prior": 4.0}, 12.0)
    >>> 11.0 < model.predict_one({"prior": 4.0}) < 13.2
    True
    """

    def __init__(self, quantile: float = 0.9, lr: float = 0.1) -> None:
        if not 0.0 < quantile < 1.0:
            raise ValueError(f"quantile must be in (0, 1), was {quantile}")
        if not 0.0 < lr <= 1.0:
            raise ValueError(f"lr must be in (0, 1], was {lr}")
        self.quantile = quantile
        self.lr = lr
        self.logarithm = 0.0

    def predict_one(self, x: Mapping[Any, Any]) -> float:
        """Return the quantile of the next observation, in the unit of ``x["prior"]``."""
        return float(x["prior"]) * exp(self.logarithm)

    def learn_one(self, x: Mapping[Any, Any], y: float) -> None:
        """Learn from one observation. An observation that is not finite is ignored."""
        if not isfinite(y):
            return
        step = self.quantile - (1.0 if y <= self.predict_one(x) else 0.0)
        self.logarithm = max(-REACH, min(REACH, self.logarithm + self.lr * step))


class SlippageBucket(msgspec.Struct, array_like=True, gc=False):
    """Learned factor and losses for fills of one bucket of size.

    Attributes
    ----------
    logarithm : float
        Logarithm of the factor on the law.
    count, within : int
        Number of fills, and of fills that cost no more than was estimated before them.
    loss_sum, law_loss_sum : float
        Sums of the pinball losses of the estimate, and of the law alone, bp.
    """

    logarithm: float = 0.0
    count: int = 0
    within: int = 0
    loss_sum: float = 0.0
    law_loss_sum: float = 0.0


class SlippageRow(msgspec.Struct):
    """Slippage of one asset, and the outcomes of its horizons.

    Attributes
    ----------
    buckets : dict of str to SlippageBucket
        Buckets by the upper edge of the size, USD. Buckets of edges that are not configured now
        are kept unchanged.
    asked : int
        Start of the present horizon, microseconds; -1 while we hold none of the asset.
    filled : bool
        Whether there was a fill in the present horizon.
    labelled, unlabelled, censored : int
        Number of horizons with a fill; without a fill; and without a fill because we had left,
        which says nothing about the cost of a fill.
    missed : int
        Number of fills that were not learned from because too little was known about them.
    """

    buckets: dict[str, SlippageBucket] = {}
    asked: int = -1
    filled: bool = False
    labelled: int = 0
    unlabelled: int = 0
    censored: int = 0
    missed: int = 0


class SlippageState(Protocol):
    """State that holds the slippage rows.

    Attributes
    ----------
    slippage : dict of str to SlippageRow
        By asset.
    """

    slippage: dict[str, SlippageRow]

    def mark(self, row: str) -> None:
        """Mark a row as changed, so that it is written."""
        ...


class SlippageEstimator:
    """Estimates slippage by asset and size.

    It implements :class:`riskwatch.core.risk.scorer.SlippageModel`.

    Parameters
    ----------
    config : SlippageConfig
        Quantile, edges of the sizes, step size, horizon.
    most : int
        Largest number of assets to learn about.

    Raises
    ------
    ModelError
        If a value is out of its range.
    """

    def __init__(self, config: SlippageConfig, most: int) -> None:
        sizes = config.sizes_usd
        if list(sizes) != sorted(dict.fromkeys(sizes)) or not all(0.0 < s < inf for s in sizes):
            raise ModelError(f"slippage: sizes_usd must be positive and ascend, were {sizes}")
        if not 0.0 < config.horizon_s < inf:
            raise ModelError(f"slippage: horizon_s must be positive, was {config.horizon_s}")
        if not 0.0 < config.rate <= 1.0:
            raise ModelError(f"slippage: rate must be in (0, 1], was {config.rate}")
        try:
            self._model = PinballFactor(config.quantile, config.rate)
        except ValueError as error:
            raise ModelError(f"slippage: {error}") from error
        self.config = config
        self.most = most
        self._names = [*(f"{size:g}" for size in sizes), "inf"]

    def bp(self, state: SlippageState, asset: str, value: float, law: ImpactLaw) -> float:
        """Return the quantile of the slippage of a fill of `value` USD, bp.

        It never falls with the size: a large fill costs at least as much as a smaller one.
        """
        row = state.slippage.get(asset)
        if row is None:
            return law.bp(value)
        mine = bisect_right(self.config.sizes_usd, value)
        stated = self._quantile(row.buckets.get(self._names[mine]), law.bp(value))
        for name, edge in zip(self._names[:mine], self.config.sizes_usd, strict=False):
            if name in row.buckets:
                stated = max(stated, self._quantile(row.buckets[name], law.bp(edge)))
        return quantise(stated)

    def learn(
        self, state: SlippageState, asset: str, value: float, law: ImpactLaw, bp: float
    ) -> None:
        """Charge the estimate for a fill of this size, then learn the cost `bp` of the fill."""
        row = state.slippage.get(asset)
        if row is None:
            if len(state.slippage) >= self.most:
                return
            row = state.slippage[asset] = SlippageRow()
        name = self._names[bisect_right(self.config.sizes_usd, value)]
        bucket = row.buckets.setdefault(name, SlippageBucket())
        prior = law.bp(value)
        stated = self._quantile(bucket, prior)
        bucket.count += 1
        bucket.within += bp <= stated
        bucket.loss_sum += self._loss(stated, bp)
        bucket.law_loss_sum += self._loss(prior, bp)
        self._model.logarithm = bucket.logarithm
        self._model.learn_one({"prior": max(prior, FLOOR_BP)}, bp)
        bucket.logarithm = self._model.logarithm
        row.filled = True
        state.mark(f"slippage/{asset}")

    def miss(self, state: SlippageState, asset: str) -> None:
        """Count a fill about which too little is known to learn from it."""
        row = state.slippage.get(asset)
        if row is not None:
            row.missed += 1
            state.mark(f"slippage/{asset}")

    def ask(self, state: SlippageState, us: int, asset: str, *, held: bool) -> None:
        """Close a horizon that is over: labelled, unlabelled, or censored because we left."""
        row = state.slippage.get(asset)
        if row is None or (row.asked < 0 and not held):
            return
        if row.asked >= 0:
            if us - row.asked < self.config.horizon_s * SECOND:
                return
            if row.filled:
                row.labelled += 1
            elif held:
                row.unlabelled += 1
            else:
                row.censored += 1
        row.asked, row.filled = us if held else -1, False
        state.mark(f"slippage/{asset}")

    def _quantile(self, bucket: SlippageBucket | None, prior: float) -> float:
        """Return the law times the learned factor, bp; the law itself before any fill."""
        if bucket is None or not bucket.count:
            return prior
        self._model.logarithm = bucket.logarithm
        return self._model.predict_one({"prior": max(prior, FLOOR_BP)})

    def _loss(self, stated: float, bp: float) -> float:
        """Return the pinball loss, bp."""
        tau = self.config.quantile
        return (bp - stated) * (tau if bp > stated else tau - 1.0)
